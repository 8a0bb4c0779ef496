//! JSON that may have the wrong shape: read once, borrowed, mismatches noted instead of raised.
//!
//! Owns how `null`, repeated keys and unknown keys are taken: absent, last one wins, ignored. Must
//! not know any field.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use bytes::{BufMut, BytesMut};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The kind of a JSON value, as complaints name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl Kind {
    /// The name in complaints.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

/// A place for a value.
#[derive(Clone, Debug, Default)]
pub(super) enum Slot<T> {
    /// Not there, or `null`.
    #[default]
    Absent,
    /// There, in the right shape.
    Given(T),
    /// There, in another shape.
    Wrong(Kind),
}

impl<T> Slot<T> {
    /// The value, when it is there in the right shape.
    pub(super) fn given(self) -> Option<T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Wrong(_) => None,
        }
    }

    /// The value; `Err` holds the kind of a value in another shape.
    pub(super) fn checked(self) -> Result<Option<T>, Kind> {
        match self {
            Self::Absent => Ok(None),
            Self::Given(value) => Ok(Some(value)),
            Self::Wrong(kind) => Err(kind),
        }
    }
}

/// What can be made from some kinds of JSON. The defaults refuse.
pub(super) trait Shape<'de>: Sized {
    /// The keys of an object that are read.
    #[cfg(test)]
    const KEYS: &'static [&'static str] = &[];

    fn from_bool(_value: bool) -> Option<Self> {
        None
    }

    fn from_number(_value: f64) -> Option<Self> {
        None
    }

    fn from_text(_text: Cow<'de, str>) -> Option<Self> {
        None
    }

    fn from_seq<A: SeqAccess<'de>>(seq: A) -> Result<Option<Self>, A::Error> {
        drain(seq).map(|()| None)
    }

    fn from_map<A: MapAccess<'de>>(mut map: A) -> Result<Option<Self>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// Reads the rest of an array and forgets it.
pub(super) fn drain<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<(), A::Error> {
    while seq.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

impl Shape<'_> for bool {
    fn from_bool(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl Shape<'_> for f64 {
    fn from_number(value: f64) -> Option<Self> {
        Some(value)
    }
}

impl<'de> Shape<'de> for Cow<'de, str> {
    fn from_text(text: Cow<'de, str>) -> Option<Self> {
        Some(text)
    }
}

struct SlotVisitor<T>(PhantomData<T>);

impl<T> SlotVisitor<T> {
    fn slot(value: Option<T>, kind: Kind) -> Slot<T> {
        value.map_or(Slot::Wrong(kind), Slot::Given)
    }
}

impl<'de, T: Shape<'de>> Deserialize<'de> for Slot<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(SlotVisitor(PhantomData))
    }
}

impl<'de, T: Shape<'de>> Visitor<'de> for SlotVisitor<T> {
    type Value = Slot<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Slot<T>, E> {
        Ok(Slot::Absent)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Slot<T>, E> {
        Ok(Self::slot(T::from_bool(value), Kind::Boolean))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Slot<T>, E> {
        #[expect(
            clippy::as_conversions,
            clippy::cast_precision_loss,
            reason = "numbers of this dialect are doubles, as in its first implementation"
        )]
        let value = value as f64;
        Ok(Self::slot(T::from_number(value), Kind::Number))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Slot<T>, E> {
        #[expect(
            clippy::as_conversions,
            clippy::cast_precision_loss,
            reason = "numbers of this dialect are doubles, as in its first implementation"
        )]
        let value = value as f64;
        Ok(Self::slot(T::from_number(value), Kind::Number))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Slot<T>, E> {
        Ok(Self::slot(T::from_number(value), Kind::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Slot<T>, E> {
        let text = Cow::Owned(text.to_owned());
        Ok(Self::slot(T::from_text(text), Kind::String))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Slot<T>, E> {
        Ok(Self::slot(T::from_text(Cow::Borrowed(text)), Kind::String))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Slot<T>, A::Error> {
        Ok(Self::slot(T::from_seq(seq)?, Kind::Array))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Slot<T>, A::Error> {
        Ok(Self::slot(T::from_map(map)?, Kind::Object))
    }
}

/// The key of an object, borrowed unless it holds escapes.
pub(super) struct Key<'de>(pub(super) Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(text)))
    }
}

/// Declares a struct that is read from an object: unknown keys are skipped, of a repeated key the
/// last value counts.
macro_rules! json_object {
    (
        $(#[$meta:meta])*
        for<$de:lifetime> $vis:vis struct $name:ident $(<$life:lifetime>)? {
            $( $key:literal => $field:ident: $type:ty, )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        $vis struct $name $(<$life>)? {
            $( pub(super) $field: $type, )*
        }

        impl<$de> $crate::openai::json::Shape<$de> for $name $(<$life>)? {
            #[cfg(test)]
            const KEYS: &'static [&'static str] = &[$( $key ),*];

            fn from_map<A: serde::de::MapAccess<$de>>(
                mut map: A,
            ) -> Result<Option<Self>, A::Error> {
                let mut object = Self::default();
                while let Some($crate::openai::json::Key(key)) = map.next_key()? {
                    match &*key {
                        $( $key => object.$field = map.next_value()?, )*
                        _ => {
                            map.next_value::<serde::de::IgnoredAny>()?;
                        }
                    }
                }
                Ok(Some(object))
            }
        }
    };
}

pub(super) use json_object;

/// Appends `text` as a JSON string, quotes included.
pub(super) fn push_str(out: &mut BytesMut, text: &str) {
    out.reserve(text.len() + 2);
    out.put_u8(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| is_escaped(*byte)) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, tail)) = tail.split_first() else {
            break;
        };
        push_escape(out, *byte);
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.put_u8(b'"');
}

const fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn push_escape(out: &mut BytesMut, byte: u8) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let hex = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
            out.extend_from_slice(b"\\u00");
            for digit in [hex(byte >> 4), hex(byte & 0xf)] {
                out.extend_from_slice(digit.encode_utf8(&mut [0; 4]).as_bytes());
            }
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Appends a number.
pub(super) fn push_u64(out: &mut BytesMut, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    json_object! {
        for<'de> struct Pair<'de> {
            "name" => name: Slot<Cow<'de, str>>,
            "count" => count: Slot<f64>,
        }
    }

    fn check(json: &str, expected: &str) {
        let read = serde_json::from_str::<Slot<Pair<'_>>>(json);
        let seen = match read {
            Err(_) => "error".to_owned(),
            Ok(slot) => match slot.checked() {
                Err(kind) => format!("wrong {}", kind.as_str()),
                Ok(None) => "absent".to_owned(),
                Ok(Some(pair)) => format!("{:?} {:?}", pair.name.checked(), pair.count.checked()),
            },
        };
        assert_eq!(seen, expected, "{json}");
    }

    #[test]
    fn shapes_are_noted_null_is_absent_and_the_last_key_wins() {
        check(
            r#"{"name":"a","count":1}"#,
            r#"Ok(Some("a")) Ok(Some(1.0))"#,
        );
        check(r#"{"name":"a","name":"b"}"#, r#"Ok(Some("b")) Ok(None)"#);
        check(r#"{"name":"a","name":null}"#, "Ok(None) Ok(None)");
        check(r#"{"na\u006de":"a"}"#, r#"Ok(Some("a")) Ok(None)"#);
        check(r#"{"name":[1,{}],"count":"1"}"#, "Err(Array) Err(String)");
        check(
            r#"{"other":{"name":"x"},"count":true}"#,
            "Ok(None) Err(Boolean)",
        );
        check("[1,2]", "wrong array");
        check("null", "absent");
        check("5", "wrong number");
        check(r#"{"name":"#, "error");
        check(&"[".repeat(200), "error");
    }

    #[test]
    fn strings_are_borrowed_unless_they_hold_escapes() {
        let json = r#"{"name":"plain"}"#;
        let pair = serde_json::from_str::<Slot<Pair<'_>>>(json).unwrap();
        let name = pair.given().unwrap().name.given().unwrap();
        assert!(matches!(name, Cow::Borrowed("plain")));
        let json = r#"{"name":"\u00e4"}"#;
        let pair = serde_json::from_str::<Slot<Pair<'_>>>(json).unwrap();
        let name = pair.given().unwrap().name.given().unwrap();
        assert!(matches!(name, Cow::Owned(text) if text == "ä"));
    }

    #[test]
    fn written_strings_are_those_of_serde_json() {
        let mut all: String = (0..0x80).map(char::from).collect();
        all.push_str("ä漢🦀\u{2028}");
        let mut out = BytesMut::new();
        push_str(&mut out, &all);
        assert_eq!(out, serde_json::to_string(&all).unwrap().as_bytes());
        out.clear();
        push_u64(&mut out, u64::MAX);
        assert_eq!(&out[..], b"18446744073709551615");
    }
}
