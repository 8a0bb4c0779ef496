//! What every ledger decides in the same way, as pure functions.
//!
//! Knows nothing of how rows are kept.

use serde_json::{Map, Value};

use crate::run::{Outcome, QueueMode, Terminal};

use super::ledger::{
    EntryRange, Guard, Guarded, IDEMPOTENCY_INTERRUPTED_KEPT_MS, IDEMPOTENCY_KEPT_MS, Lease,
    LedgerError, ModeChoice, Retention, SessionQuery, SessionRecord,
};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Refuses a write whose lease is older than the session's last one.
pub(super) const fn fence(lease: Lease, stored: u64) -> Result<(), LedgerError> {
    if lease.epoch < stored {
        return Err(LedgerError::Fenced {
            stored,
            ours: lease.epoch,
        });
    }
    Ok(())
}

/// Until when the idempotency key of an ended run is kept, in wall-clock milliseconds.
pub(super) const fn key_kept_until(terminal: &Terminal) -> u64 {
    let kept = match terminal.outcome {
        Outcome::Interrupted => IDEMPOTENCY_INTERRUPTED_KEPT_MS,
        Outcome::Ok(_) | Outcome::Error(_) | Outcome::Aborted(_) | Outcome::TimedOut(_) => {
            IDEMPOTENCY_KEPT_MS
        }
    };
    terminal.ended_at_ms.saturating_add(kept)
}

impl ModeChoice {
    /// The mode in force, by the settings of the session.
    pub fn resolve(&self, settings: &Map<String, Value>) -> QueueMode {
        let session = settings.get("queueMode").and_then(Value::as_str);
        let session = session.and_then(QueueMode::parse);
        self.own.or(session).unwrap_or(self.fallback)
    }
}

/// Refuses a run the settings of its session do not allow.
pub(super) fn check_guard(guard: Guard, settings: &Map<String, Value>) -> Result<(), LedgerError> {
    if guard.sends && settings.get("sendPolicy").and_then(Value::as_str) == Some("deny") {
        return Err(LedgerError::Guarded(Guarded::SendDenied));
    }
    let mode = guard
        .full_unless_interrupt
        .map(|mode| mode.resolve(settings));
    if mode.is_some_and(|mode| mode != QueueMode::Interrupt) {
        return Err(LedgerError::Guarded(Guarded::QueueFull));
    }
    Ok(())
}

/// Puts a patch over settings; `null` clears one.
pub(super) fn merge_settings(settings: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        if value.is_null() {
            settings.remove(&name);
        } else {
            settings.insert(name, value);
        }
    }
}

/// The first and last position a range asks for, in a transcript of `total` entries; empty when the
/// first is above the last.
pub(super) fn positions(range: EntryRange, total: u64) -> (u64, u64) {
    match range {
        EntryRange::Newest { skip, limit } => {
            let last = total.saturating_sub(skip);
            (
                last.saturating_sub(u64::from(limit)).saturating_add(1),
                last,
            )
        }
        EntryRange::After { n, limit } => {
            let last = n.saturating_add(u64::from(limit)).min(total);
            (n.saturating_add(1), last)
        }
    }
}

/// Sessions last used before this wall-clock millisecond are too old; 0 when none is.
pub(super) fn oldest_kept_ms(limits: &Retention, now_ms: u64) -> u64 {
    if limits.days == 0 {
        return 0;
    }
    now_ms.saturating_sub(u64::from(limits.days).saturating_mul(DAY_MS))
}

impl SessionQuery {
    /// Whether a session is among those that are asked for, whatever page.
    pub fn matches(&self, record: &SessionRecord) -> bool {
        let is_set = |setting| record.settings.get(setting) == Some(&Value::Bool(true));
        let agent = self.agent.as_ref();
        let label = self.label.as_deref();
        let since = self.updated_since_ms;
        agent.is_none_or(|agent| record.agent == *agent)
            && label.is_none_or(|label| record.label.as_deref() == Some(label))
            && self.archived.is_none_or(|is| is == is_set("archived"))
            && self.pinned.is_none_or(|is| is == is_set("pinned"))
            && since.is_none_or(|since| record.updated_at_ms >= since)
            && self.search.as_deref().is_none_or(|text| {
                let id = record.session_id.to_string();
                Needle::new(text).is_in(record.key.as_str(), record.label.as_deref(), &id)
            })
    }
}

/// A lower-cased text to look for in what names a session.
#[derive(Debug)]
pub(super) struct Needle(String);

impl Needle {
    pub(super) fn new(text: &str) -> Self {
        Self(text.to_lowercase())
    }

    /// Whether one of the session's names contains the text.
    pub(super) fn is_in(&self, key: &str, label: Option<&str>, session_id: &str) -> bool {
        key.contains(&self.0)
            || session_id.contains(&self.0)
            || label.is_some_and(|label| label.to_lowercase().contains(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_positions(range: EntryRange, total: u64, expected: &[u64]) {
        let (first, last) = positions(range, total);
        assert_eq!((first..=last).collect::<Vec<_>>(), expected, "{range:?}");
    }

    #[test]
    fn ranges_stay_inside_the_transcript() {
        let newest = |skip, limit| EntryRange::Newest { skip, limit };
        let after = |n, limit| EntryRange::After { n, limit };
        check_positions(newest(0, 2), 5, &[4, 5]);
        check_positions(newest(1, 2), 5, &[3, 4]);
        check_positions(newest(4, 9), 5, &[1]);
        check_positions(newest(5, 1), 5, &[]);
        check_positions(newest(0, 0), 5, &[]);
        check_positions(newest(9, 9), 5, &[]);
        check_positions(newest(0, 3), 0, &[]);
        check_positions(after(0, 2), 5, &[1, 2]);
        check_positions(after(4, 9), 5, &[5]);
        check_positions(after(5, 9), 5, &[]);
        check_positions(after(u64::MAX, 9), 5, &[]);
        check_positions(after(2, 0), 5, &[]);
    }

    #[test]
    fn settings_refuse_what_they_do_not_allow() {
        let settings = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let choice = |own| ModeChoice {
            own,
            fallback: QueueMode::Steer,
        };
        let full = |own| Guard {
            sends: true,
            full_unless_interrupt: Some(choice(own)),
        };
        let refused = |guard: Guard, text| match check_guard(guard, &settings(text)) {
            Ok(()) => None,
            Err(LedgerError::Guarded(guarded)) => Some(guarded),
            Err(other) => panic!("{other}"),
        };
        let sends = Guard {
            sends: true,
            full_unless_interrupt: None,
        };
        let denied = r#"{"sendPolicy":"deny"}"#;
        assert_eq!(refused(sends, "{}"), None);
        assert_eq!(refused(sends, denied), Some(Guarded::SendDenied));
        assert_eq!(refused(Guard::default(), denied), None);
        let interrupts = r#"{"queueMode":"interrupt"}"#;
        assert_eq!(refused(full(None), "{}"), Some(Guarded::QueueFull));
        assert_eq!(refused(full(None), interrupts), None);
        assert_eq!(refused(full(Some(QueueMode::Interrupt)), "{}"), None);
        let own = full(Some(QueueMode::Collect));
        assert_eq!(refused(own, interrupts), Some(Guarded::QueueFull));
    }

    #[test]
    fn an_older_lease_is_fenced_out() {
        assert!(fence(Lease { epoch: 2 }, 2).is_ok());
        assert!(fence(Lease { epoch: 3 }, 2).is_ok());
        let refused = fence(Lease { epoch: 1 }, 2);
        assert!(matches!(
            refused,
            Err(LedgerError::Fenced { stored: 2, ours: 1 })
        ));
    }

    #[test]
    fn zero_days_keep_everything() {
        let limits = |days| Retention {
            days,
            sessions_max: 0,
            runs_max: 0,
        };
        assert_eq!(oldest_kept_ms(&limits(0), 5 * DAY_MS), 0);
        assert_eq!(oldest_kept_ms(&limits(2), 5 * DAY_MS), 3 * DAY_MS);
        assert_eq!(oldest_kept_ms(&limits(9), 5 * DAY_MS), 0);
    }
}
