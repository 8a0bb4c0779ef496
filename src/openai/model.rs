//! The grammar of `model`: it names an agent (`http-facts` §3.4).

use crate::ids::AgentId;

/// What a `model` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelTarget<'a> {
    /// The default agent.
    Default,
    /// This agent, which may not exist.
    Agent(AgentId),
    /// Nothing in the grammar; a configured alias may still know it.
    Other(&'a str),
}

impl<'a> ModelTarget<'a> {
    /// Reads a `model`; white space around it and the case of letters do not matter.
    pub fn parse(model: &'a str) -> Self {
        let model = model.trim();
        let is = |word: &str| model.eq_ignore_ascii_case(word);
        if model.is_empty() || is("openclaw") || is("openclaw/default") {
            return Self::Default;
        }
        let id = ["openclaw:", "openclaw/", "agent:"]
            .iter()
            .find_map(|prefix| strip_prefix(model, prefix));
        match id.map(AgentId::parse) {
            Some(Ok(id)) => Self::Agent(id),
            Some(Err(_)) | None => Self::Other(model),
        }
    }
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(model: &str, expected: &str) {
        let seen = match ModelTarget::parse(model) {
            ModelTarget::Default => "default".to_owned(),
            ModelTarget::Agent(id) => format!("agent {id}"),
            ModelTarget::Other(other) => format!("other {other}"),
        };
        assert_eq!(seen, expected, "{model:?}");
    }

    #[test]
    fn a_model_names_an_agent() {
        check("", "default");
        check(" ", "default");
        check("openclaw", "default");
        check("OpenClaw/Default", "default");
        check(" openclaw ", "default");
        check("openclaw:main", "agent main");
        check("openclaw/main", "agent main");
        check("OpenClaw/Main", "agent main");
        check("agent:beta", "agent beta");
        check("openclaw:default", "agent default");
        check("agent:default", "agent default");
    }

    #[test]
    fn anything_else_is_not_in_the_grammar() {
        check("gpt-4o", "other gpt-4o");
        check("agent/main", "other agent/main");
        check("openclaw:", "other openclaw:");
        check("openclaw/../x", "other openclaw/../x");
        check("openclaw:a b", "other openclaw:a b");
        check("mock/mock-model", "other mock/mock-model");
        check("öpenclaw:x", "other öpenclaw:x");
    }
}
