//! Methods about things this gateway does not have: scheduled jobs, chat channels, approvals,
//! questions, skills (`protocol-facts` §6.12).
//!
//! Official clients ask for all of them when they start. Each is answered with what is true here:
//! there is none. One table says name, scope, params and result; whoever needs to know the types of
//! a method visits it.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{ADMIN, APPROVALS, QUESTIONS, READ, ScopeRule};
use crate::protocol::params::params;
use crate::protocol::{Bounded, ErrorBody, NonEmpty, Reply, Text, decode_params};

/// A list that is always empty.
type NoItems = [(); 0];

/// An object that never has members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoMembers {}

/// Jobs on a page of `cron.list` when the caller names no limit.
const JOBS_DEFAULT: u64 = 50;

/// A result that says that there is nothing, made from the params and the wall clock.
pub(in crate::protocol) trait Answer<P>: Serialize + JsonSchema {
    fn answer(params: &P, now_ms: u64) -> Self;
}

/// Does something with the types of params and result of a method.
pub(in crate::protocol) trait Visit {
    /// What comes of it.
    type Output;

    /// Called once, with the method's own types.
    fn visit<P, R>(self) -> Self::Output
    where
        P: DeserializeOwned + JsonSchema + 'static,
        R: Answer<P>;
}

/// The table: variants, wire names, scopes, params and results.
macro_rules! vacant {
    ($( $variant:ident = $name:literal, $scope:expr, $params:ty => $result:ty; )+) => {
        /// A method about something this gateway does not have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Vacant {
            $( #[doc = concat!("`", $name, "`")] $variant, )+
        }

        impl Vacant {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// Its wire name.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// Who may call it.
            pub const fn scope(self) -> ScopeRule {
                match self { $( Self::$variant => $scope, )+ }
            }

            /// Lets the visitor see the types of params and result.
            pub(in crate::protocol) fn visit<V: Visit>(self, visitor: V) -> V::Output {
                match self { $( Self::$variant => visitor.visit::<$params, $result>(), )+ }
            }
        }
    };
}

vacant! {
    QuestionList = "question.list", QUESTIONS, NoParams => QuestionList;
    ExecApprovalList = "exec.approval.list", APPROVALS, AnyParams => Approvals;
    PluginApprovalList = "plugin.approval.list", APPROVALS, AnyParams => Approvals;
    OpenclawApprovalList = "openclaw.approval.list", APPROVALS, AnyParams => Approvals;
    TaskSuggestionsList = "taskSuggestions.list", READ, TaskSuggestionsParams => TaskSuggestions;
    TasksList = "tasks.list", READ, TasksListParams => TasksList;
    CronList = "cron.list", READ, CronListParams => CronList;
    CronStatus = "cron.status", READ, NoParams => CronStatus;
    GroupsList = "sessions.groups.list", READ, NoParams => GroupsList;
    BranchesList = "sessions.branches.list", READ, BranchesListParams => BranchesList;
    ProjectsList = "projects.list", READ, ProjectsListParams => ProjectsList;
    ChannelsStatus = "channels.status", READ, ChannelsStatusParams => ChannelsStatus;
    SkillsStatus = "skills.status", READ, SkillsStatusParams => SkillsStatus;
    NodeList = "node.list", READ, NoParams => NodeList;
    UsageStatus = "usage.status", READ, AnyParams => UsageStatus;
    LastHeartbeat = "last-heartbeat", READ, AnyParams => LastHeartbeat;
    UsageCost = "usage.cost", READ, AnyParams => UsageCost;
    SessionsUsage = "sessions.usage", READ, SessionsUsageParams => SessionsUsage;
    UpdateStatus = "update.status", ADMIN, UpdateStatusParams => UpdateStatus;
    UpdateRun = "update.run", ADMIN, AnyParams => UpdateRun;
}

impl Vacant {
    /// Answers a call.
    ///
    /// # Errors
    /// Params that break their form (`protocol-facts` §5.2).
    pub fn reply(
        self,
        id: &str,
        params: Option<&RawValue>,
        now_ms: u64,
    ) -> Result<Reply, ErrorBody> {
        self.visit(Replying {
            method: self.name(),
            id,
            params,
            now_ms,
        })
    }
}

struct Replying<'a> {
    method: &'static str,
    id: &'a str,
    params: Option<&'a RawValue>,
    now_ms: u64,
}

impl Visit for Replying<'_> {
    type Output = Result<Reply, ErrorBody>;

    fn visit<P, R>(self) -> Self::Output
    where
        P: DeserializeOwned + JsonSchema + 'static,
        R: Answer<P>,
    {
        let params: P = decode_params(self.method, self.params)?;
        Ok(Reply::ok(self.id, &R::answer(&params, self.now_ms)))
    }
}

params! {
    /// Parameters of a method that has none.
    NoParams {}
}

/// Parameters of a method whose parameters are not published; all are let through.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnyParams {}

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
            status: TaskStatusFilter,
            agent_id: NonEmpty,
            session_key: NonEmpty,
            limit: Bounded<1, 500>,
            cursor: String,
            sort_by: NonEmpty,
        }
    }
}

/// Which tasks are asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TaskStatusFilter {
    /// Those in one state.
    One(TaskStatus),
    /// Those in any of several.
    Any(Vec<TaskStatus>),
}

/// The state of a task.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// It waits.
    Queued,
    /// It runs.
    Running,
    /// It is done.
    Completed,
    /// It went wrong.
    Failed,
    /// It was stopped.
    Cancelled,
    /// It took too long.
    TimedOut,
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
            enabled: CronEnabled,
            schedule_kind: CronSchedule,
            last_run_status: CronRunStatus,
            trigger: CronTrigger,
            sort_by: CronSort,
            sort_dir: CronOrder,
            agent_id: NonEmpty,
            compact: bool,
            include_delivery_previews: bool,
        }
    }
}

/// Defines the words a filter may be, which are only checked.
macro_rules! words {
    ($( $(#[$meta:meta])* $name:ident($case:literal) { $( $word:ident ),+ } )+) => {
        $(
            $(#[$meta])*
            #[derive(Debug, Deserialize, JsonSchema)]
            #[serde(rename_all = $case)]
            pub enum $name {
                $( #[doc = concat!("`", stringify!($word), "`, in its wire case.")] $word, )+
            }
        )+
    };
}

words! {
    /// Jobs by whether they are on.
    CronEnabled("lowercase") { All, Enabled, Disabled }
    /// Jobs by when they run.
    CronSchedule("kebab-case") { All, At, Every, Cron, OnExit, Stream }
    /// Jobs by how they ended.
    CronRunStatus("lowercase") { All, Ok, Error, Skipped, Unknown }
    /// Jobs by whether they have a condition.
    CronTrigger("lowercase") { All, Conditional, Unconditional }
    /// What jobs are ordered by.
    CronSort("camelCase") { NextRunAtMs, UpdatedAtMs, Name }
    /// Which comes first.
    CronOrder("lowercase") { Asc, Desc }
    /// What a day is.
    UsageMode("lowercase") { Utc, Gateway, Specific }
    /// What is counted together.
    UsageGroup("lowercase") { Instance, Family }
}

params! {
    /// Parameters of `sessions.branches.list`.
    BranchesListParams {
        required {
            /// The session.
            session_key: NonEmpty,
        }
        unused { agent_id: NonEmpty }
    }
}

params! {
    /// Parameters of `projects.list`.
    ProjectsListParams {
        unused { include_observed: bool }
    }
}

params! {
    /// Parameters of `channels.status`.
    ChannelsStatusParams {
        unused { probe: bool, timeout_ms: u64, channel: NonEmpty }
    }
}

params! {
    /// Parameters of `skills.status`.
    SkillsStatusParams {
        unused { agent_id: NonEmpty, session_key: NonEmpty }
    }
}

params! {
    /// Parameters of `sessions.usage`.
    SessionsUsageParams {
        unused {
            key: NonEmpty,
            agent_id: NonEmpty,
            agent_scope: NonEmpty,
            start_date: NonEmpty,
            end_date: NonEmpty,
            mode: UsageMode,
            range: NonEmpty,
            group_by: UsageGroup,
            include_historical: bool,
            utc_offset: NonEmpty,
            time_zone: NonEmpty,
            limit: Bounded<1, { u64::MAX }>,
            include_context_weight: bool,
        }
    }
}

params! {
    /// Parameters of `update.status`.
    UpdateStatusParams {
        unused { refresh_checkout: bool }
    }
}

/// Defines results whose members do not depend on the params: each member with type and value.
macro_rules! results {
    ($(
        $(#[$meta:meta])*
        $name:ident($now:pat_param) {
            $( $(#[$member_meta:meta])* $member:ident : $ty:ty = $value:expr ),+ $(,)?
        }
    )+) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
            #[serde(rename_all = "camelCase")]
            pub struct $name {
                $( $(#[$member_meta])* pub $member: $ty, )+
            }

            impl<P> Answer<P> for $name {
                fn answer(_params: &P, $now: u64) -> Self {
                    Self { $( $member: $value, )+ }
                }
            }
        )+
    };
}

results! {
    /// The result of `question.list`.
    QuestionList(_) {
        /// Questions to the user: agents ask none.
        questions: NoItems = [],
    }

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

    /// The result of `sessions.groups.list`.
    GroupsList(_) {
        /// Groups of sessions: none.
        groups: NoItems = [],
    }

    /// The result of `sessions.branches.list`.
    BranchesList(_) {
        /// Branches of the transcript: it has none.
        branches: NoItems = [],
    }

    /// The result of `projects.list`.
    ProjectsList(_) {
        /// Projects: none.
        projects: NoItems = [],
    }

    /// The result of `channels.status`.
    ChannelsStatus(now_ms) {
        /// When this was true, in wall-clock milliseconds.
        ts: u64 = now_ms,
        /// The order of the chat channels: there are none.
        channel_order: NoItems = [],
        /// Their names.
        channel_labels: NoMembers = NoMembers {},
        /// Their longer names.
        channel_detail_labels: NoMembers = NoMembers {},
        /// Their pictures.
        channel_system_images: NoMembers = NoMembers {},
        /// All of that in one list.
        channel_meta: NoItems = [],
        /// Their states.
        channels: NoMembers = NoMembers {},
        /// Their accounts.
        channel_accounts: NoMembers = NoMembers {},
        /// The account each uses when none is named.
        channel_default_account_id: NoMembers = NoMembers {},
    }

    /// The result of `skills.status`.
    SkillsStatus(_) {
        /// Where an agent's own skills would be: nowhere.
        workspace_dir: String = String::new(),
        /// Where shared skills would be: nowhere.
        managed_skills_dir: String = String::new(),
        /// The skills: none.
        skills: NoItems = [],
    }

    /// The result of `node.list`.
    NodeList(now_ms) {
        /// When this was true, in wall-clock milliseconds.
        ts: u64 = now_ms,
        /// Devices that do work for agents: none.
        nodes: NoItems = [],
    }

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
        /// Days the account covers; `sessions.list` has the tokens, nothing is kept by day.
        days: u64 = 30,
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

    /// The result of `update.status`.
    UpdateStatus(_) {
        /// What the last update left behind: this program does not update itself.
        sentinel: () = (),
        /// A newer version: nobody looks for one.
        update_available: () = (),
    }

    /// The result of `update.run`.
    UpdateRun(_) {
        /// Whether an update was made: this program does not update itself.
        ok: bool = false,
        /// What was done instead.
        result: NoUpdate = NoUpdate::default(),
        /// The restart that follows: none.
        restart: () = (),
        /// What the update leaves behind: nothing.
        sentinel: () = (),
    }
}

/// An update that was not made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NoUpdate {
    /// How it went.
    pub status: &'static str,
    /// How the program came here: not known to it.
    pub mode: &'static str,
    /// Why nothing was done.
    pub reason: &'static str,
    /// What was done.
    pub steps: NoItems,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl Default for NoUpdate {
    fn default() -> Self {
        Self {
            status: "skipped",
            mode: "unknown",
            reason: "not-supported",
            steps: [],
            duration_ms: 0,
        }
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

/// The result of `cron.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CronList {
    /// The jobs: none.
    pub jobs: NoItems,
    /// How many there are on all pages.
    pub total: u64,
    /// Jobs before the page, as asked.
    pub offset: u64,
    /// Most jobs on a page, as asked.
    pub limit: u64,
    /// Whether there are more.
    pub has_more: bool,
    /// Where the next page begins.
    pub next_offset: Option<u64>,
}

impl Answer<CronListParams> for CronList {
    fn answer(params: &CronListParams, _now_ms: u64) -> Self {
        Self {
            jobs: [],
            total: 0,
            offset: params.offset.unwrap_or_default(),
            limit: params.limit.map_or(JOBS_DEFAULT, Bounded::get),
            has_more: false,
            next_offset: None,
        }
    }
}

/// What waits for an approval: nothing, agents ask for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct Approvals(pub NoItems);

impl<P> Answer<P> for Approvals {
    fn answer(_params: &P, _now_ms: u64) -> Self {
        Self::default()
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::protocol::methods::Method;

    fn reply(vacant: Vacant, params: &Value) -> Result<Value, ErrorBody> {
        let params = RawValue::from_string(params.to_string()).unwrap();
        let reply = vacant.reply("1", Some(&params), 7)?;
        let frame: Value = serde_json::from_str(&reply.frame).unwrap();
        assert_eq!(frame["ok"], true, "{frame}");
        Ok(frame["payload"].clone())
    }

    fn check(vacant: Vacant, params: &Value, expected: &Value) {
        assert_eq!(&reply(vacant, params).unwrap(), expected, "{vacant:?}");
    }

    #[test]
    fn what_is_not_there_is_answered_as_none() {
        let none = json!({});
        check(Vacant::QuestionList, &none, &json!({"questions": []}));
        check(Vacant::ExecApprovalList, &none, &json!([]));
        check(Vacant::PluginApprovalList, &none, &json!([]));
        check(Vacant::OpenclawApprovalList, &none, &json!([]));
        check(
            Vacant::TaskSuggestionsList,
            &none,
            &json!({"suggestions": []}),
        );
        check(
            Vacant::TasksList,
            &json!({"status": ["running", "timed_out"], "limit": 500}),
            &json!({"tasks": []}),
        );
        check(
            Vacant::CronStatus,
            &none,
            &json!({"enabled": false, "jobs": 0, "storePath": "", "nextWakeAtMs": null}),
        );
        check(Vacant::GroupsList, &none, &json!({"groups": []}));
        check(
            Vacant::BranchesList,
            &json!({"sessionKey": "main"}),
            &json!({"branches": []}),
        );
        check(Vacant::ProjectsList, &none, &json!({"projects": []}));
        check(
            Vacant::SkillsStatus,
            &none,
            &json!({"workspaceDir": "", "managedSkillsDir": "", "skills": []}),
        );
        check(Vacant::NodeList, &none, &json!({"ts": 7, "nodes": []}));
        check(
            Vacant::UsageStatus,
            &none,
            &json!({"updatedAt": 7, "providers": []}),
        );
        let totals = json!({
            "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 0,
            "totalCost": 0, "inputCost": 0, "outputCost": 0, "cacheReadCost": 0,
            "cacheWriteCost": 0, "missingCostEntries": 0,
        });
        check(
            Vacant::UsageCost,
            &none,
            &json!({"updatedAt": 7, "days": 30, "daily": [], "totals": totals}),
        );
        let messages = json!({
            "total": 0, "user": 0, "assistant": 0, "toolCalls": 0, "toolResults": 0, "errors": 0,
        });
        let tools = json!({"totalCalls": 0, "uniqueTools": 0, "tools": []});
        let aggregates = json!({
            "messages": messages, "tools": tools, "byModel": [], "byProvider": [], "byAgent": [],
            "byChannel": [], "daily": [],
        });
        check(
            Vacant::SessionsUsage,
            &json!({"startDate": "2026-01-01", "mode": "utc", "groupBy": "family", "limit": 5}),
            &json!({"updatedAt": 7, "startDate": "", "endDate": "", "sessions": [],
                "totals": totals, "aggregates": aggregates}),
        );
        check(Vacant::LastHeartbeat, &none, &Value::Null);
        check(
            Vacant::UpdateStatus,
            &none,
            &json!({"sentinel": null, "updateAvailable": null}),
        );
    }

    #[test]
    fn an_update_is_not_made() {
        let skipped = json!({
            "status": "skipped", "mode": "unknown", "reason": "not-supported",
            "steps": [], "durationMs": 0,
        });
        check(
            Vacant::UpdateRun,
            &json!({}),
            &json!({"ok": false, "result": skipped, "restart": null, "sentinel": null}),
        );
    }

    #[test]
    fn a_page_of_no_jobs_is_the_page_that_was_asked_for() {
        let page = |offset: u64, limit: u64| {
            json!({
                "jobs": [], "total": 0, "offset": offset, "limit": limit,
                "hasMore": false, "nextOffset": null,
            })
        };
        check(Vacant::CronList, &json!({}), &page(0, 50));
        let asked = json!({
            "agentId": "main", "includeDisabled": true, "includeDeliveryPreviews": false,
            "compact": true, "limit": 20, "offset": 40, "enabled": "all", "sortBy": "nextRunAtMs",
            "sortDir": "asc", "scheduleKind": "on-exit", "lastRunStatus": "ok",
            "trigger": "conditional", "query": "",
        });
        check(Vacant::CronList, &asked, &page(40, 20));
    }

    #[test]
    fn params_that_break_their_form_are_refused() {
        for (vacant, params, expected) in [
            (
                Vacant::CronList,
                json!({"limit": 201}),
                "invalid cron.list params: at /limit: must be <= 200",
            ),
            (
                Vacant::BranchesList,
                json!({}),
                "invalid sessions.branches.list params: must have required property 'sessionKey'",
            ),
            (
                Vacant::NodeList,
                json!({"x": 1}),
                "invalid node.list params: at root: unexpected property 'x'",
            ),
            (
                Vacant::UsageStatus,
                json!([]),
                "invalid usage.status params: must be object",
            ),
        ] {
            let refusal = reply(vacant, &params).unwrap_err();
            assert_eq!(refusal.message, expected, "{vacant:?}");
        }
    }

    #[test]
    fn every_vacant_method_is_in_the_table_of_methods() {
        for vacant in Vacant::ALL {
            let row = Method::find(vacant.name()).unwrap();
            assert_eq!(row.method, Method::Vacant(*vacant));
            assert_eq!(row.scope, vacant.scope());
        }
    }
}
