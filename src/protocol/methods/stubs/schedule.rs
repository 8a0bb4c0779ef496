//! Work without a user: scheduled jobs and their runs, background tasks, heartbeats.
//!
//! There is none of it; runs are no tasks here.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Answer, NoItems, OneOrMany};
use crate::protocol::params::params;
use crate::protocol::{Bounded, NonEmpty, Text};

/// Jobs, or runs of jobs, on a page when the caller names no limit.
const PAGE_DEFAULT: u64 = 50;

params! {
    /// Parameters of `taskSuggestions.list`.
    TaskSuggestionsParams {
        unused { session_key: Text<1, 512>, agent_id: Text<1, 128> }
    }
}

params! {
    /// Parameters of `tasks.list`.
    TasksListParams {
        unused {
            status: OneOrMany,
            agent_id: NonEmpty,
            session_key: NonEmpty,
            limit: Bounded<1, 500>,
            cursor: String,
            sort_by: NonEmpty,
        }
    }
}

params! {
    /// Parameters of `cron.list`.
    CronListParams {
        optional {
            /// Most jobs on a page; 50 when absent.
            limit: Bounded<1, 200>,
            /// Jobs before the page.
            offset: u64,
        }
        unused {
            include_disabled: bool,
            query: String,
            enabled: NonEmpty,
            schedule_kind: NonEmpty,
            last_run_status: NonEmpty,
            trigger: NonEmpty,
            sort_by: NonEmpty,
            sort_dir: NonEmpty,
            agent_id: NonEmpty,
            compact: bool,
            include_delivery_previews: bool,
            session_key: NonEmpty,
            session_agent_id: NonEmpty,
        }
    }
}

params! {
    /// Parameters of `cron.runs`.
    CronRunsParams {
        optional {
            /// Most runs on a page; 50 when absent.
            limit: Bounded<1, 200>,
            /// Runs before the page.
            offset: u64,
        }
        unused {
            agent_id: NonEmpty,
            scope: NonEmpty,
            id: NonEmpty,
            job_id: NonEmpty,
            run_id: NonEmpty,
            statuses: Vec<NonEmpty>,
            status: NonEmpty,
            delivery_statuses: Vec<NonEmpty>,
            delivery_status: NonEmpty,
            query: String,
            sort_dir: NonEmpty,
        }
    }
}

results! {
    /// The result of `taskSuggestions.list`.
    TaskSuggestions(_) {
        /// Suggested tasks: none.
        suggestions: NoItems = [],
    }

    /// The result of `tasks.list`.
    TasksList(_) {
        /// Background tasks: none; runs are no tasks here.
        tasks: NoItems = [],
    }

    /// The result of `cron.status`.
    CronStatus(_) {
        /// Whether jobs run by the clock: never.
        enabled: bool = false,
        /// How many there are.
        jobs: u64 = 0,
        /// Where they are stored: nowhere.
        store_path: String = String::new(),
        /// When the next one runs: never.
        next_wake_at_ms: Option<u64> = None,
    }
}

/// A page of scheduled jobs or of their runs: empty, and as large as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmptyPage {
    /// How many there are on all pages.
    pub total: u64,
    /// How many come before the page, as asked.
    pub offset: u64,
    /// Most on a page, as asked.
    pub limit: u64,
    /// Whether there are more.
    pub has_more: bool,
    /// Where the next page begins.
    pub next_offset: Option<u64>,
}

impl EmptyPage {
    fn of(offset: Option<u64>, limit: Option<Bounded<1, 200>>) -> Self {
        Self {
            total: 0,
            offset: offset.unwrap_or_default(),
            limit: limit.map_or(PAGE_DEFAULT, Bounded::get),
            has_more: false,
            next_offset: None,
        }
    }
}

/// The result of `cron.list`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CronList {
    /// The jobs: none.
    pub jobs: NoItems,
    /// Names the list the page is of; the list never changes.
    pub snapshot_revision: &'static str,
    /// The page.
    #[serde(flatten)]
    pub page: EmptyPage,
}

impl Answer<CronListParams> for CronList {
    fn answer(params: &CronListParams, _now_ms: u64) -> Self {
        Self {
            jobs: [],
            snapshot_revision: "empty",
            page: EmptyPage::of(params.offset, params.limit),
        }
    }
}

/// The result of `cron.runs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CronRuns {
    /// Runs of jobs: none.
    pub entries: NoItems,
    /// The page.
    #[serde(flatten)]
    pub page: EmptyPage,
}

impl Answer<CronRunsParams> for CronRuns {
    fn answer(params: &CronRunsParams, _now_ms: u64) -> Self {
        Self {
            entries: [],
            page: EmptyPage::of(params.offset, params.limit),
        }
    }
}

/// The last heartbeat of an agent: there was none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct LastHeartbeat(pub ());

impl<P> Answer<P> for LastHeartbeat {
    fn answer(_params: &P, _now_ms: u64) -> Self {
        Self::default()
    }
}
