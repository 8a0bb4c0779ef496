//! Walks JSON by the rules of a type and writes down what does not fit.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;
use serde_json::{Number, Value};

use super::rules::{Kind, Node, NodeId, Others, Rules};
use super::{QUOTE_CHARS_MAX, VIOLATIONS_MAX, Violations};

/// Most choices inside each other: each is walked once per option, and anew from its start.
const CHOICES_MAX: u8 = 4;

/// What is wrong with `text` by `rules`.
pub(in crate::protocol) fn violations(rules: &Rules, text: &str) -> Violations {
    let mut found = Found::default();
    let seed = Seed {
        rules,
        node: rules.node(Rules::root()),
        path: &Path::Root,
        choices: 0,
        found: &mut found,
    };
    let mut json = serde_json::Deserializer::from_str(text);
    // The text is JSON, so what stops the walk is its depth.
    if seed.deserialize(&mut json).is_err() && found.0.is_empty() {
        found.push("must not be nested so deeply".to_owned());
    }
    Violations(found.0)
}

#[derive(Debug, Default)]
struct Found(Vec<Box<str>>);

impl Found {
    fn push(&mut self, text: String) {
        self.insert(self.0.len(), text);
    }

    fn insert(&mut self, place: usize, text: String) {
        self.0.insert(place.min(self.0.len()), text.into());
        self.0.truncate(VIOLATIONS_MAX);
    }
}

/// The place of a value, as a JSON pointer.
enum Path<'a> {
    Root,
    Member(&'a Self, &'a str),
    Element(&'a Self, usize),
}

impl Path<'_> {
    /// Puts the place before a text; the root needs none.
    fn at(&self, text: impl fmt::Display) -> String {
        match self {
            Self::Root => text.to_string(),
            Self::Member(..) | Self::Element(..) => format!("at {self}: {text}"),
        }
    }

    /// Puts the place before a text about members, where the root is named as well.
    fn at_object(&self, text: impl fmt::Display) -> String {
        match self {
            Self::Root => format!("at root: {text}"),
            Self::Member(..) | Self::Element(..) => format!("at {self}: {text}"),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Member(parent, name) => {
                write!(f, "{parent}/")?;
                for character in name.chars().take(QUOTE_CHARS_MAX) {
                    match character {
                        '~' => f.write_str("~0")?,
                        '/' => f.write_str("~1")?,
                        other => f.write_char(other)?,
                    }
                }
                Ok(())
            }
            Self::Element(parent, index) => write!(f, "{parent}/{index}"),
        }
    }
}

fn quoted(name: &str) -> String {
    let shown: String = name.chars().take(QUOTE_CHARS_MAX).collect();
    format!("'{shown}'")
}

/// Checks the next value by one node.
struct Seed<'a> {
    rules: &'a Rules,
    node: &'a Node,
    path: &'a Path<'a>,
    /// How many choices this value is inside of.
    choices: u8,
    found: &'a mut Found,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.node.any_of.is_empty() {
            return deserializer.deserialize_any(self);
        }
        let raw = <&RawValue>::deserialize(deserializer)?;
        let is_too_deep = self.choices >= CHOICES_MAX;
        if is_too_deep || !self.node.any_of.iter().any(|id| self.fits(*id, raw)) {
            self.found
                .push(self.path.at("must match a schema in anyOf"));
        }
        if self.node.is_bare_choice() {
            return Ok(());
        }
        let mut json = serde_json::Deserializer::from_str(raw.get());
        json.deserialize_any(self).map_err(D::Error::custom)
    }
}

impl Seed<'_> {
    fn fits(&self, option: NodeId, raw: &RawValue) -> bool {
        let mut found = Found::default();
        let seed = Seed {
            rules: self.rules,
            node: self.rules.node(option),
            path: self.path,
            choices: self.choices + 1,
            found: &mut found,
        };
        let mut json = serde_json::Deserializer::from_str(raw.get());
        seed.deserialize(&mut json).is_ok() && found.0.is_empty()
    }

    fn complain(&mut self, text: impl fmt::Display) {
        let text = self.path.at(text);
        self.found.push(text);
    }

    /// Whether a value of this type may be here; complains when not.
    fn admits(&mut self, kind: Kind) -> bool {
        let types = &self.node.types;
        let is_number = kind == Kind::Integer && types.contains(&Kind::Number);
        if types.is_empty() || types.contains(&kind) || is_number {
            return true;
        }
        let wanted: Vec<&str> = types
            .iter()
            .filter(|kind| **kind != Kind::Null || types.len() == 1)
            .map(|kind| kind.as_str())
            .collect();
        self.complain(format_args!("must be {}", wanted.join(",")));
        false
    }

    fn check_allowed(&mut self, is_value: impl Fn(&Value) -> bool) {
        let allowed = &self.node.allowed;
        if allowed.is_empty() || allowed.iter().any(is_value) {
            return;
        }
        if self.node.is_constant {
            self.complain("must be equal to constant");
        } else {
            self.complain("must be equal to one of the allowed values");
        }
    }

    fn check_number(&mut self, number: &Number) {
        let node = self.node;
        if let Some(minimum) = &node.minimum
            && is_less(number, minimum)
        {
            self.complain(format_args!("must be >= {minimum}"));
        }
        if let Some(maximum) = &node.maximum
            && is_less(maximum, number)
        {
            self.complain(format_args!("must be <= {maximum}"));
        }
        self.check_allowed(|value| value.as_number() == Some(number));
    }

    fn check_count(&mut self, count: u64, bounds: (Option<u64>, Option<u64>), of: &str) {
        let (min, max) = bounds;
        if let Some(min) = min.filter(|min| count < *min) {
            self.complain(format_args!("must not have fewer than {min} {of}"));
        }
        if let Some(max) = max.filter(|max| count > *max) {
            self.complain(format_args!("must not have more than {max} {of}"));
        }
    }
}

fn is_less(left: &Number, right: &Number) -> bool {
    match (left.as_i128(), right.as_i128()) {
        (Some(left), Some(right)) => left < right,
        (Some(_) | None, None) | (None, Some(_)) => left.as_f64() < right.as_f64(),
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(mut self) -> Result<(), E> {
        if self.admits(Kind::Null) && !self.node.types.contains(&Kind::Null) {
            self.check_allowed(Value::is_null);
        }
        Ok(())
    }

    fn visit_bool<E>(mut self, flag: bool) -> Result<(), E> {
        if self.admits(Kind::Boolean) {
            self.check_allowed(|value| value.as_bool() == Some(flag));
        }
        Ok(())
    }

    fn visit_u64<E>(mut self, number: u64) -> Result<(), E> {
        if self.admits(Kind::Integer) {
            self.check_number(&number.into());
        }
        Ok(())
    }

    fn visit_i64<E>(mut self, number: i64) -> Result<(), E> {
        if self.admits(Kind::Integer) {
            self.check_number(&number.into());
        }
        Ok(())
    }

    fn visit_f64<E>(mut self, number: f64) -> Result<(), E> {
        if self.admits(Kind::Number)
            && let Some(number) = Number::from_f64(number)
        {
            self.check_number(&number);
        }
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        if self.admits(Kind::String) {
            let count = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
            let bounds = (self.node.chars_min, self.node.chars_max);
            self.check_count(count, bounds, "characters");
            self.check_allowed(|value| value.as_str() == Some(text));
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        if !self.admits(Kind::Array) {
            while elements.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let mut count = 0;
        loop {
            let more = match self.node.items {
                None => elements.next_element::<IgnoredAny>()?.is_some(),
                Some(items) => {
                    let seed = Seed {
                        rules: self.rules,
                        node: self.rules.node(items),
                        path: &Path::Element(self.path, count),
                        choices: self.choices,
                        found: self.found,
                    };
                    elements.next_element_seed(seed)?.is_some()
                }
            };
            if !more {
                break;
            }
            count += 1;
        }
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let bounds = (self.node.items_min, self.node.items_max);
        self.check_count(count, bounds, "items");
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        if !self.admits(Kind::Object) {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        // What is missing is told before what is wrong further inside.
        let place = self.found.0.len();
        let mut seen = vec![false; self.node.members.len()];
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            self.member(&name, &mut seen, &mut members)?;
        }
        let unseen = self
            .node
            .members
            .iter()
            .zip(&seen)
            .filter(|(_, seen)| !**seen);
        let missing = unseen
            .filter_map(|(member, _)| Some((member.required?, &member.name)))
            .min();
        if let Some((_, name)) = missing {
            let text = format!("must have required property {}", quoted(name));
            self.found.insert(place, self.path.at(text));
        }
        Ok(())
    }
}

impl Seed<'_> {
    /// Checks one member of an object.
    fn member<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        seen: &mut [bool],
        members: &mut A,
    ) -> Result<(), A::Error> {
        let node = self.node;
        let known = node.members.iter().position(|member| *member.name == *name);
        let rule = match known {
            Some(index) => {
                let is_first = seen
                    .get_mut(index)
                    .is_some_and(|seen| !std::mem::replace(seen, true));
                if !is_first {
                    let text = format!("duplicate property {}", quoted(name));
                    self.found.push(self.path.at_object(text));
                }
                node.members.get(index).map(|member| member.node)
            }
            None => match node.others {
                Others::Free => None,
                Others::Follow(rule) => Some(rule),
                Others::Refused => {
                    let text = format!("unexpected property {}", quoted(name));
                    self.found.push(self.path.at_object(text));
                    None
                }
            },
        };
        let Some(rule) = rule else {
            members.next_value::<IgnoredAny>()?;
            return Ok(());
        };
        members.next_value_seed(Seed {
            rules: self.rules,
            node: self.rules.node(rule),
            path: &Path::Member(self.path, name),
            choices: self.choices,
            found: self.found,
        })
    }
}
