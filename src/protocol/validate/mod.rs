//! Says what is wrong with JSON that does not fit a type, in the words clients know
//! (`protocol-facts` §5.2).
//!
//! The rules are the type's own JSON Schema, so there is one definition for decoding, schema files
//! and texts. The JSON is walked once as a stream: memory does not grow with the input. Values that
//! fit never come here.

mod rules;
mod walk;

use std::any::TypeId;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::error::{ErrorBody, invalid_params};
use super::schema::reading;
pub(super) use rules::Rules;
#[cfg(test)]
pub(super) use walk::violations as violations_by;

/// Most violations that are named; an answer must not grow with what a peer gets wrong.
const VIOLATIONS_MAX: usize = 8;

/// Most members that are named as ignored.
const NAMES_MAX: usize = 8;

/// Longest piece of a peer's own text inside a violation, in characters.
const QUOTE_CHARS_MAX: usize = 64;

/// What is wrong with a JSON text, as one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<Box<str>>);

impl Violations {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("unknown validation error");
        }
        f.write_str(&self.0.join("; "))
    }
}

/// Reads the params of a method; absent params are an empty object.
///
/// # Errors
/// The error to answer with, which names the members that do not fit.
pub fn decode_params<T>(method: &str, params: Option<&RawValue>) -> Result<T, ErrorBody>
where
    T: DeserializeOwned + JsonSchema + 'static,
{
    decode(params).map_err(|problem| invalid_params(method, problem))
}

/// Reads params; absent params are an empty object.
pub(super) fn decode<T>(params: Option<&RawValue>) -> Result<T, Violations>
where
    T: DeserializeOwned + JsonSchema + 'static,
{
    let text = params.map_or("{}", RawValue::get);
    // A struct could also be read from an array, member by member; params never are.
    if !text.trim_start().starts_with('{') {
        return Err(violations::<T>(text));
    }
    serde_json::from_str::<T>(text).map_err(|_misfit| violations::<T>(text))
}

/// Names of members of params that `T` does not know and reading it therefore left out, at most
/// as many as a debug line may name. Params that are no object have none.
pub fn ignored_members<T: JsonSchema + 'static>(params: Option<&RawValue>) -> Vec<Box<str>> {
    #[derive(serde::Deserialize)]
    struct Names<'a>(#[serde(borrow)] BTreeMap<Name<'a>, &'a RawValue>);
    #[derive(PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
    struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

    let text = params.map_or("{}", RawValue::get);
    let Ok(Names(names)) = serde_json::from_str::<Names<'_>>(text) else {
        return Vec::new();
    };
    let rules = rules_of::<T>();
    let names = names.keys().map(|Name(name)| name);
    let unknown = names.filter(|name| !rules.knows_member(name));
    let short = |name: &Cow<'_, str>| name.chars().take(QUOTE_CHARS_MAX).collect::<String>();
    unknown
        .take(NAMES_MAX)
        .map(|name| short(name).into())
        .collect()
}

/// What is wrong with a JSON text that should be a `T`.
pub(super) fn violations<T: JsonSchema + 'static>(text: &str) -> Violations {
    walk::violations(&rules_of::<T>(), text)
}

/// The rules of a type, made once; there are as many entries as types that are ever checked.
fn rules_of<T: JsonSchema + 'static>() -> Arc<Rules> {
    static RULES: LazyLock<Mutex<HashMap<TypeId, Arc<Rules>>>> = LazyLock::new(Mutex::default);
    let mut known = RULES.lock().unwrap_or_else(PoisonError::into_inner);
    let rules = known.entry(TypeId::of::<T>()).or_insert_with(|| {
        let schema = reading().into_root_schema_for::<T>();
        Arc::new(Rules::of(schema.as_value()))
    });
    Arc::clone(rules)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::protocol::{Bounded, ConnectParams, NonEmpty, Text};

    /// A word.
    #[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        /// One.
        One,
        /// Two.
        Two,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    #[expect(dead_code, reason = "only its form is looked at")]
    struct Inner {
        name: NonEmpty,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "only its form is looked at")]
    enum Nest {
        Leaf(u8),
        Nodes(Vec<Nest>),
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "only its form is looked at")]
    enum Either {
        Flag(bool),
        Word(Word),
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, rename_all = "camelCase")]
    #[expect(dead_code, reason = "only its form is looked at")]
    struct Params {
        message: Text<1, 4>,
        idempotency_key: NonEmpty,
        limit: Option<Bounded<1, 1000>>,
        word: Option<Word>,
        ratio: Option<f64>,
        small: Option<u8>,
        flag: Option<bool>,
        inner: Option<Inner>,
        #[serde(default)]
        tags: Vec<NonEmpty>,
        either: Option<Either>,
        tree: Option<Tree>,
        chain: Option<Chain>,
        nest: Option<Nest>,
        #[serde(default)]
        switches: BTreeMap<String, bool>,
        any: Option<serde_json::Value>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its form is looked at")]
    struct Tree {
        leaves: Vec<Tree>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its form is looked at")]
    struct Chain {
        next: Option<Box<Chain>>,
    }

    fn check(text: &str, expected: Option<&str>) {
        let raw = serde_json::from_str::<&RawValue>(text).unwrap();
        let problem = decode::<Params>(Some(raw)).err().map(|p| p.to_string());
        assert_eq!(problem.as_deref(), expected, "{text}");
    }

    /// The params with the two required members and `rest`.
    fn check_with(rest: &str, expected: Option<&str>) {
        let text = format!(r#"{{"message":"hi","idempotencyKey":"k",{rest}}}"#);
        check(&text, expected);
    }

    #[test]
    fn fitting_params_are_read() {
        check(r#"{"message":"hi","idempotencyKey":"k"}"#, None);
        check_with(r#""limit":1000,"word":"two","ratio":1,"small":255"#, None);
        check_with(r#""tags":["a"],"either":true,"switches":{"a":true}"#, None);
        check_with(r#""tree":{"leaves":[{"leaves":[]}]},"any":[{}]"#, None);
        check_with(r#""limit":null,"word":null,"inner":null"#, None);
    }

    #[test]
    fn the_first_missing_member_is_named() {
        check("{}", Some("must have required property 'message'"));
        check(
            r#"{"message":"x"}"#,
            Some("must have required property 'idempotencyKey'"),
        );
        check_with(
            r#""inner":{}"#,
            Some("at /inner: must have required property 'name'"),
        );
    }

    #[test]
    fn every_unexpected_member_is_named() {
        check_with(r#""bogus":1"#, Some("at root: unexpected property 'bogus'"));
        check_with(
            r#""a":1,"b":{}"#,
            Some("at root: unexpected property 'a'; at root: unexpected property 'b'"),
        );
        check_with(
            r#""inner":{"name":"x","y":[]}"#,
            Some("at /inner: unexpected property 'y'"),
        );
    }

    #[test]
    fn wrong_types_are_named_at_their_place() {
        check("[]", Some("must be object"));
        check("null", Some("must be object"));
        check_with(r#""limit":"7""#, Some("at /limit: must be integer"));
        check_with(r#""limit":1.5"#, Some("at /limit: must be integer"));
        check_with(r#""ratio":"1""#, Some("at /ratio: must be number"));
        check_with(r#""flag":1"#, Some("at /flag: must be boolean"));
        check_with(r#""tags":{}"#, Some("at /tags: must be array"));
        check_with(r#""tags":["a",3]"#, Some("at /tags/1: must be string"));
        check_with(
            r#""switches":{"a/b~c":3}"#,
            Some("at /switches/a~1b~0c: must be boolean"),
        );
        check_with(
            r#""tree":{"leaves":[{"leaves":7}]}"#,
            Some("at /tree/leaves/0/leaves: must be array"),
        );
    }

    #[test]
    fn bounds_are_named_at_their_place() {
        check_with(r#""limit":0"#, Some("at /limit: must be >= 1"));
        check_with(r#""limit":-1"#, Some("at /limit: must be >= 1"));
        check_with(r#""limit":1001"#, Some("at /limit: must be <= 1000"));
        check_with(r#""small":256"#, Some("at /small: must be <= 255"));
        check(
            r#"{"message":"","idempotencyKey":"k"}"#,
            Some("at /message: must not have fewer than 1 characters"),
        );
        check(
            r#"{"message":"äöüßx","idempotencyKey":"k"}"#,
            Some("at /message: must not have more than 4 characters"),
        );
    }

    #[test]
    fn choices_are_closed() {
        check_with(
            r#""word":"three""#,
            Some("at /word: must be equal to one of the allowed values"),
        );
        check_with(r#""word":3"#, Some("at /word: must be string"));
        check_with(
            r#""either":"three""#,
            Some("at /either: must match a schema in anyOf"),
        );
    }

    #[test]
    fn types_may_contain_themselves() {
        check_with(r#""chain":{"next":{"next":null}},"nest":[[1],2]"#, None);
        check_with(
            r#""chain":{"next":{"next":{"last":1}}}"#,
            Some("at /chain/next/next: unexpected property 'last'"),
        );
        check_with(
            r#""nest":[1,"x"]"#,
            Some("at /nest: must match a schema in anyOf"),
        );
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        check_with(&format!(r#""nest":{deep}"#), None);
        let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
        check_with(
            &format!(r#""nest":{deep}"#),
            Some("at /nest: must match a schema in anyOf"),
        );
    }

    #[test]
    fn a_member_given_twice_is_named() {
        check_with(
            r#""flag":true,"flag":true"#,
            Some("at root: duplicate property 'flag'"),
        );
    }

    #[test]
    fn an_answer_does_not_grow_with_the_input() {
        let many: Vec<String> = (0..1000).map(|n| format!(r#""x{n}":{n}"#)).collect();
        let long = "y".repeat(100_000);
        for rest in [many.join(","), format!(r#""{long}":1"#)] {
            let text = format!(r#"{{"message":"hi","idempotencyKey":"k",{rest}}}"#);
            let raw = serde_json::from_str::<&RawValue>(&text).unwrap();
            let problem = decode::<Params>(Some(raw)).unwrap_err().to_string();
            assert!(problem.len() < 1000, "{}", problem.len());
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        check(&deep, Some("must be object"));
        check_with(
            &format!(r#""any":{deep}"#),
            Some("unknown validation error"),
        );
        let tree = r#"{"leaves":["#.repeat(1000);
        let tree = format!(r#""tree":{tree}{}"#, "]}".repeat(1000));
        check_with(&tree, Some("must not be nested so deeply"));
    }

    #[test]
    fn members_nobody_knows_are_named_but_not_without_end() {
        let check = |text: &str, expected: &[&str]| {
            let raw = serde_json::from_str::<&RawValue>(text).unwrap();
            let found = ignored_members::<Params>(Some(raw));
            let found: Vec<&str> = found.iter().map(AsRef::as_ref).collect();
            assert_eq!(found, expected, "{text}");
        };
        check(r#"{"message":"hi","word":7}"#, &[]);
        check(
            r#"{"message":"hi","b":1,"\u0061":{"message":1}}"#,
            &["a", "b"],
        );
        check("[1]", &[]);
        let many: Vec<String> = (0..100).map(|n| format!(r#""x{n}":{n}"#)).collect();
        let many = format!("{{{}}}", many.join(","));
        let raw = serde_json::from_str::<&RawValue>(&many).unwrap();
        assert_eq!(ignored_members::<Params>(Some(raw)).len(), NAMES_MAX);
        assert!(ignored_members::<Params>(None).is_empty());
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    #[test]
    fn absent_params_are_an_empty_object() {
        let problem = decode_params::<Params>("chat.send", None).unwrap_err();
        assert_eq!(
            problem.message,
            "invalid chat.send params: must have required property 'message'"
        );
        assert!(decode_params::<Nothing>("status", None).is_ok());
    }

    #[test]
    fn connect_texts_are_those_on_record() {
        let check = |text: &str, expected: &str| {
            let raw = serde_json::from_str::<&RawValue>(text).unwrap();
            let problem = decode::<ConnectParams>(Some(raw)).unwrap_err();
            assert_eq!(problem.to_string(), expected, "{text}");
        };
        check(
            r#"{"minProtocol":4,"maxProtocol":4}"#,
            "must have required property 'client'",
        );
        check(
            r#"{"minProtocol":4,"maxProtocol":4,
                "client":{"id":"nobody","version":"1","platform":"linux","mode":"cli"}}"#,
            "at /client/id: must be equal to one of the allowed values",
        );
        check(
            r#"{"minProtocol":0,"maxProtocol":4,
                "client":{"id":"cli","version":"","platform":"linux","mode":"cli"}}"#,
            "at /minProtocol: must be >= 1; \
             at /client/version: must not have fewer than 1 characters",
        );
        check(
            r#"{"minProtocol":4,"maxProtocol":4,"device":{"id":"x"},
                "client":{"id":"cli","version":"1","platform":"linux","mode":"cli"}}"#,
            "at /device: must have required property 'publicKey'",
        );
        check(
            r#"{"minProtocol":4,"maxProtocol":4,"scopes":"all",
                "client":{"id":"cli","version":"1","platform":"linux","mode":"cli"}}"#,
            "at /scopes: must be array",
        );
    }

    #[test]
    fn message_is_read_as_it_came() {
        let params: Params = decode_params(
            "x",
            serde_json::from_str(r#"{"message":"a","idempotencyKey":"k"}"#).ok(),
        )
        .unwrap();
        assert_eq!(params.message.as_str(), "a");
    }
}
