//! `messages`: from what clients send to what an agent is asked (`http-facts` §3.2).
//!
//! Entries that say nothing are dropped while they are read, so a body full of them costs no
//! memory beyond itself.

use std::borrow::Cow;

use serde::de::SeqAccess;
use serde_json::value::RawValue;

use crate::openai::json::{Shape, Slot, json_object};
use crate::run::{Message, Role, ToolCall};

use super::error::RequestError;
use super::images::{FetchedImages, ImagesIn, UrlIn};

/// Most entries of one request that say something.
pub(super) const MESSAGES_MAX: usize = 16_384;

/// What stands in for the text of a message that is only images.
const IMAGES_ONLY: &str = "User sent image(s) with no text.";

json_object! {
    for<'de> struct MessageIn<'de> {
        "role" => role: Slot<Cow<'de, str>>,
        "content" => content: Slot<Content<'de>>,
        "name" => name: Slot<Cow<'de, str>>,
        "tool_call_id" => tool_call_id: Slot<Cow<'de, str>>,
        "tool_calls" => tool_calls: Slot<Calls>,
    }
}

json_object! {
    for<'de> struct Part<'de> {
        "type" => kind: Slot<Cow<'de, str>>,
        "text" => text: Slot<Cow<'de, str>>,
        "input_text" => input_text: Slot<Cow<'de, str>>,
        "image_url" => image_url: Slot<UrlIn<'de>>,
    }
}

json_object! {
    for<'de> struct CallIn<'de> {
        "id" => id: Slot<Cow<'de, str>>,
        "function" => function: Slot<CallFunction<'de>>,
    }
}

json_object! {
    for<'de> struct CallFunction<'de> {
        "name" => name: Slot<Cow<'de, str>>,
        "arguments" => arguments: Option<&'de RawValue>,
    }
}

/// The content of a message: its text parts joined by line breaks, and its images.
#[derive(Debug, Default)]
struct Content<'de> {
    text: Cow<'de, str>,
    images: ImagesIn<'de>,
}

impl<'de> Content<'de> {
    fn push(&mut self, part: Part<'de>) {
        let kind = part.kind.given().unwrap_or_default();
        if kind == "image_url" {
            self.images.push(part.image_url);
            return;
        }
        let typed = matches!(&*kind, "text" | "input_text");
        let text = part.text.given().filter(|_| typed);
        let text = text.or(part.input_text.given()).unwrap_or_default();
        if self.text.is_empty() {
            self.text = text;
        } else if !text.is_empty() {
            let whole = self.text.to_mut();
            whole.push('\n');
            whole.push_str(&text);
        }
    }
}

impl<'de> Shape<'de> for Content<'de> {
    fn from_text(text: Cow<'de, str>) -> Option<Self> {
        Some(Self {
            text,
            images: ImagesIn::default(),
        })
    }

    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut content = Self::default();
        while let Some(part) = seq.next_element::<Slot<Part<'de>>>()? {
            if let Some(part) = part.given() {
                content.push(part);
            }
        }
        Ok(Some(content))
    }
}

/// The calls of an assistant message that have an id and a name.
#[derive(Debug, Default)]
struct Calls(Vec<ToolCall>);

impl<'de> Shape<'de> for Calls {
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut calls = Vec::new();
        while let Some(call) = seq.next_element::<Slot<CallIn<'de>>>()? {
            calls.extend(call.given().and_then(tool_call));
        }
        Ok(Some(Self(calls)))
    }
}

fn tool_call(call: CallIn<'_>) -> Option<ToolCall> {
    let id = call.id.given().filter(|id| !id.is_empty())?;
    let function = call.function.given()?;
    let name = function.name.given().filter(|name| !name.is_empty())?;
    Some(ToolCall {
        id: id.into_owned(),
        name: name.into_owned(),
        arguments: function.arguments.map(arguments).unwrap_or_default(),
    })
}

/// Arguments are JSON in a string; some clients send the JSON itself.
fn arguments(raw: &RawValue) -> String {
    serde_json::from_str::<String>(raw.get()).unwrap_or_else(|_not_text| raw.get().to_owned())
}

#[derive(Debug)]
struct Entry<'de> {
    role: Role,
    content: Content<'de>,
    calls: Vec<ToolCall>,
    tool_call_id: Option<Cow<'de, str>>,
    name: Option<Cow<'de, str>>,
}

impl<'de> Entry<'de> {
    fn new(role: Role, message: MessageIn<'de>, content: Content<'de>) -> Option<Self> {
        let calls = match role {
            Role::Assistant => message.tool_calls.given().unwrap_or_default().0,
            Role::User | Role::Tool => Vec::new(),
        };
        // A tool result completes its call even when it is empty.
        let says_nothing = content.text.is_empty() && calls.is_empty() && role != Role::Tool;
        let shows_nothing = content.images.is_empty() || role != Role::User;
        if says_nothing && shows_nothing {
            return None;
        }
        Some(Self {
            role,
            content,
            calls,
            tool_call_id: message.tool_call_id.given(),
            name: message.name.given(),
        })
    }

    fn asks(&self) -> bool {
        matches!(self.role, Role::User | Role::Tool)
    }

    /// A message of the history, which shows no images.
    fn into_history(self) -> Option<Message> {
        let images_only = self.role == Role::User && self.content.text.is_empty();
        (!images_only).then(|| self.into_message())
    }

    fn into_message(self) -> Message {
        Message {
            role: self.role,
            text: self.content.text.into_owned(),
            images: Vec::new(),
            tool_calls: self.calls,
            tool_call_id: self.tool_call_id.map(Cow::into_owned),
            name: self.name.map(Cow::into_owned),
        }
    }

    fn into_current(self, fetched: &FetchedImages) -> Result<Message, RequestError> {
        let images = match self.role {
            Role::User => self.content.images.decode(fetched)?,
            Role::Assistant | Role::Tool => Vec::new(),
        };
        let mut message = self.into_message();
        if message.text.is_empty() && !images.is_empty() {
            IMAGES_ONLY.clone_into(&mut message.text);
        }
        message.images = images;
        Ok(message)
    }
}

/// `messages`, reduced to what says something.
#[derive(Debug, Default)]
pub(super) struct Messages<'de> {
    system: Option<String>,
    entries: Vec<Entry<'de>>,
    too_many: bool,
}

/// The parts of a turn that come from `messages`.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) system: Option<String>,
    pub(super) history: Vec<Message>,
    pub(super) current: Vec<Message>,
}

impl<'de> Shape<'de> for Messages<'de> {
    fn from_seq<A: SeqAccess<'de>>(mut seq: A) -> Result<Option<Self>, A::Error> {
        let mut messages = Self::default();
        while let Some(message) = seq.next_element::<Slot<MessageIn<'de>>>()? {
            if let Some(message) = message.given() {
                messages.push(message);
            }
        }
        Ok(Some(messages))
    }
}

impl<'de> Messages<'de> {
    pub(super) const fn too_many(&self) -> bool {
        self.too_many
    }

    fn push(&mut self, mut message: MessageIn<'de>) {
        let mut content = std::mem::take(&mut message.content)
            .given()
            .unwrap_or_default();
        content.text = trim(content.text);
        let Some(role) = std::mem::take(&mut message.role).given() else {
            return;
        };
        let role = match &*role {
            "system" | "developer" => return self.push_system(&content.text),
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" | "function" => Role::Tool,
            _ => return,
        };
        let Some(entry) = Entry::new(role, message, content) else {
            return;
        };
        if self.entries.len() < MESSAGES_MAX {
            self.entries.push(entry);
        } else {
            self.too_many = true;
        }
    }

    fn push_system(&mut self, text: &str) {
        match &mut self.system {
            _ if text.is_empty() => {}
            Some(system) => {
                system.push_str("\n\n");
                system.push_str(text);
            }
            None => self.system = Some(text.to_owned()),
        }
    }

    /// URLs of images in what is to be answered now, as far as somebody would have to fetch them.
    pub(super) fn remote_images(&self) -> Vec<&str> {
        let current = self.entries.iter().rfind(|entry| entry.asks());
        let current = current.or(self.entries.last());
        let shows = |entry: &&Entry<'_>| entry.role != Role::Tool;
        let images = current
            .filter(shows)
            .map(|entry| entry.content.images.remote());
        images.into_iter().flatten().collect()
    }

    /// Splits history from what is to be answered now.
    ///
    /// That is the last message of the user or of a tool, with the tool results right before it
    /// when it is one; what comes after it is dropped. Without either, the last message of all
    /// is answered as if the user had said it.
    pub(super) fn split(mut self, fetched: &FetchedImages) -> Result<Parts, RequestError> {
        if let Some(last) = self.entries.iter().rposition(Entry::asks) {
            self.entries.truncate(last + 1);
        } else {
            let last = self.entries.last_mut().ok_or(RequestError::NoMessage)?;
            last.role = Role::User;
        }
        let is_tool = |entry: &Entry<'_>| entry.role == Role::Tool;
        let results = self
            .entries
            .iter()
            .rev()
            .take_while(|entry| is_tool(entry))
            .count();
        let current = self.entries.split_off(self.entries.len() - results.max(1));
        let current = current.into_iter().map(|it| it.into_current(fetched));
        Ok(Parts {
            system: self.system,
            current: current.collect::<Result<_, _>>()?,
            history: self
                .entries
                .into_iter()
                .filter_map(Entry::into_history)
                .collect(),
        })
    }
}

fn trim(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) if text.trim().len() == text.len() => Cow::Owned(text),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows system text, history and current as short lines.
    fn shown(json: &str) -> String {
        let messages = serde_json::from_str::<Slot<Messages<'_>>>(json).unwrap();
        let parts = match messages
            .given()
            .unwrap_or_default()
            .split(&FetchedImages::new())
        {
            Ok(parts) => parts,
            Err(error) => return error.to_string(),
        };
        let line = |message: &Message| {
            let role = match message.role {
                Role::User => "U",
                Role::Assistant => "A",
                Role::Tool => "T",
            };
            let mut calls = String::new();
            for call in &message.tool_calls {
                calls.extend([" ", &call.id, "=", &call.name, "(", &call.arguments, ")"]);
            }
            let id = message.tool_call_id.as_deref().unwrap_or_default();
            let name = message.name.as_deref().unwrap_or_default();
            let images = "*".repeat(message.images.len());
            format!("{role}{id}{name}:{}{calls}{images}", message.text)
        };
        let list = |messages: &[Message]| messages.iter().map(line).collect::<Vec<_>>().join("|");
        let system = parts.system.unwrap_or_default();
        format!(
            "{system} / {} / {}",
            list(&parts.history),
            list(&parts.current)
        )
    }

    fn check(json: &str, expected: &str) {
        assert_eq!(shown(json), expected, "{json}");
    }

    #[test]
    fn the_last_user_message_is_current_and_what_follows_it_is_dropped() {
        check(r#"[{"role":"user","content":"hi"}]"#, " /  / U:hi");
        check(
            r#"[{"role":"user","content":"a"},{"role":"assistant","content":"b"},
                {"role":"user","content":"c"},{"role":"assistant","content":"d"}]"#,
            " / U:a|A:b / U:c",
        );
        check(
            r#"[{"role":"user","content":"a"},{"role":"user","content":"  "}]"#,
            " /  / U:a",
        );
        check(r#"[{"role":"assistant","content":"go"}]"#, " /  / U:go");
        check(
            r#"[{"role":"assistant","content":"a"},{"role":"assistant","content":"b"}]"#,
            " / A:a / U:b",
        );
    }

    #[test]
    fn system_and_developer_texts_are_joined_wherever_they_stand() {
        check(
            r#"[{"role":"user","content":"q"},{"role":"system","content":" one "},
                {"role":"developer","content":[{"type":"text","text":"two"}]},
                {"role":"system","content":""}]"#,
            "one\n\ntwo /  / U:q",
        );
        check(
            r#"[{"role":"system","content":"x"}]"#,
            "Missing user message in `messages`.",
        );
    }

    #[test]
    fn what_says_nothing_is_skipped() {
        for nothing in [
            "[]",
            r#"[{"role":"user","content":""}]"#,
            r#"[{"role":"user","content":null}]"#,
            r#"[{"role":"user","content":7}]"#,
            r#"[{"role":"narrator","content":"x"}]"#,
            r#"[{"content":"x"},5,null,["user"],{}]"#,
            r#"[{"role":"user","content":[{"type":"input_audio","text":"x"},"x"]}]"#,
            r#"[{"role":"assistant","content":[{"type":"image_url","image_url":"data:,"}]}]"#,
        ] {
            check(nothing, "Missing user message in `messages`.");
        }
    }

    #[test]
    fn text_parts_are_joined_by_line_breaks_and_trimmed() {
        check(
            r#"[{"role":"user","content":[{"type":"text","text":" one"},{"type":"text","text":""},
                {"type":"input_text","text":"two"},{"input_text":"three "},{"type":"file","text":"no"}]}]"#,
            " /  / U:one\ntwo\nthree",
        );
        check(
            r#"[{"role":"user","content":"\u00a0 \"\ud83e\udd80\" "}]"#,
            " /  / U:\"🦀\"",
        );
    }

    #[test]
    fn trailing_tool_results_are_current_together_and_calls_stay_in_the_history() {
        check(
            r#"[{"role":"user","content":"w?"},
                {"role":"assistant","content":null,"tool_calls":[
                    {"id":"c1","type":"function","function":{"name":"f","arguments":"{\"q\":1}"}},
                    {"id":"c2","type":"function","function":{"name":"g","arguments":{"q":2}}},
                    {"id":"","function":{"name":"x"}},{"id":"c3"},7]},
                {"role":"tool","tool_call_id":"c1","content":"4"},
                {"role":"tool","tool_call_id":"c2","content":""}]"#,
            r#" / U:w?|A: c1=f({"q":1}) c2=g({"q":2}) / Tc1:4|Tc2:"#,
        );
        check(
            r#"[{"role":"function","name":"f","content":"4"},{"role":"user","content":"so?"}]"#,
            " / Tf:4 / U:so?",
        );
        check(
            r#"[{"role":"tool","tool_call_id":"c1","content":"4"}]"#,
            " /  / Tc1:4",
        );
    }

    #[test]
    fn only_the_images_of_the_current_user_message_count() {
        let image = r#"{"type":"image_url","image_url":{"url":"data:;base64,R0lGODlhAA"}}"#;
        let message = |text: &str| format!(r#"{{"role":"user","content":[{text}{image}]}}"#);
        let text = r#"{"type":"text","text":"see"},"#;
        check(
            &format!("[{},{}]", message(""), message("")),
            " /  / U:User sent image(s) with no text.*",
        );
        check(
            &format!("[{},{}]", message(text), message(text)),
            " / U:see / U:see*",
        );
        check(
            r#"[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]"#,
            "Invalid image_url content in `messages`.",
        );
        check(
            r#"[{"role":"user","content":[{"type":"image_url","image_url":"http://a/b.png"}]},
                {"role":"user","content":"never mind"}]"#,
            " /  / U:never mind",
        );
    }

    #[test]
    fn messages_are_bounded() {
        let entry = r#"{"role":"user","content":"a"}"#;
        let whole = |count: usize| format!("[{}]", vec![entry; count].join(","));
        let read = |json: &str| {
            let messages = serde_json::from_str::<Slot<Messages<'_>>>(json).unwrap();
            messages.given().unwrap().too_many()
        };
        assert!(!read(&whole(MESSAGES_MAX)));
        assert!(read(&whole(MESSAGES_MAX + 1)));
    }
}
