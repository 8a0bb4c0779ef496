//! `tools` and `tool_choice`.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::de::SeqAccess;
use serde_json::value::RawValue;

use crate::openai::json::{Shape, Slot, drain, json_object};
use crate::run::{Tool, ToolChoice};

use super::error::{RequestError, ToolsError};

json_object! {
    for<'de> struct ToolIn<'de> {
        "type" => kind: Slot<Cow<'de, str>>,
        "function" => function: Slot<FunctionIn<'de>>,
    }
}

json_object! {
    for<'de> pub(super) struct FunctionIn<'de> {
        "name" => name: Slot<Cow<'de, str>>,
        "description" => description: Slot<Cow<'de, str>>,
        "parameters" => parameters: Option<&'de RawValue>,
        "strict" => strict: Slot<bool>,
    }
}

/// `tools` up to the first entry that cannot be used.
#[derive(Debug, Default)]
pub(super) struct ToolsIn<'de> {
    functions: Vec<FunctionIn<'de>>,
    fault: Option<ToolsError>,
}

impl<'de> Shape<'de> for ToolsIn<'de> {
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut tools = Self::default();
        while let Some(entry) = seq.next_element::<Slot<ToolIn<'de>>>()? {
            match function(entry) {
                Ok(function) => tools.functions.push(function),
                Err(fault) => {
                    tools.fault = Some(fault);
                    drain(seq)?;
                    break;
                }
            }
        }
        Ok(Some(tools))
    }
}

fn function(entry: Slot<ToolIn<'_>>) -> Result<FunctionIn<'_>, ToolsError> {
    let tool = entry.given().ok_or(ToolsError::NotObject)?;
    if tool.kind.given().as_deref() != Some("function") {
        return Err(ToolsError::NotFunction);
    }
    let mut function = tool.function.given().ok_or(ToolsError::NoFunction)?;
    let name = function.name.given().unwrap_or_default();
    if name.trim().is_empty() {
        return Err(ToolsError::NoName);
    }
    function.name = Slot::Given(name);
    Ok(function)
}

json_object! {
    for<'de> pub(super) struct ChoiceObject<'de> {
        "type" => kind: Slot<Cow<'de, str>>,
        "function" => function: Slot<FunctionIn<'de>>,
    }
}

/// `tool_choice` as it came.
#[derive(Debug)]
pub(super) enum ChoiceIn<'de> {
    Word(Cow<'de, str>),
    Object(ChoiceObject<'de>),
}

impl<'de> Shape<'de> for ChoiceIn<'de> {
    fn from_text(text: Cow<'de, str>) -> Option<Self> {
        Some(Self::Word(text))
    }

    fn from_map<A: serde::de::MapAccess<'de>>(map: A) -> Result<Option<Self>, A::Error> {
        Ok(ChoiceObject::from_map(map)?.map(Self::Object))
    }
}

/// Checks tools and choice together.
pub(super) fn check(
    tools: Option<ToolsIn<'_>>,
    choice: Slot<ChoiceIn<'_>>,
) -> Result<(Vec<Tool>, ToolChoice), RequestError> {
    let tools = tools.unwrap_or_default();
    if let Some(fault) = tools.fault {
        return Err(RequestError::Tools(fault));
    }
    let mut names = HashSet::with_capacity(tools.functions.len());
    let mut out = Vec::with_capacity(tools.functions.len());
    for function in tools.functions {
        let tool = tool(function)?;
        if !names.insert(tool.name.clone()) {
            return Err(RequestError::ToolClash);
        }
        out.push(tool);
    }
    let choice = tool_choice(&names, choice).map_err(RequestError::Tools)?;
    Ok((out, choice))
}

fn tool(function: FunctionIn<'_>) -> Result<Tool, RequestError> {
    let parameters = function
        .parameters
        .map(|raw| serde_json::from_str(raw.get()).map_err(RequestError::Json));
    Ok(Tool {
        name: function.name.given().unwrap_or_default().trim().to_owned(),
        description: function.description.given().map(Cow::into_owned),
        parameters: parameters.transpose()?,
        strict: function.strict.given(),
    })
}

fn tool_choice(
    names: &HashSet<String>,
    choice: Slot<ChoiceIn<'_>>,
) -> Result<ToolChoice, ToolsError> {
    let choice = match choice.checked() {
        Ok(None) => return Ok(ToolChoice::Auto),
        Ok(Some(choice)) => choice,
        Err(_kind) => return Err(ToolsError::ChoiceType),
    };
    match choice {
        ChoiceIn::Word(word) => match &*word {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" if names.is_empty() => Err(ToolsError::NothingToCall),
            "required" => Ok(ToolChoice::Required),
            other => Err(ToolsError::ChoiceUnsupported(other.to_owned())),
        },
        ChoiceIn::Object(object) => named_choice(names, object),
    }
}

fn named_choice(
    names: &HashSet<String>,
    object: ChoiceObject<'_>,
) -> Result<ToolChoice, ToolsError> {
    let kind = object.kind.given().ok_or(ToolsError::ChoiceUntyped)?;
    if kind != "function" {
        return Err(ToolsError::ChoiceUnsupported(kind.into_owned()));
    }
    let function = object.function.given().unwrap_or_default();
    let name = function.name.given().unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        return Err(ToolsError::NoChoiceName);
    }
    if !names.contains(name) {
        return Err(ToolsError::UnknownChoice(name.to_owned()));
    }
    Ok(ToolChoice::Named(name.to_owned()))
}
