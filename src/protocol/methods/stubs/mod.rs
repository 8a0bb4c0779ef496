//! Methods about things this gateway does not have: scheduled jobs, chat channels, approvals,
//! questions, skills, plugins (`protocol-facts` §6.12).
//!
//! Official clients ask for all of them. Each is answered with what is true here: there is none.
//! One table says name, scope, params and result, and the files beside this one have the types;
//! whoever needs to know those of a method visits it.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ADMIN, APPROVALS, PAIRING, QUESTIONS, READ, ScopeRule};
use crate::protocol::params::params;

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

pub mod approvals;
pub mod devices;
pub mod extensions;
pub mod github;
pub mod schedule;
pub mod sessions;
pub mod update;
pub mod usage;

/// A list that is always empty.
type NoItems = [(); 0];

/// An object that never has members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct NoMembers {}

/// One word or several, which only their type is asked of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

params! {
    /// Parameters of a method that has none, or none that are published.
    NoParams {}
}

/// A result that says that there is nothing, made from the params and the wall clock.
pub(crate) trait Answer<P>: Serialize + JsonSchema {
    fn answer(params: &P, now_ms: u64) -> Self;
}

/// Does something with the types of params and result of a method.
pub(crate) trait Visit {
    /// What comes of it.
    type Output;

    /// Called once, with the method's own types.
    fn visit<P, R>(self) -> Self::Output
    where
        P: DeserializeOwned + JsonSchema + 'static,
        R: Answer<P>;
}

/// The table: variants, wire names, scopes, params and results.
macro_rules! stubs {
    ($( $variant:ident = $name:literal, $scope:expr, $params:ty => $result:ty; )+) => {
        /// A method about something this gateway does not have.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Stub {
            $( #[doc = concat!("`", $name, "`")] $variant, )+
        }

        impl Stub {
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
            pub(crate) fn visit<V: Visit>(self, visitor: V) -> V::Output {
                match self { $( Self::$variant => visitor.visit::<$params, $result>(), )+ }
            }
        }
    };
}

stubs! {
    QuestionList = "question.list", QUESTIONS, NoParams => approvals::QuestionList;
    ExecApprovalList = "exec.approval.list", APPROVALS, NoParams => approvals::Approvals;
    PluginApprovalList = "plugin.approval.list", APPROVALS, NoParams => approvals::Approvals;
    OpenclawApprovalList = "openclaw.approval.list", APPROVALS, NoParams => approvals::Approvals;
    ApprovalHistory = "approval.history", APPROVALS,
        approvals::ApprovalHistoryParams => approvals::ApprovalHistory;
    ExecGrantsList = "exec.approval.grants.list", APPROVALS, NoParams => approvals::ExecGrants;
    ExecApprovalsGet = "exec.approvals.get", ADMIN, NoParams => approvals::ExecApprovals;
    TaskSuggestionsList = "taskSuggestions.list", READ,
        schedule::TaskSuggestionsParams => schedule::TaskSuggestions;
    TasksList = "tasks.list", READ, schedule::TasksListParams => schedule::TasksList;
    CronList = "cron.list", READ, schedule::CronListParams => schedule::CronList;
    CronRuns = "cron.runs", READ, schedule::CronRunsParams => schedule::CronRuns;
    CronStatus = "cron.status", READ, NoParams => schedule::CronStatus;
    LastHeartbeat = "last-heartbeat", READ, NoParams => schedule::LastHeartbeat;
    GroupsList = "sessions.groups.list", READ, NoParams => sessions::GroupsList;
    BranchesList = "sessions.branches.list", READ,
        sessions::OfSessionParams => sessions::BranchesList;
    CompanionState = "sessions.companion.state", READ,
        sessions::OfSessionParams => sessions::CompanionState;
    ProgressCardGet = "progressCard.get", READ,
        sessions::OfSessionParams => sessions::ProgressCard;
    ProjectsList = "projects.list", READ, sessions::ProjectsListParams => sessions::ProjectsList;
    WorktreesList = "worktrees.list", READ, NoParams => sessions::WorktreesList;
    TranscriptsList = "transcripts.list", READ,
        sessions::TranscriptsListParams => sessions::TranscriptsList;
    ChannelsStatus = "channels.status", READ,
        devices::ChannelsStatusParams => devices::ChannelsStatus;
    ChannelsPairingList = "channels.pairing.list", PAIRING,
        devices::ChannelPairingParams => devices::ChannelPairing;
    NodeList = "node.list", READ, NoParams => devices::NodeList;
    NodePairList = "node.pair.list", PAIRING, NoParams => devices::NodePairs;
    EnvironmentsList = "environments.list", READ,
        devices::EnvironmentsListParams => devices::EnvironmentsList;
    SkillsStatus = "skills.status", READ,
        extensions::SkillsStatusParams => extensions::SkillsStatus;
    SkillsSearch = "skills.search", READ,
        extensions::SkillsSearchParams => extensions::SkillsSearch;
    SkillsLibraryList = "skills.library.list", READ,
        extensions::SkillLibraryParams => extensions::SkillLibrary;
    SkillsProposalsList = "skills.proposals.list", READ,
        extensions::SkillProposalsParams => extensions::SkillProposals;
    PluginsList = "plugins.list", READ, NoParams => extensions::PluginsList;
    PluginsBrowse = "plugins.catalog.browse", READ,
        extensions::PluginsBrowseParams => extensions::PluginsBrowse;
    TalkCatalog = "talk.catalog", READ, NoParams => extensions::TalkCatalog;
    ThemesList = "themes.list", READ, NoParams => extensions::ThemesList;
    UsersList = "users.list", READ, NoParams => extensions::UsersList;
    MemoryStatus = "doctor.memory.status", READ,
        extensions::MemoryStatusParams => extensions::MemoryStatus;
    MemoryPlan = "migrations.memory.plan", ADMIN,
        extensions::MemoryPlanParams => extensions::MemoryPlan;
    GithubStatus = "tools.github.status", READ,
        github::GithubStatusParams => github::GithubStatus;
    UsageStatus = "usage.status", READ, NoParams => usage::UsageStatus;
    UsageCost = "usage.cost", READ, NoParams => usage::UsageCost;
    SessionsUsage = "sessions.usage", READ, usage::SessionsUsageParams => usage::SessionsUsage;
    UpdateStatus = "update.status", ADMIN, update::UpdateStatusParams => update::UpdateStatus;
    UpdateRun = "update.run", ADMIN, NoParams => update::UpdateRun;
}

#[cfg(test)]
mod tests;
