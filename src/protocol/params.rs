//! The form every parameter object has: camelCase, absent rather than null, open to members that
//! a newer client sends and this gateway does not know.
//!
//! Owns the macro that writes such objects and the types of members with a meaning of their own:
//! accepted but unused, keep / clear / set, short lists. Knows no method.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Defines a parameter object from its required, optional, patched and unused members, with a
/// `new` that takes the required ones and leaves the others absent.
macro_rules! params {
    (
        $(#[$meta:meta])*
        $name:ident {
            $( required { $( $(#[$req_meta:meta])* $req:ident : $req_ty:ty ),+ $(,)? } )?
            $( optional { $( $(#[$opt_meta:meta])* $opt:ident : $opt_ty:ty ),+ $(,)? } )?
            $( patch { $( $(#[$patch_meta:meta])* $patch:ident : $patch_ty:ty ),+ $(,)? } )?
            $( unused { $( $unused:ident : $unused_ty:ty ),+ $(,)? } )?
        }
    ) => {
        #[derive(
            Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
        )]
        #[serde(rename_all = "camelCase")]
        $(#[$meta])*
        pub struct $name {
            $($( $(#[$req_meta])* pub $req: $req_ty, )+)?
            $($(
                $(#[$opt_meta])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $opt: Option<$opt_ty>,
            )+)?
            $($(
                $(#[$patch_meta])*
                #[serde(default, skip_serializing_if = "crate::protocol::params::Patch::is_keep")]
                pub $patch: crate::protocol::params::Patch<$patch_ty>,
            )+)?
            $($(
                #[doc = "Accepted and ignored."]
                #[serde(default, skip_serializing)]
                pub $unused: crate::protocol::params::Unused<$unused_ty>,
            )+)?
        }

        params!(@new $name
            [ $($( $req : $req_ty ),+)? ]
            [ $($( $opt )+)? $($( $patch )+)? $($( $unused )+)? ]
        );
    };

    (@new $name:ident [] [ $( $rest:ident )* ]) => {
        impl Default for $name {
            fn default() -> Self {
                Self { $( $rest: Default::default(), )* }
            }
        }
    };

    (@new $name:ident [ $( $req:ident : $req_ty:ty ),+ ] [ $( $rest:ident )* ]) => {
        impl $name {
            /// The parameters that are required; all others are absent.
            pub fn new($( $req: $req_ty ),+) -> Self {
                Self { $( $req, )+ $( $rest: Default::default(), )* }
            }
        }
    };
}

pub(super) use params;

/// A member that official clients may send and that has no effect here. Its type is checked, its
/// value is dropped.
pub struct Unused<T>(PhantomData<fn() -> T>);

impl<T> Clone for Unused<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Unused<T> {}

impl<T> Default for Unused<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T> PartialEq for Unused<T> {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl<T> fmt::Debug for Unused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

impl<T> Serialize for Unused<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_none()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unused<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Option::<T>::deserialize(from).map(|_value| Self::default())
    }
}

impl<T: JsonSchema> JsonSchema for Unused<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Option::<T>::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        Option::<T>::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<T>::json_schema(generator)
    }
}

/// A list of at most `MAX` items.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Few<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Few<T, MAX> {
    /// The items.
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Few<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let items = Vec::<T>::deserialize(from)?;
        if items.len() > MAX {
            return Err(D::Error::custom("too many items"));
        }
        Ok(Self(items))
    }
}

impl<T: JsonSchema, const MAX: usize> JsonSchema for Few<T, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Few_{MAX}_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Vec::<T>::json_schema(generator);
        schema.insert("maxItems".to_owned(), MAX.into());
        schema
    }
}

/// A setting in a change: absent keeps it, `null` clears it, a value sets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Leave it as it is.
    #[default]
    Keep,
    /// Back to the default.
    Clear,
    /// This value from now on.
    Set(T),
}

impl<T> Patch<T> {
    /// Whether nothing is to change.
    pub const fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// The value, when one is set.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Keep | Self::Clear => None,
        }
    }

    /// `None` keeps, `Some(None)` clears.
    pub fn into_option(self) -> Option<Option<T>> {
        match self {
            Self::Keep => None,
            Self::Clear => Some(None),
            Self::Set(value) => Some(Some(value)),
        }
    }
}

impl<T: Serialize> Serialize for Patch<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Keep | Self::Clear => to.serialize_none(),
            Self::Set(value) => to.serialize_some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(match Option::deserialize(from)? {
            None => Self::Clear,
            Some(value) => Self::Set(value),
        })
    }
}

impl<T: JsonSchema> JsonSchema for Patch<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        Option::<T>::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        Option::<T>::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Option::<T>::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::protocol::methods::sessions::SessionsPatchParams;

    use super::*;

    fn check(text: &str, expected: Result<Value, &str>) {
        let parsed = serde_json::from_str::<SessionsPatchParams>(text);
        let again = parsed
            .map(|params| serde_json::to_value(params).unwrap())
            .map_err(|error| error.to_string());
        match (again, expected) {
            (Ok(value), Ok(wanted)) => assert_eq!(value, wanted, "{text}"),
            (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
            (other, wanted) => panic!("{text}: {other:?}, expected {wanted:?}"),
        }
    }

    #[test]
    fn unknown_members_are_ignored_and_absent_ones_stay_absent() {
        check(r#"{"key":"main"}"#, Ok(json!({"key": "main"})));
        check(
            r#"{"key":"main","agentId":"a","pinned":true,"ttlMinutes":3}"#,
            Ok(json!({"key": "main", "agentId": "a", "pinned": true})),
        );
        check("{}", Err("missing field `key`"));
        check(r#"{"key":""}"#, Err("out of bounds"));
        check(
            r#"{"key":"main","newerThanThis":[1]}"#,
            Ok(json!({"key": "main"})),
        );
        check(r#"{"key":"main","pinned":1}"#, Err("invalid type"));
    }

    #[test]
    fn null_clears_and_absence_keeps() {
        let parse = |text| {
            serde_json::from_str::<SessionsPatchParams>(text)
                .unwrap()
                .label
        };
        assert_eq!(parse(r#"{"key":"k"}"#), Patch::Keep);
        assert_eq!(parse(r#"{"key":"k","label":null}"#), Patch::Clear);
        assert_eq!(
            parse(r#"{"key":"k","label":"x"}"#).into_option(),
            Some(Some("x".to_owned()))
        );
        check(
            r#"{"key":"k","label":null}"#,
            Ok(json!({"key": "k", "label": null})),
        );
    }

    #[test]
    fn the_type_of_an_ignored_member_is_checked_all_the_same() {
        let parse = serde_json::from_str::<Unused<String>>;
        assert!(parse(r#""x""#).is_ok());
        assert!(parse("null").is_ok());
        assert!(parse("7").is_err());
    }

    #[test]
    fn short_lists_are_bounded() {
        let parse = serde_json::from_str::<Few<u8, 2>>;
        assert_eq!(parse("[1,2]").unwrap().as_slice(), [1, 2]);
        assert!(parse("[1,2,3]").is_err());
    }
}
