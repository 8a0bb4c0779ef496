//! The grammar of session keys and their canonical form (`protocol-facts` §8.7).
//!
//! Owns how a peer's text becomes a [`SessionKey`], which namespaces are reserved, and the shapes
//! of the keys the gateway makes itself. Must not know which agents exist or who asks.

use crate::error::ErrorCode;
use crate::ids::{AgentId, SESSION_KEY_BYTES_MAX, SessionKey};

/// The sentinels that stand for themselves, outside of any agent's namespace.
const SENTINELS: [&str; 2] = ["global", "unknown"];

/// Namespaces a peer's explicit key may not enter (`http-facts` §3.5).
const RESERVED: [&str; 4] = ["subagent:", "cron:", "acp:", "harness:"];

const AGENT: &str = "agent:";
const OPENAI_USER: &str = "openai-user:";
const MAIN: &str = "main";

/// A session key in canonical form, and the agent it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// The key; also the key of the lane.
    pub key: SessionKey,
    /// The agent named in the key, or the default agent.
    pub agent: AgentId,
}

/// Why a text is not a session key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is longer than a key may be.
    #[error("the session key is longer than {SESSION_KEY_BYTES_MAX} bytes")]
    TooLong,
    /// The text holds a control character.
    #[error("the session key holds a control character")]
    ControlCharacter,
    /// The text begins like an agent's key, but its agent or its rest is missing or malformed.
    #[error("the session key is malformed")]
    Malformed,
}

impl KeyError {
    /// The class of the failure.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::TooLong | Self::ControlCharacter | Self::Malformed => ErrorCode::InvalidRequest,
        }
    }
}

/// The canonical form of a peer's session key. It is a fixed point: a canonical key stays as it is.
///
/// The bound of [`SESSION_KEY_BYTES_MAX`] bytes is for what a peer chooses; `agent:<id>:` and
/// `openai-user:` in front of it do not count, so that every key the gateway makes can be used
/// again.
///
/// # Errors
/// [`KeyError`] when the text is not in the grammar.
pub fn canonicalize(
    raw: &str,
    default_agent: &AgentId,
    main_key: &str,
) -> Result<Canonical, KeyError> {
    if raw.chars().any(char::is_control) {
        return Err(KeyError::ControlCharacter);
    }
    let text = raw.trim().to_lowercase();
    if text.is_empty() || text == MAIN {
        return under(default_agent, &rest_of_main(main_key));
    }
    if SENTINELS.contains(&text.as_str()) {
        return Ok(Canonical {
            key: SessionKey::from_canonical(text),
            agent: default_agent.clone(),
        });
    }
    let Some(tail) = text.strip_prefix(AGENT) else {
        return under(default_agent, &text);
    };
    let (id, rest) = tail.split_once(':').ok_or(KeyError::Malformed)?;
    let agent = AgentId::parse(id).map_err(|_not_an_id| KeyError::Malformed)?;
    if rest == MAIN {
        return under(&agent, &rest_of_main(main_key));
    }
    under(&agent, rest)
}

/// Whether the key, canonical or as a peer wrote it, is in a namespace that only the gateway itself
/// and its agents may use.
pub fn is_reserved(key: &str) -> bool {
    let text = key.trim().to_lowercase();
    let mut rest = text.as_str();
    while let Some(tail) = rest.strip_prefix(AGENT) {
        rest = tail.split_once(':').map_or("", |(_agent, rest)| rest);
    }
    RESERVED.iter().any(|space| rest.starts_with(space))
}

/// Whether the text is written as the key of an agent's session, well or badly.
pub fn names_agent(text: &str) -> bool {
    let prefix = text.trim_start().get(..AGENT.len());
    prefix.is_some_and(|prefix| prefix.eq_ignore_ascii_case(AGENT))
}

/// The key of an agent's main session.
pub fn main_session(agent: &AgentId, main_key: &str) -> SessionKey {
    SessionKey::from_canonical(format!("{AGENT}{agent}:{}", rest_of_main(main_key)))
}

/// Whether this is the main session of the agent.
pub fn is_main(key: &SessionKey, agent: &AgentId, main_key: &str) -> bool {
    *key == main_session(agent, main_key)
}

/// The key of the session an OpenAI `user` has with an agent.
///
/// # Errors
/// [`KeyError`] when `user` is blank, too long or holds control characters.
pub fn openai_user(agent: &AgentId, user: &str) -> Result<SessionKey, KeyError> {
    named(agent, OPENAI_USER, user)
}

/// The key of a session for one OpenAI call; `id` is a fresh UUID.
pub fn openai_call(agent: &AgentId, id: uuid::Uuid) -> SessionKey {
    SessionKey::from_canonical(format!("{AGENT}{agent}:openai:{id}"))
}

/// The key under which an agent sums a transcript up, where nothing is stored; `id` is a fresh
/// UUID.
pub fn compaction(agent: &AgentId, id: uuid::Uuid) -> SessionKey {
    SessionKey::from_canonical(format!("{AGENT}{agent}:compact:{id}"))
}

/// The key of a session for one native run that names none; `run_id` is what the peer calls the
/// run.
///
/// # Errors
/// [`KeyError`] when `run_id` is blank, too long or holds control characters.
pub fn explicit(agent: &AgentId, run_id: &str) -> Result<SessionKey, KeyError> {
    named(agent, "explicit:", run_id)
}

/// The key of a session made by `sessions.create` without a key; `id` is a fresh UUID.
pub fn dashboard(agent: &AgentId, id: uuid::Uuid) -> SessionKey {
    SessionKey::from_canonical(format!("{AGENT}{agent}:dashboard:{id}"))
}

fn named(agent: &AgentId, space: &str, name: &str) -> Result<SessionKey, KeyError> {
    if name.chars().any(char::is_control) {
        return Err(KeyError::ControlCharacter);
    }
    let name = name.trim().to_lowercase();
    if name.is_empty() {
        return Err(KeyError::Malformed);
    }
    under(agent, &format!("{space}{name}")).map(|canonical| canonical.key)
}

fn rest_of_main(main_key: &str) -> String {
    let key = main_key.trim().to_lowercase();
    if key.is_empty() { MAIN.to_owned() } else { key }
}

/// Puts a lower-case, trimmed rest under an agent.
fn under(agent: &AgentId, rest: &str) -> Result<Canonical, KeyError> {
    // A rest that begins with a colon has an empty first part: `agent:main::x`.
    if rest.is_empty() || rest.starts_with(':') {
        return Err(KeyError::Malformed);
    }
    let chosen = rest.strip_prefix(OPENAI_USER).unwrap_or(rest);
    if chosen.len() > SESSION_KEY_BYTES_MAX {
        return Err(KeyError::TooLong);
    }
    Ok(Canonical {
        key: SessionKey::from_canonical(format!("{AGENT}{agent}:{rest}")),
        agent: agent.clone(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agent(id: &str) -> AgentId {
        AgentId::parse(id).unwrap()
    }

    fn canonical(raw: &str, main_key: &str) -> Result<(String, String), KeyError> {
        canonicalize(raw, &agent("boss"), main_key)
            .map(|c| (c.key.as_str().to_owned(), c.agent.as_str().to_owned()))
    }

    fn check(raw: &str, expected: &str, expected_agent: &str) {
        let expected = (expected.to_owned(), expected_agent.to_owned());
        assert_eq!(canonical(raw, "main"), Ok(expected), "{raw:?}");
    }

    fn check_refused(raw: &str, expected: KeyError) {
        assert_eq!(canonical(raw, "main"), Err(expected), "{raw:?}");
    }

    #[test]
    fn every_form_has_one_canonical_key() {
        check("", "agent:boss:main", "boss");
        check("  ", "agent:boss:main", "boss");
        check("main", "agent:boss:main", "boss");
        check(" MAIN ", "agent:boss:main", "boss");
        check("agent:boss:main", "agent:boss:main", "boss");
        check("AGENT:Beta:Foo:Bar", "agent:beta:foo:bar", "beta");
        check("agent:beta:main", "agent:beta:main", "beta");
        check("My-Chat", "agent:boss:my-chat", "boss");
        check("a:b:c", "agent:boss:a:b:c", "boss");
        check("agent", "agent:boss:agent", "boss");
        check("agents:x", "agent:boss:agents:x", "boss");
        check("global", "global", "boss");
        check("Unknown", "unknown", "boss");
        check("agent:beta:global", "agent:beta:global", "beta");
        check("Straße Ä", "agent:boss:straße ä", "boss");
        check("agent:a:b::c:", "agent:a:b::c:", "a");
        check("agent:a:thread: 1", "agent:a:thread: 1", "a");
        check(
            "agent:a:openai-user:ALICE",
            "agent:a:openai-user:alice",
            "a",
        );
    }

    #[test]
    fn another_main_key_takes_the_place_of_main() {
        let check = |raw: &str, expected: &str| {
            let key = canonical(raw, "Home").map(|(key, _agent)| key);
            assert_eq!(key.as_deref(), Ok(expected), "{raw:?}");
        };
        check("", "agent:boss:home");
        check("main", "agent:boss:home");
        check("agent:beta:Main", "agent:beta:home");
        check("agent:beta:home", "agent:beta:home");
        check("home", "agent:boss:home");
        check("agent:beta:mainly", "agent:beta:mainly");
    }

    #[test]
    fn what_is_not_in_the_grammar_is_refused() {
        check_refused("agent:", KeyError::Malformed);
        check_refused("agent:x", KeyError::Malformed);
        check_refused("agent:x:", KeyError::Malformed);
        check_refused("agent:x:  ", KeyError::Malformed);
        check_refused("agent::main", KeyError::Malformed);
        check_refused("agent: main:x", KeyError::Malformed);
        check_refused("agent:-x:y", KeyError::Malformed);
        check_refused("agent:ä:y", KeyError::Malformed);
        check_refused("agent:main::x", KeyError::Malformed);
        check_refused(":x", KeyError::Malformed);
        check_refused(&format!("agent:{}:x", "a".repeat(65)), KeyError::Malformed);
        check_refused("a\nb", KeyError::ControlCharacter);
        check_refused("main\n", KeyError::ControlCharacter);
        check_refused("a\u{0}", KeyError::ControlCharacter);
        check_refused("a\u{85}b", KeyError::ControlCharacter);
    }

    #[test]
    fn the_bound_is_for_what_the_peer_chose() {
        let fits = "x".repeat(SESSION_KEY_BYTES_MAX);
        let over = "x".repeat(SESSION_KEY_BYTES_MAX + 1);
        check(&fits, &format!("agent:boss:{fits}"), "boss");
        check(&format!("agent:a:{fits}"), &format!("agent:a:{fits}"), "a");
        check(
            &format!("agent:a:openai-user:{fits}"),
            &format!("agent:a:openai-user:{fits}"),
            "a",
        );
        check_refused(&over, KeyError::TooLong);
        check_refused(&format!("agent:a:{over}"), KeyError::TooLong);
        check_refused(&format!("agent:a:openai-user:{over}"), KeyError::TooLong);
        // Two bytes become three when this letter is lowered.
        check_refused(&"İ".repeat(SESSION_KEY_BYTES_MAX / 2), KeyError::TooLong);
    }

    #[test]
    fn keys_the_gateway_makes_have_their_documented_shape() {
        let beta = agent("beta");
        let id = uuid::Uuid::nil();
        let check = |key: &SessionKey, expected: &str| {
            assert_eq!(key.as_str(), expected);
            let again = canonicalize(key.as_str(), &agent("boss"), "main").unwrap();
            assert_eq!((&again.key, &again.agent), (key, &beta));
        };
        check(
            &openai_user(&beta, " Alice ").unwrap(),
            "agent:beta:openai-user:alice",
        );
        check(
            &openai_user(&beta, &"u".repeat(SESSION_KEY_BYTES_MAX)).unwrap(),
            &format!("agent:beta:openai-user:{}", "u".repeat(512)),
        );
        check(
            &openai_call(&beta, id),
            "agent:beta:openai:00000000-0000-0000-0000-000000000000",
        );
        check(
            &dashboard(&beta, id),
            "agent:beta:dashboard:00000000-0000-0000-0000-000000000000",
        );
        check(
            &compaction(&beta, id),
            "agent:beta:compact:00000000-0000-0000-0000-000000000000",
        );
        check(
            &explicit(&beta, "Run-1").unwrap(),
            "agent:beta:explicit:run-1",
        );
        check(&main_session(&beta, "main"), "agent:beta:main");
        assert_eq!(openai_user(&beta, " "), Err(KeyError::Malformed));
        assert_eq!(openai_user(&beta, "a\tb"), Err(KeyError::ControlCharacter));
        assert_eq!(
            openai_user(&beta, &"u".repeat(SESSION_KEY_BYTES_MAX + 1)),
            Err(KeyError::TooLong)
        );
        assert_eq!(explicit(&beta, ""), Err(KeyError::Malformed));
    }

    #[test]
    fn the_main_session_is_known_by_its_key() {
        let boss = agent("boss");
        let check = |raw: &str, main_key: &str, expected: bool| {
            let canonical = canonicalize(raw, &boss, main_key).unwrap();
            assert_eq!(
                is_main(&canonical.key, &canonical.agent, main_key),
                expected,
                "{raw:?}"
            );
        };
        check("main", "main", true);
        check("main", "Home", true);
        check("agent:beta:main", "main", true);
        check("agent:beta:main", "home", true);
        check("chat", "main", false);
        check("global", "main", false);
    }

    #[test]
    fn reserved_namespaces_are_found_in_every_disguise() {
        let check = |key: &str, expected: bool| assert_eq!(is_reserved(key), expected, "{key:?}");
        check("subagent:x", true);
        check(" Cron:x", true);
        check("ACP:", true);
        check("harness:codex", true);
        check("agent:main:subagent:1", true);
        check("Agent:Main:CRON:job", true);
        check("agent::acp:x", true);
        check("agent:main:agent:main:acp:x", true);
        check("agent:main:harness:x", true);
        check("subagent", false);
        check("subagents:x", false);
        check("x:subagent:y", false);
        check("agent:main:x:cron:y", false);
        check("agent:main", false);
        check("agent:", false);
        check("main", false);
        check("", false);
    }

    proptest! {
        #[test]
        fn a_canonical_key_stays_as_it_is(
            raw in prop_oneof![
                "\\PC{0,80}",
                "(agent|AGENT|aGent)?:?[a-zA-Z0-9_ -]{0,8}:?[a-zA-Z:İΣß ]{0,12}",
                "agent:[A-Za-z0-9]{1,6}:(main|MAIN|global|openai-user:.{0,9}|[:a-z]{0,4})",
            ],
            main_key in "[a-zA-Z]{0,6}",
        ) {
            let boss = agent("boss");
            if let Ok(first) = canonicalize(&raw, &boss, &main_key) {
                let again = canonicalize(first.key.as_str(), &boss, &main_key);
                prop_assert_eq!(again.as_ref(), Ok(&first));
                prop_assert_eq!(is_reserved(&raw), is_reserved(first.key.as_str()));
            }
        }
    }
}
