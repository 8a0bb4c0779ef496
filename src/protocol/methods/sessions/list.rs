//! `sessions.list`, and what `sessions.subscribe` can return with it (`protocol-facts` §6.6).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::protocol::params::params;
use crate::protocol::row::SessionRow;
use crate::protocol::{Bounded, NonEmpty, Text};

use super::SessionDefaults;

params! {
    /// Parameters of `sessions.list`, and of `sessions.subscribe` when it is to return a list too.
    SessionsListParams {
        optional {
            /// At most this many; 100 when absent.
            limit: Bounded<1, { u64::MAX }>,
            /// Skip this many.
            offset: u64,
            /// Only sessions used in the last minutes.
            active_minutes: Bounded<1, { u64::MAX }>,
            /// Read the first user message of each session for a title.
            include_derived_titles: bool,
            /// Read the last message of each session.
            include_last_message: bool,
            /// Only the session with this label.
            label: Text<1, 512>,
            /// Only sessions whose runs wait or are active.
            active_only: bool,
            /// Only sessions another session made: none here.
            spawned_by: String,
            /// Only sessions of this agent.
            agent_id: String,
            /// Only sessions that contain this text.
            search: String,
            /// Archived sessions: `true` only those, `"all"` those too.
            archived: Value,
            /// Only sessions that are, or are not, pinned.
            pinned: bool,
            /// Only sessions with a dashboard of their own: none here.
            has_board: bool,
            /// Only sessions shown as chat or as dashboard: nobody keeps which.
            board_face: String,
            /// Only sessions of a project: none here.
            project_id: NonEmpty,
            /// Only sessions that work in a folder: none here.
            workspace_dir: NonEmpty,
        }
        unused {
            sort_by: SortBy,
            exclude_subagents: bool,
            exclude_cron: bool,
            exclude_system: bool,
            include_activity_summary: bool,
            group: String,
            profile_relation: Value,
            require_last_interaction: bool,
            include_global: bool,
            include_unknown: bool,
            configured_agents_only: bool,
            creator_id: String,
            owner_id: String,
            owner_first: bool,
            involving_me: bool,
            involving_profile_id: String,
            include_people: bool,
        }
    }
}

/// Sessions `sessions.list` returns when the caller names no limit.
pub const LIST_LIMIT_DEFAULT: u64 = 100;

/// Most sessions `sessions.list` returns.
pub const LIST_LIMIT_MAX: u64 = 1000;

impl SessionsListParams {
    /// How many sessions to return.
    pub fn limit_applied(&self) -> u64 {
        self.limit
            .map_or(LIST_LIMIT_DEFAULT, Bounded::get)
            .min(LIST_LIMIT_MAX)
    }

    /// Whether sessions must be, or must not be, archived.
    pub fn archived(&self) -> Option<bool> {
        match &self.archived {
            Some(Value::String(word)) if word == "all" => None,
            Some(Value::Bool(true)) => Some(true),
            Some(_) | None => Some(false),
        }
    }

    /// Whether the filter can match no session of this gateway: it asks for sessions another
    /// session made, or for what sessions do not have here.
    pub fn matches_nothing(&self) -> bool {
        self.spawned_by.is_some()
            || self.has_board == Some(true)
            || self.board_face.is_some()
            || self.project_id.is_some()
            || self.workspace_dir.is_some()
    }

    /// Whether every member is absent, so that `sessions.subscribe` returns no list.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The order of a list. Sessions come by their last use whatever is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SortBy {
    /// By the last change.
    UpdatedAt,
    /// By the last message of a user.
    LastInteractionAt,
    /// By the last message of anybody.
    Activity,
}

/// The result of `sessions.list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionsListResult {
    /// When the list was made, in wall-clock milliseconds.
    pub ts: u64,
    /// Where the sessions are stored.
    pub path: String,
    /// How many are here.
    pub count: u64,
    /// How many match in all.
    pub total_count: u64,
    /// The limit in force.
    pub limit_applied: u64,
    /// How many were skipped; absent for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The `offset` of the next page.
    pub next_offset: Option<u64>,
    /// Whether there is one.
    pub has_more: bool,
    /// What a new session uses.
    pub defaults: SessionDefaults,
    /// The sessions, last used first.
    pub sessions: Vec<SessionRow>,
}

/// Where a page of sessions stands in the whole list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageOf {
    /// How many match in all.
    pub total: u64,
    /// The limit in force.
    pub limit: u64,
    /// How many were skipped.
    pub offset: u64,
}

impl SessionsListResult {
    /// A page of sessions.
    pub fn new(ts: u64, page: PageOf, defaults: SessionDefaults, rows: Vec<SessionRow>) -> Self {
        let count = u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let end = page.offset.saturating_add(count);
        let has_more = end < page.total && count > 0;
        Self {
            ts,
            path: String::new(),
            count,
            total_count: page.total,
            limit_applied: page.limit,
            offset: (page.offset > 0).then_some(page.offset),
            next_offset: has_more.then_some(end),
            has_more,
            defaults,
            sessions: rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pages_say_where_the_next_one_starts() {
        let row = || SessionRow {
            key: "k".to_owned(),
            ..SessionRow::default()
        };
        let check = |offset, rows, expected: Value| {
            let page = PageOf {
                total: 5,
                limit: 2,
                offset,
            };
            let list =
                SessionsListResult::new(1, page, SessionDefaults::default(), vec![row(); rows]);
            let value = serde_json::to_value(list).unwrap();
            let found = json!([
                value["count"],
                value["offset"],
                value["nextOffset"],
                value["hasMore"]
            ]);
            assert_eq!(found, expected);
        };
        check(0, 2, json!([2, null, 2, true]));
        check(4, 1, json!([1, 4, null, false]));
        check(9, 0, json!([0, 9, null, false]));
    }

    #[test]
    fn a_subscription_without_parameters_returns_no_list() {
        let parse = |text| serde_json::from_str::<SessionsListParams>(text).unwrap();
        assert!(parse("{}").is_empty());
        assert!(!parse(r#"{"limit":3}"#).is_empty());
        assert!(parse(r#"{"spawnedBy":"x"}"#).matches_nothing());
        assert!(parse(r#"{"hasBoard":true}"#).matches_nothing());
        assert!(!parse(r#"{"hasBoard":false}"#).matches_nothing());
        assert_eq!(parse(r#"{"archived":true}"#).archived(), Some(true));
        assert_eq!(parse(r#"{"archived":"all"}"#).archived(), None);
        assert_eq!(parse(r#"{"archived":false}"#).archived(), Some(false));
        assert_eq!(parse("{}").archived(), Some(false));
        assert_eq!(parse("{}").limit_applied(), 100);
        assert_eq!(parse(r#"{"limit":100000}"#).limit_applied(), 1000);
    }
}
