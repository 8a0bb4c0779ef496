//! Text and numbers whose bounds are part of their type, so that one definition serves decoding,
//! JSON Schema and the texts of refusals.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Text of at least `MIN` and at most `MAX` characters; `MAX` 0 means without an own limit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text<const MIN: usize, const MAX: usize>(Box<str>);

/// Text with at least one character.
pub type NonEmpty = Text<1, 0>;

/// A value outside the bounds of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of bounds")]
pub struct OutOfBounds;

impl<const MIN: usize, const MAX: usize> Text<MIN, MAX> {
    /// Takes text that keeps the bounds.
    ///
    /// # Errors
    /// [`OutOfBounds`] when it does not.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, OutOfBounds> {
        let text = text.into();
        if has_length(&text, MIN, MAX) {
            Ok(Self(text))
        } else {
            Err(OutOfBounds)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, owned.
    pub fn into_string(self) -> String {
        self.0.into_string()
    }
}

/// Whether `text` has `min` to `max` characters; `max` 0 means any number.
pub(super) fn has_length(text: &str, min: usize, max: usize) -> bool {
    // Bytes bound characters from above, so most texts need no count.
    let long_enough = min == 0 || text.len() / 4 >= min || text.chars().take(min).count() == min;
    let short_enough = max == 0 || text.len() <= max || text.chars().nth(max).is_none();
    long_enough && short_enough
}

impl<const MIN: usize, const MAX: usize> Deref for Text<MIN, MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MIN: usize, const MAX: usize> fmt::Debug for Text<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Text<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl<const MIN: usize, const MAX: usize> JsonSchema for Text<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Text_{MIN}_{MAX}").into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "string" });
        if MIN > 0 {
            schema.insert("minLength".to_owned(), MIN.into());
        }
        if MAX > 0 {
            schema.insert("maxLength".to_owned(), MAX.into());
        }
        schema
    }
}

/// A whole number from `MIN` to `MAX`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Bounded<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Bounded<MIN, MAX> {
    /// Takes a number that keeps the bounds.
    ///
    /// # Errors
    /// [`OutOfBounds`] when it does not.
    pub const fn new(number: u64) -> Result<Self, OutOfBounds> {
        if number < MIN || number > MAX {
            return Err(OutOfBounds);
        }
        Ok(Self(number))
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(u64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Bounded<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Bounded_{MIN}_{MAX}").into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({ "type": "integer", "minimum": MIN });
        if MAX < u64::MAX {
            schema.insert("maximum".to_owned(), MAX.into());
        }
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(json: &str, fits: bool) {
        let parsed = serde_json::from_str::<Text<2, 4>>(json);
        assert_eq!(parsed.is_ok(), fits, "{json}");
    }

    #[test]
    fn text_is_counted_in_characters() {
        check_text(r#""ab""#, true);
        check_text(r#""abcd""#, true);
        check_text(r#""a""#, false);
        check_text(r#""abcde""#, false);
        check_text(r#""äöüß""#, true);
        check_text(r#""ä""#, false);
        check_text(r#""😀""#, false);
        check_text(r#""😀😀😀😀😀""#, false);
        check_text("7", false);
    }

    fn check_number(json: &str, fits: bool) {
        let parsed = serde_json::from_str::<Bounded<1, 5>>(json);
        assert_eq!(parsed.is_ok(), fits, "{json}");
    }

    #[test]
    fn numbers_are_whole_and_inside_their_bounds() {
        check_number("1", true);
        check_number("5", true);
        check_number("0", false);
        check_number("6", false);
        check_number("-1", false);
        check_number("1.5", false);
        check_number("\"1\"", false);
    }
}
