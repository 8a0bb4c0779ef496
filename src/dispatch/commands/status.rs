//! Commands that say how things are: the gateway, the session, its context, and who asks.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use crate::dispatch::compact::{self, Snapshot};
use crate::dispatch::{Dispatch, DispatchError};
use crate::run::{Compactions, Message, ModelRef, Role};
use crate::session::SessionRecord;
use crate::version::{COMPATIBILITY_LEVEL, OWN_VERSION};

use super::Asking;

/// The longest messages `/context detail` tells of.
const LONGEST_MAX: usize = 10;

/// Characters by which a message is known there.
const PREVIEW_CHARS: usize = 40;

/// What an agent gets of a conversation, in numbers.
#[derive(Clone, Debug, Default)]
struct ContextReport {
    /// The messages, oldest first: who speaks, about how many tokens, how it begins.
    messages: Vec<(Role, u64, String)>,
    system_tokens: u64,
    compactions: u64,
    /// Tokens of the last prompt, as the model counted them.
    last_prompt: Option<u64>,
    window: Option<u64>,
}

impl Dispatch {
    /// The gateway and the session, one line for each thing.
    pub(super) async fn answer_status(&self, asking: &Asking<'_>) -> Result<String, DispatchError> {
        let record = self.parts.ledger.session(asking.session.clone()).await?;
        let transcript = match &record {
            Some(record) => format!("transcript {}", record.session_id),
            None => "no transcript yet".to_owned(),
        };
        let (active, waiting) = self.runs_of(asking);
        let own = record.as_ref();
        let settings = own
            .map(|record| record.settings.clone())
            .unwrap_or_default();
        let choice = self.queue_mode(None, asking.queue_mode_default);
        let mode = choice.resolve(&settings);
        let lines = [
            format!("clawport {OWN_VERSION}, compatible with OpenClaw {COMPATIBILITY_LEVEL}"),
            format!("Up for {}", spoken(self.started.elapsed())),
            format!("Session: {} ({transcript})", asking.session),
            format!("Agent: {}", asking.agent.id),
            self.model_line(asking, record.as_ref()),
            self.context_line(asking, record.as_ref()),
            match &record {
                Some(SessionRecord { usage, .. }) => {
                    format!("Tokens so far: {} in, {} out", usage.input, usage.output)
                }
                None => "Tokens so far: none".to_owned(),
            },
            format!(
                "Queue: {}, {active} active, {waiting} waiting",
                mode.as_str()
            ),
        ];
        Ok(lines.join("\n"))
    }

    /// Who asks, without anything secret.
    pub(super) fn answer_who(asking: &Asking<'_>) -> String {
        let principal = &asking.caller.principal;
        let scopes: Vec<_> = principal.scopes.names().collect();
        let mut lines = vec![
            format!("Role: {}", principal.role.as_str()),
            format!("Signed in with: {}", principal.method.as_str()),
            match &principal.device {
                Some(device) => format!("Device: {device}"),
                None => "Device: none".to_owned(),
            },
            format!("Scopes: {}", scopes.join(", ")),
        ];
        if let Some(connection) = asking.caller.connection {
            lines.push(format!("Connection: {connection}"));
        }
        lines.join("\n")
    }

    /// What the agent gets of the conversation.
    pub(super) async fn answer_context(
        &self,
        asking: &Asking<'_>,
    ) -> Result<String, DispatchError> {
        let record = self.parts.ledger.session(asking.session.clone()).await?;
        let snapshot = self.snapshot(asking.session).await?;
        let report = self.report(asking, record.as_ref(), snapshot.as_ref());
        Ok(match asking.rest.to_ascii_lowercase().as_str() {
            "" | "list" => report.list(),
            "detail" => report.detail(),
            "json" => report.json(asking.session.as_str()),
            _other => "Use /context with one of list, detail, json.".to_owned(),
        })
    }

    fn report(
        &self,
        asking: &Asking<'_>,
        record: Option<&SessionRecord>,
        snapshot: Option<&Snapshot>,
    ) -> ContextReport {
        let conversation = snapshot.map(|snapshot| snapshot.conversation().iter());
        let messages = conversation.into_iter().flatten();
        let system = asking.agent.system.as_deref().unwrap_or_default();
        let compactions =
            record.and_then(|record| Compactions::of(&record.settings, record.session_id));
        ContextReport {
            messages: messages.map(measured).collect(),
            system_tokens: compact::tokens_of(system.len()),
            compactions: compactions.map_or(0, |compactions| compactions.count),
            last_prompt: record.and_then(last_prompt),
            window: self.window(asking, record),
        }
    }

    /// Tokens of the last prompt, beside what the model takes in.
    fn context_line(&self, asking: &Asking<'_>, record: Option<&SessionRecord>) -> String {
        of_window(record.and_then(last_prompt), self.window(asking, record))
    }

    /// Tokens the model of the session takes in, if that is configured.
    fn window(&self, asking: &Asking<'_>, record: Option<&SessionRecord>) -> Option<u64> {
        let agents = &*self.parts.agents;
        let own = record.and_then(|record| self.model_of(&record.settings, &asking.agent.id));
        let first = asking.agent.models.first();
        let is_used = |model: &ModelRef| match &own {
            Some(own) => model.is_called(own),
            None => Some(model) == first,
        };
        let mut models = agents.models().into_iter();
        models.find(|entry| is_used(&entry.model))?.context_window
    }

    /// Runs of the session that are active, and that wait.
    fn runs_of(&self, asking: &Asking<'_>) -> (usize, usize) {
        let live = self.parts.logs.live_in(asking.session);
        let all = live.iter().filter(|log| !log.info().is_command());
        let (active, waiting): (Vec<_>, Vec<_>) =
            all.partition(|log| log.started_at_ms().is_some());
        (active.len(), waiting.len())
    }
}

impl ContextReport {
    fn tokens(&self) -> u64 {
        self.messages.iter().map(|(_role, tokens, _)| tokens).sum()
    }

    fn count(&self, role: Role) -> usize {
        let messages = self.messages.iter();
        messages
            .filter(|(spoken_by, ..)| *spoken_by == role)
            .count()
    }

    fn list(&self) -> String {
        [
            format!(
                "The agent gets {} messages ({} of the user, {} of the agent), about {} tokens",
                self.messages.len(),
                self.count(Role::User),
                self.count(Role::Assistant),
                self.tokens()
            ),
            format!(
                "System text of the agent: about {} tokens",
                self.system_tokens
            ),
            format!("Summed up so far: {} times", self.compactions),
            of_window(self.last_prompt, self.window),
        ]
        .join("\n")
    }

    fn detail(&self) -> String {
        let mut longest: Vec<_> = self.messages.iter().collect();
        longest.sort_by_key(|(_role, tokens, _)| std::cmp::Reverse(*tokens));
        longest.truncate(LONGEST_MAX);
        let mut text = self.list();
        if !longest.is_empty() {
            text.push_str("\nThe longest messages:");
        }
        for (role, tokens, preview) in longest {
            // Writing to text cannot fail.
            write!(
                text,
                "\n- about {tokens} tokens, {}: {preview}",
                word(*role)
            )
            .ok();
        }
        text
    }

    fn json(&self, session: &str) -> String {
        let value = json!({
            "sessionKey": session,
            "messages": self.messages.len(),
            "userMessages": self.count(Role::User),
            "assistantMessages": self.count(Role::Assistant),
            "messageTokens": self.tokens(),
            "systemTokens": self.system_tokens,
            "compactionCount": self.compactions,
            "promptTokens": self.last_prompt,
            "contextTokens": self.window,
        });
        format!("{value:#}")
    }
}

fn measured(message: &Message) -> (Role, u64, String) {
    let line = message.text.lines().next().unwrap_or_default();
    let preview = line.chars().take(PREVIEW_CHARS).collect();
    (
        message.role,
        compact::tokens_of(message.text.len()),
        preview,
    )
}

const fn word(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "agent",
        Role::Tool => "tool",
    }
}

fn last_prompt(record: &SessionRecord) -> Option<u64> {
    let usage = record.last_run.as_ref()?.terminal.usage?;
    Some(usage.input)
}

fn of_window(prompt: Option<u64>, window: Option<u64>) -> String {
    match (prompt, window) {
        (None, None) => "Context: not known yet".to_owned(),
        (None, Some(window)) => format!("Context: not known yet, {window} tokens at most"),
        (Some(prompt), None) => format!("Context: {prompt} tokens at the last answer"),
        (Some(prompt), Some(window)) => {
            let percent = prompt.saturating_mul(100) / window.max(1);
            format!("Context: {prompt} of {window} tokens ({percent}%) at the last answer")
        }
    }
}

/// A time as people say it: its two largest parts.
fn spoken(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spoken_by_their_largest_parts() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m 1s"),
            (3_600, "1h 0m"),
            (90_061, "1d 1h"),
        ] {
            assert_eq!(spoken(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_context_is_told_as_far_as_it_is_known() {
        for (prompt, window, expected) in [
            (None, None, "Context: not known yet"),
            (
                None,
                Some(100),
                "Context: not known yet, 100 tokens at most",
            ),
            (Some(5), None, "Context: 5 tokens at the last answer"),
            (
                Some(5),
                Some(0),
                "Context: 5 of 0 tokens (500%) at the last answer",
            ),
            (
                Some(5),
                Some(50),
                "Context: 5 of 50 tokens (10%) at the last answer",
            ),
        ] {
            assert_eq!(of_window(prompt, window), expected);
        }
    }

    #[test]
    fn the_longest_messages_come_first() {
        let message = |role, tokens| (role, tokens, "hello".to_owned());
        let report = ContextReport {
            messages: vec![message(Role::User, 1), message(Role::Assistant, 9)],
            ..ContextReport::default()
        };
        let detail = report.detail();
        let ends = "- about 9 tokens, agent: hello\n- about 1 tokens, user: hello";
        assert!(detail.ends_with(ends), "{detail}");
        assert_eq!(
            ContextReport::default().detail(),
            ContextReport::default().list()
        );
    }
}
