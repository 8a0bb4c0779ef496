//! Checks a value against the schema of the configuration and keeps what fits.
//!
//! Every problem is reported. What is wrong or unknown is left out of the result, so that the rest
//! can be checked further; the result always deserializes.

use std::collections::HashSet;

use serde_json::{Map, Number, Value as Json};

use super::foreign;
use super::near::nearest;
use super::problem::{Fault, Problems};
use super::schema::{resolve, schema};
use super::value::{KeyPath, Kind, Member, Value};

/// Checks the whole configuration.
pub(super) fn check(root: &Value, problems: &mut Problems) -> Json {
    let mut checker = Checker {
        problems,
        warned: HashSet::new(),
    };
    let kept = checker.value(root, schema(), &Here::default());
    kept.unwrap_or_else(|| Json::Object(Map::new()))
}

struct Checker<'a> {
    problems: &'a mut Problems,
    /// Unused keys that were warned about, by section: once is enough for a list of models.
    warned: HashSet<String>,
}

/// The place that is being checked.
#[derive(Clone, Default)]
struct Here {
    path: KeyPath,
    /// The section as [`foreign`] names it.
    section: String,
}

impl Here {
    fn key(&self, key: &str, name: &str) -> Self {
        let dot = if self.section.is_empty() { "" } else { "." };
        Self {
            path: self.path.key(key),
            section: format!("{}{dot}{name}", self.section),
        }
    }

    fn index(&self, index: usize) -> Self {
        Self {
            path: self.path.index(index),
            section: format!("{}[]", self.section),
        }
    }
}

impl Checker<'_> {
    /// Checks one value; `None` when it does not fit at all.
    fn value(&mut self, value: &Value, schema: &Json, here: &Here) -> Option<Json> {
        let schema = resolve(schema);
        if let Some(words) = words(schema) {
            return self.word(value, &words, here);
        }
        if let Some(branches) = schema.get("anyOf").and_then(Json::as_array) {
            let mut fitting = branches.iter().map(resolve);
            return match fitting.find(|branch| fits(&value.kind, branch)) {
                Some(branch) => self.value(value, branch, here),
                None => self.wrong_type(value, schema, here),
            };
        }
        if !fits(&value.kind, schema) {
            return self.wrong_type(value, schema, here);
        }
        match &value.kind {
            Kind::Object(members) => self.object(value, members, schema, here),
            Kind::Array(items) => Some(self.list(items, schema, here)),
            Kind::Number(number) => self.number(value, number, schema, here),
            Kind::Null | Kind::Bool(_) | Kind::String(_) => Some(value.to_json()),
        }
    }

    fn wrong_type(&mut self, value: &Value, schema: &Json, here: &Here) -> Option<Json> {
        let fault = Fault::WrongType {
            expected: expected(schema),
            found: value.kind.name(),
        };
        self.problems.at(here.path.clone(), value.span, fault);
        None
    }

    fn word(&mut self, value: &Value, words: &[&str], here: &Here) -> Option<Json> {
        let Kind::String(text) = &value.kind else {
            let fault = Fault::WrongType {
                expected: listed(words),
                found: value.kind.name(),
            };
            self.problems.at(here.path.clone(), value.span, fault);
            return None;
        };
        if words.contains(&text.as_str()) {
            return Some(text.as_str().into());
        }
        let fault = Fault::NotOneOf {
            allowed: listed(words),
            found: text.clone(),
        };
        self.problems.at(here.path.clone(), value.span, fault);
        None
    }

    fn number(
        &mut self,
        value: &Value,
        number: &Number,
        schema: &Json,
        here: &Here,
    ) -> Option<Json> {
        let bound = |name| schema.get(name).and_then(Json::as_i64);
        let (Some(min), Some(max)) = (bound("minimum"), bound("maximum")) else {
            return Some(value.to_json());
        };
        let inside = number.as_i64().is_some_and(|n| (min..=max).contains(&n));
        if inside {
            return Some(value.to_json());
        }
        let found = number.to_string();
        let fault = Fault::OutOfRange { min, max, found };
        self.problems.at(here.path.clone(), value.span, fault);
        None
    }

    fn list(&mut self, items: &[Value], schema: &Json, here: &Here) -> Json {
        let item_schema = schema.get("items").unwrap_or(&Json::Bool(true));
        let items = items.iter().enumerate();
        items
            .filter_map(|(index, item)| self.value(item, item_schema, &here.index(index)))
            .collect()
    }

    fn object(
        &mut self,
        value: &Value,
        members: &[Member],
        schema: &Json,
        here: &Here,
    ) -> Option<Json> {
        let known = schema.get("properties").and_then(Json::as_object);
        let others = schema.get("additionalProperties");
        let mut kept = Map::new();
        for member in members {
            let property = known.and_then(|known| known.get(&member.key));
            let fitted = match (property, others) {
                (Some(property), _) => {
                    self.value(&member.value, property, &here.key(&member.key, &member.key))
                }
                (None, Some(others)) => {
                    self.value(&member.value, others, &here.key(&member.key, "*"))
                }
                (None, None) => {
                    self.unknown(member, known, here);
                    None
                }
            };
            if let Some(fitted) = fitted {
                kept.insert(member.key.clone(), fitted);
            }
        }
        self.complete(value, schema, &kept, here)
            .then_some(Json::Object(kept))
    }

    /// Whether every key is there that must be.
    fn complete(
        &mut self,
        value: &Value,
        schema: &Json,
        kept: &Map<String, Json>,
        here: &Here,
    ) -> bool {
        let required = schema.get("required").and_then(Json::as_array);
        let mut complete = true;
        for key in required.into_iter().flatten().filter_map(Json::as_str) {
            if kept.contains_key(key) {
                continue;
            }
            complete = false;
            // One that is written but wrong has been reported already.
            if value.get(key).is_none() {
                let fault = Fault::MissingKey(key.to_owned());
                self.problems.at(here.path.clone(), value.span, fault);
            }
        }
        complete
    }

    fn unknown(&mut self, member: &Member, known: Option<&Map<String, Json>>, here: &Here) {
        let key = member.key.as_str();
        let at_top = here.path.0.is_empty();
        let foreign = if at_top {
            foreign::is_section(key)
        } else {
            foreign::is_key(&here.section, key)
        };
        let names = known.into_iter().flat_map(|known| known.keys());
        let meant = nearest(key, names.map(String::as_str)).filter(|_| !foreign);
        let fault = match meant {
            Some(meant) => Fault::UnknownKey {
                key: key.to_owned(),
                nearest: meant.to_owned(),
            },
            None if key == "$schema" => return,
            None if at_top => Fault::UnusedSection,
            None => Fault::UnusedKey,
        };
        let once = format!("{}.{key}", here.section);
        if meant.is_some() || self.warned.insert(once) {
            self.problems.at(here.path.key(key), member.key_span, fault);
        }
    }
}

/// The words a schema allows, if it is a choice of words.
fn words(schema: &Json) -> Option<Vec<&str>> {
    if let Some(choices) = schema.get("oneOf").and_then(Json::as_array) {
        let words: Option<Vec<Vec<&str>>> = choices.iter().map(words).collect();
        return words.map(|words| words.concat());
    }
    if let Some(choices) = schema.get("enum").and_then(Json::as_array) {
        return choices.iter().map(Json::as_str).collect();
    }
    let word = schema.get("const").and_then(Json::as_str);
    word.map(|word| vec![word])
}

/// Whether a value is of the type a schema wants.
fn fits(kind: &Kind, schema: &Json) -> bool {
    let Some(wanted) = schema.get("type").and_then(Json::as_str) else {
        return true;
    };
    match kind {
        Kind::Null => wanted == "null",
        Kind::Bool(_) => wanted == "boolean",
        Kind::Number(number) => wanted == "number" || (wanted == "integer" && !number.is_f64()),
        Kind::String(_) => wanted == "string",
        Kind::Array(_) => wanted == "array",
        Kind::Object(_) => wanted == "object",
    }
}

/// What a schema wants, in words.
fn expected(schema: &Json) -> String {
    if let Some(branches) = schema.get("anyOf").and_then(Json::as_array) {
        let names: Vec<String> = branches.iter().map(resolve).map(expected).collect();
        return names.join(" or ");
    }
    let name = match schema.get("type").and_then(Json::as_str) {
        Some("boolean") => "a boolean",
        Some("integer") => "a whole number",
        Some("number") => "a number",
        Some("string") => "a string",
        Some("array") => "a list",
        Some("object") => "an object",
        Some(_) | None => "another value",
    };
    name.to_owned()
}

/// Words as an enumeration: `"a", "b" or "c"`.
fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::json5::parse;
    use super::super::raw::RawConfig;
    use super::super::source::Sources;
    use super::*;

    fn run(text: &str) -> (Json, Vec<(String, String)>) {
        let mut sources = Sources::default();
        let file = sources.add("test", text);
        let parsed = parse(text, file);
        assert_eq!(parsed.errors, [], "{text}");
        let mut problems = Problems::default();
        let kept = check(&parsed.value.unwrap(), &mut problems);
        let messages = problems.into_list().into_iter();
        let messages = messages.map(|p| (p.path.to_string(), p.fault.to_string()));
        (kept, messages.collect())
    }

    #[expect(clippy::needless_pass_by_value, reason = "tables read better this way")]
    fn check_messages(text: &str, expected: &[(&str, &str)], kept: Json) {
        let (found, messages) = run(text);
        let messages: Vec<_> = messages
            .iter()
            .map(|(path, message)| (path.as_str(), message.as_str()))
            .collect();
        assert_eq!(messages, expected, "{text}");
        assert_eq!(found, kept, "{text}");
    }

    #[test]
    fn types_ranges_and_words_are_checked_and_the_rest_is_kept() {
        check_messages(
            "{gateway: {port: '1', bind: 3, drainSeconds: 1.5, trustedProxies: ['a', 4]}}",
            &[
                ("gateway.port", "expected a whole number, found a string"),
                ("gateway.bind", "expected a string, found a number"),
                (
                    "gateway.drainSeconds",
                    "expected a whole number, found a number",
                ),
                (
                    "gateway.trustedProxies[1]",
                    "expected a string, found a number",
                ),
            ],
            json!({"gateway": {"trustedProxies": ["a"]}}),
        );
        check_messages(
            "{gateway: {port: 99999, auth: {rateLimit: {maxAttempts: 0, windowMs: -1}}}}",
            &[
                (
                    "gateway.port",
                    "expected a whole number from 0 to 65535, found 99999",
                ),
                (
                    "gateway.auth.rateLimit.maxAttempts",
                    "expected a whole number from 1 to 1000000, found 0",
                ),
                (
                    "gateway.auth.rateLimit.windowMs",
                    "expected a whole number from 1 to 86400000, found -1",
                ),
            ],
            json!({"gateway": {"auth": {"rateLimit": {}}}}),
        );
        check_messages(
            "{messages: {queue: {mode: 'fast', drop: true}}, logging: {level: 'warn'}}",
            &[
                (
                    "messages.queue.mode",
                    "expected \"steer\", \"collect\", \"followup\", \"interrupt\", \"queue\", \
                     \"steer-backlog\" or \"steer+backlog\", found \"fast\"",
                ),
                (
                    "messages.queue.drop",
                    "expected \"new\", \"old\" or \"summarize\", found a boolean",
                ),
            ],
            json!({"messages": {"queue": {}}, "logging": {"level": "warn"}}),
        );
        check_messages(
            "{agents: null, store: {durability: null}}",
            &[
                ("agents", "expected an object, found null"),
                (
                    "store.durability",
                    "expected \"full\" or \"normal\", found null",
                ),
            ],
            json!({"store": {}}),
        );
    }

    #[test]
    fn values_of_several_forms_are_checked_by_the_form_they_have() {
        check_messages(
            "{agents: {defaults: {model: {primary: 1, fallbacks: 'x'}}, list: [{id: 'a', model: 5}]}}",
            &[
                (
                    "agents.defaults.model.primary",
                    "expected a string, found a number",
                ),
                (
                    "agents.defaults.model.fallbacks",
                    "expected a list, found a string",
                ),
                (
                    "agents.list[0].model",
                    "expected a string or an object, found a number",
                ),
            ],
            json!({"agents": {"defaults": {"model": {}}, "list": [{"id": "a"}]}}),
        );
        check_messages(
            "{gateway: {auth: {token: {source: 'env'}, password: []}}}",
            &[
                ("gateway.auth.token", "the key `id` is missing"),
                (
                    "gateway.auth.password",
                    "expected a string or an object, found a list",
                ),
            ],
            json!({"gateway": {"auth": {}}}),
        );
        check_messages(
            "{gateway: {http: {securityHeaders: {strictTransportSecurity: 1}}}}",
            &[(
                "gateway.http.securityHeaders.strictTransportSecurity",
                "expected a string or a boolean, found a number",
            )],
            json!({"gateway": {"http": {"securityHeaders": {}}}}),
        );
    }

    #[test]
    fn a_list_item_without_its_id_is_reported_and_left_out() {
        check_messages(
            "{agents: {list: [{name: 'x'}, {id: 3}, {id: 'ok'}]}}",
            &[
                ("agents.list[0]", "the key `id` is missing"),
                ("agents.list[1].id", "expected a string, found a number"),
            ],
            json!({"agents": {"list": [{"id": "ok"}]}}),
        );
    }

    #[test]
    fn a_key_near_a_known_one_is_an_error_and_any_other_a_warning() {
        check_messages(
            "{gatway: {}, gateway: {prot: 1, colour: 2, limits: {bodybytes: 1, body: 2}}}",
            &[
                ("gatway", "unknown key `gatway`; did you mean `gateway`?"),
                ("gateway.prot", "unknown key `prot`; did you mean `port`?"),
                ("gateway.colour", "not used by clawport"),
                (
                    "gateway.limits.bodybytes",
                    "unknown key `bodybytes`; did you mean `bodyBytes`?",
                ),
                (
                    "gateway.limits.body",
                    "unknown key `body`; did you mean `bodyBytes`?",
                ),
            ],
            json!({"gateway": {"limits": {}}}),
        );
    }

    #[test]
    fn a_foreign_section_is_one_warning_whatever_is_in_it() {
        check_messages(
            "{channels: {telegram: {botToken: 'x', prot: 1}}, weather: {}, $schema: 'x'}",
            &[
                ("channels", "the section is not used by clawport"),
                ("weather", "the section is not used by clawport"),
            ],
            json!({}),
        );
    }

    #[test]
    fn keys_of_the_original_are_warned_about_once_however_near_they_are() {
        check_messages(
            "{agents: {defaults: {models: {}, imageModel: 'x'}},
              models: {providers: {p: {models: [{id: 'a', cost: {}}, {id: 'b', cost: {}}]}}}}",
            &[
                ("agents.defaults.models", "not used by clawport"),
                ("agents.defaults.imageModel", "not used by clawport"),
                ("models.providers.p.models[0].cost", "not used by clawport"),
            ],
            json!({"agents": {"defaults": {}},
                   "models": {"providers": {"p": {"models": [{"id": "a"}, {"id": "b"}]}}}}),
        );
    }

    /// A configuration made of keys we know and values of every kind.
    fn any_config() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|v| json!(v)),
            any::<i64>().prop_map(|v| json!(v)),
            any::<u64>().prop_map(|v| json!(v)),
            (0..2000_i64).prop_map(|v| json!(v)),
            any::<f64>()
                .prop_filter("finite", |v| v.is_finite())
                .prop_map(|v| json!(v)),
            prop_oneof![
                Just("main"),
                Just("steer"),
                Just("new"),
                Just("full"),
                Just("sim/echo"),
                Just("env"),
                Just("token"),
                Just("x"),
                Just("")
            ]
            .prop_map(|v| json!(v)),
        ];
        leaf.prop_recursive(7, 120, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|v| json!(v)),
                prop::collection::hash_map(known_key(), inner, 0..8).prop_map(|v| json!(v)),
            ]
        })
    }

    fn known_key() -> impl Strategy<Value = String> {
        let mut keys = vec!["unknown".to_owned()];
        let mut collect = |node: &Json| {
            let properties = node["properties"].as_object();
            keys.extend(properties.into_iter().flat_map(|keys| keys.keys().cloned()));
        };
        collect(schema());
        schema()["$defs"]
            .as_object()
            .unwrap()
            .values()
            .for_each(&mut collect);
        prop::sample::select(keys)
    }

    proptest! {
        #[test]
        fn what_is_kept_always_deserializes(
            gateway in any_config(), agents in any_config(), models in any_config(),
            rest in any_config(),
        ) {
            let config = json!({"gateway": gateway, "agents": agents, "models": models,
                                "messages": rest, "store": rest, "logging": rest});
            let (kept, _) = run(&config.to_string());
            let raw = serde_json::from_value::<RawConfig>(kept.clone());
            prop_assert!(raw.is_ok(), "{kept} {:?}", raw.err());
        }
    }
}
