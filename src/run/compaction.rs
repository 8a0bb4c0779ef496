//! How often a transcript was summed up: what is kept of it beside the settings of its session.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::SessionId;

/// Name of the setting; no caller can set it.
const SETTING: &str = "compaction";

/// How often and when a transcript was summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Compactions {
    /// The transcript.
    pub session_id: SessionId,
    /// How often.
    pub count: u64,
    /// When it was last done, in wall-clock milliseconds.
    pub at_ms: u64,
}

impl Compactions {
    /// What the settings of a session say of this transcript of it.
    pub fn of(settings: &Map<String, Value>, session_id: SessionId) -> Option<Self> {
        let noted = Self::deserialize(settings.get(SETTING)?).ok()?;
        (noted.session_id == session_id).then_some(noted)
    }

    /// The settings with one more.
    pub fn next(
        settings: &Map<String, Value>,
        session_id: SessionId,
        at_ms: u64,
    ) -> Map<String, Value> {
        let before = Self::of(settings, session_id).map_or(0, |noted| noted.count);
        let next = Self {
            session_id,
            count: before.saturating_add(1),
            at_ms,
        };
        let value = serde_json::to_value(next).unwrap_or(Value::Null);
        Map::from_iter([(SETTING.to_owned(), value)])
    }

    /// Takes the note out of settings that are shown.
    pub fn hide(settings: &mut Map<String, Value>) {
        settings.remove(SETTING);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn each_transcript_is_counted_by_itself() {
        let [one, other] = [1, 2].map(|n| SessionId::from_uuid(Uuid::from_u128(n)));
        let first = Compactions::next(&Map::new(), one, 5);
        let mut settings = Compactions::next(&first, one, 6);
        let noted = Compactions::of(&settings, one).unwrap();
        assert_eq!((noted.count, noted.at_ms), (2, 6));
        assert_eq!(Compactions::of(&settings, other), None);
        let fresh = Compactions::next(&settings, other, 7);
        assert_eq!(Compactions::of(&fresh, other).unwrap().count, 1);
        Compactions::hide(&mut settings);
        assert!(settings.is_empty());
    }
}
