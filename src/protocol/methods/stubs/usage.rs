//! Accounts of tokens and money by day.
//!
//! Nothing is kept by day; `sessions.list` has the tokens of each session.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Answer, NoItems};
use crate::protocol::params::params;
use crate::protocol::{Bounded, NonEmpty};

params! {
    /// Parameters of `sessions.usage`.
    SessionsUsageParams {
        unused {
            key: NonEmpty,
            agent_id: NonEmpty,
            agent_scope: NonEmpty,
            start_date: NonEmpty,
            end_date: NonEmpty,
            mode: NonEmpty,
            range: NonEmpty,
            group_by: NonEmpty,
            include_historical: bool,
            utc_offset: NonEmpty,
            time_zone: NonEmpty,
            limit: Bounded<1, { u64::MAX }>,
            include_context_weight: bool,
        }
    }
}

results! {
    /// The result of `usage.status`.
    UsageStatus(now_ms) {
        /// When this was true, in wall-clock milliseconds.
        updated_at: u64 = now_ms,
        /// Providers that tell how much of a quota is left: none is asked.
        providers: NoItems = [],
    }

    /// The result of `usage.cost`.
    UsageCost(now_ms) {
        /// When this was true, in wall-clock milliseconds.
        updated_at: u64 = now_ms,
        /// Days the account covers: none; `sessions.list` has the tokens, nothing is kept by day.
        days: u64 = 0,
        /// The days.
        daily: NoItems = [],
        /// Their sums.
        totals: UsageTotals = UsageTotals::default(),
    }

    /// The result of `sessions.usage`.
    SessionsUsage(now_ms) {
        /// When this was true, in wall-clock milliseconds.
        updated_at: u64 = now_ms,
        /// The first day of the account: it covers none.
        start_date: String = String::new(),
        /// The last one.
        end_date: String = String::new(),
        /// Accounts of sessions: none is kept by day; `sessions.list` has the tokens.
        sessions: NoItems = [],
        /// Their sums.
        totals: UsageTotals = UsageTotals::default(),
        /// The same by other measures.
        aggregates: UsageAggregates = UsageAggregates::default(),
    }
}

/// Sums over an account without days: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageTotals {
    /// Tokens of prompts.
    pub input: u64,
    /// Tokens of answers.
    pub output: u64,
    /// Tokens of prompts, from a cache.
    pub cache_read: u64,
    /// Tokens written to a cache.
    pub cache_write: u64,
    /// All tokens.
    pub total_tokens: u64,
    /// What all cost.
    pub total_cost: u64,
    /// What prompts cost.
    pub input_cost: u64,
    /// What answers cost.
    pub output_cost: u64,
    /// What reading the cache cost.
    pub cache_read_cost: u64,
    /// What writing it cost.
    pub cache_write_cost: u64,
    /// Entries without a price.
    pub missing_cost_entries: u64,
}

/// An account without days by other measures: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageAggregates {
    /// Messages.
    pub messages: UsageMessages,
    /// Calls of tools.
    pub tools: UsageTools,
    /// By model.
    pub by_model: NoItems,
    /// By provider.
    pub by_provider: NoItems,
    /// By agent.
    pub by_agent: NoItems,
    /// By chat channel.
    pub by_channel: NoItems,
    /// By day.
    pub daily: NoItems,
}

/// Messages in an account without days: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageMessages {
    /// All of them.
    pub total: u64,
    /// Of users.
    pub user: u64,
    /// Of agents.
    pub assistant: u64,
    /// Calls of tools.
    pub tool_calls: u64,
    /// Their results.
    pub tool_results: u64,
    /// Failures.
    pub errors: u64,
}

/// Calls of tools in an account without days: none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageTools {
    /// All of them.
    pub total_calls: u64,
    /// Tools that were called.
    pub unique_tools: u64,
    /// Those.
    pub tools: NoItems,
}
