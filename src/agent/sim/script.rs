//! The steps of mode `script`: what a simulated agent does, written down.
//!
//! Owns the form and the bounds of a script. Must not know where it was read from.

use serde::Deserialize;
use serde_json::Value;

/// Most rules of a script.
pub const RULES_MAX: usize = 1_000;

/// Most steps of one rule.
pub const STEPS_MAX: usize = 10_000;

/// A list of rules; the first one that matches a message answers it.
///
/// ```json5
/// [
///   { match: "weather", steps: [{ think: "hm" }, { call: { name: "get_weather" } }] },
///   { steps: [{ say: "hello" }, { sleepMs: 50 }, { error: { status: 500 } }] },
/// ]
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct SimScript {
    rules: Vec<SimRule>,
}

/// What is done for messages that hold a text.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimRule {
    /// Text the message must hold, in any case; every message matches when it is absent.
    #[serde(default, rename = "match")]
    pub pattern: Option<String>,
    /// What is done, in this order.
    pub steps: Vec<SimStep>,
}

/// One thing a script does.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SimStep {
    /// Answer text.
    Say(String),
    /// Reasoning text.
    Think(String),
    /// A tool of the agent's own, from start to result.
    Tool(SimTool),
    /// A call of a client tool; the answer ends with it.
    Call(SimCall),
    /// Milliseconds of silence.
    SleepMs(u64),
    /// The run fails.
    Error(SimFailure),
    /// The answer breaks off.
    Disconnect(bool),
    /// Nothing follows, and the answer does not end.
    Stall(bool),
    /// From here on the run cannot be cancelled by asking.
    IgnoreCancel(bool),
    /// The agent panics with this message.
    Panic(String),
}

/// A use of the agent's own tool.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SimTool {
    /// Name of the tool.
    pub name: String,
    /// What it is called with.
    #[serde(default)]
    pub arguments: Value,
    /// What it reports on its way.
    #[serde(default)]
    pub updates: Vec<Value>,
    /// What it returns.
    #[serde(default)]
    pub result: Value,
    /// Whether it fails.
    #[serde(default)]
    pub is_error: bool,
}

/// A call of a client tool.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimCall {
    /// Name of the tool.
    pub name: String,
    /// What it is called with; made up from the tool's schema when absent.
    #[serde(default)]
    pub arguments: Option<Value>,
}

/// A failure of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimFailure {
    /// The status a model server would have answered with; 500 when absent.
    pub status: Option<u16>,
    /// The model server's own error code.
    pub code: Option<String>,
    /// What it says.
    pub message: Option<String>,
}

/// A script that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SimScriptError {
    /// It does not have the form of a script.
    #[error("not a list of rules with steps")]
    Form(#[from] serde_json::Error),
    /// It has more rules than a script may have.
    #[error("the script has more than {RULES_MAX} rules")]
    Rules,
    /// A rule has more steps than a rule may have.
    #[error("rule {rule} has more than {STEPS_MAX} steps")]
    Steps {
        /// Position of the rule, from 1.
        rule: usize,
    },
}

impl SimScript {
    /// Reads a script from the value of its file.
    ///
    /// # Errors
    /// [`SimScriptError`] when it does not have the form of a script or is too long.
    pub fn from_value(value: Value) -> Result<Self, SimScriptError> {
        let script: Self = serde_json::from_value(value)?;
        if script.rules.len() > RULES_MAX {
            return Err(SimScriptError::Rules);
        }
        let too_long = |rule: &SimRule| rule.steps.len() > STEPS_MAX;
        if let Some(at) = script.rules.iter().position(too_long) {
            return Err(SimScriptError::Steps { rule: at + 1 });
        }
        Ok(script)
    }

    /// The steps for a message, when a rule matches it.
    pub(super) fn steps_for(&self, message: &str) -> Option<&[SimStep]> {
        let message = message.to_lowercase();
        self.rules
            .iter()
            .find(|rule| {
                rule.pattern
                    .as_ref()
                    .is_none_or(|pattern| message.contains(&pattern.to_lowercase()))
            })
            .map(|rule| rule.steps.as_slice())
    }

    /// Whether a step does not keep to the contract of an agent.
    pub(super) fn misbehaves(&self) -> bool {
        self.rules
            .iter()
            .flat_map(|rule| &rule.steps)
            .any(|step| matches!(step, SimStep::Panic(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_step_has_its_form() {
        let script = SimScript::from_value(json!([
            {"match": "Weather", "steps": [
                {"say": "a"}, {"think": "b"}, {"sleepMs": 5}, {"disconnect": true},
                {"stall": true}, {"ignoreCancel": true}, {"panic": "p"},
                {"tool": {"name": "ls", "arguments": {"x": 1}, "updates": [1], "result": "r",
                          "isError": true}},
                {"call": {"name": "get_weather"}},
                {"error": {"status": 429, "code": "slow_down", "message": "m"}},
            ]},
            {"steps": [{"error": {}}]},
        ]))
        .unwrap();
        assert_eq!(script.steps_for("the weather?").unwrap().len(), 10);
        assert_eq!(script.steps_for("else").unwrap().len(), 1);
        assert!(script.misbehaves());
    }

    #[test]
    fn the_first_rule_that_matches_wins_and_none_may_match() {
        let script = SimScript::from_value(json!([
            {"match": "a", "steps": [{"say": "1"}]},
            {"match": "ab", "steps": [{"say": "2"}]},
        ]))
        .unwrap();
        assert_eq!(
            script.steps_for("xAB").unwrap(),
            [SimStep::Say("1".to_owned())]
        );
        assert_eq!(script.steps_for("b"), None);
        assert!(!script.misbehaves());
    }

    #[test]
    fn what_is_not_a_script_is_refused() {
        let refused = |value| SimScript::from_value(value).unwrap_err().to_string();
        assert_eq!(refused(json!({})), "not a list of rules with steps");
        assert_eq!(
            refused(json!([{"steps": [{"sing": "la"}]}])),
            "not a list of rules with steps"
        );
        assert_eq!(
            refused(json!([{"steps": [], "when": 1}])),
            "not a list of rules with steps"
        );
        let many = vec![json!({"steps": []}); RULES_MAX + 1];
        assert_eq!(refused(json!(many)), "the script has more than 1000 rules");
        let long = vec![json!({"say": ""}); STEPS_MAX + 1];
        assert_eq!(
            refused(json!([{"steps": []}, {"steps": long}])),
            "rule 2 has more than 10000 steps"
        );
    }
}
