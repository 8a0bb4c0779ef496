//! What people are asked by agents: approvals of commands and plugins, questions.
//!
//! Agents ask for nothing here.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Answer, NoItems};
use crate::protocol::params::params;
use crate::protocol::{Bounded, NonEmpty};

results! {
    /// The result of `question.list`.
    QuestionList(_) {
        /// Questions to the user: agents ask none.
        questions: NoItems = [],
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

params! {
    /// Parameters of `approval.history`.
    ApprovalHistoryParams {
        unused { cursor: NonEmpty, limit: Bounded<1, 100>, kind: NonEmpty }
    }
}

results! {
    /// The result of `approval.history`.
    ApprovalHistory(_) {
        /// Decisions that were made: none, nobody asks for any.
        items: NoItems = [],
    }

    /// The result of `exec.approval.grants.list`.
    ExecGrants(_) {
        /// Approvals that hold for longer: none was given.
        grants: NoItems = [],
    }

    /// The result of `exec.approvals.get`.
    ExecApprovals(_) {
        /// The file of rules about commands: there is none.
        path: String = String::new(),
        /// Whether it exists.
        exists: bool = false,
        /// Names its text.
        hash: String = String::new(),
        /// What it says.
        file: ExecApprovalsFile = ExecApprovalsFile::default(),
        /// What holds where it says nothing.
        resolved_defaults: ExecDefaults = ExecDefaults::default(),
    }
}

/// Rules about commands: none runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ExecApprovalsFile {
    /// The version of its form.
    pub version: u8,
    /// What holds for every command.
    pub defaults: ExecDefaults,
}

impl Default for ExecApprovalsFile {
    fn default() -> Self {
        Self {
            version: 1,
            defaults: ExecDefaults::default(),
        }
    }
}

/// What holds for commands where no rule does: the gateway runs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecDefaults {
    /// Which commands run.
    pub security: &'static str,
    /// When somebody is asked.
    pub ask: &'static str,
    /// Which commands run when nobody answers.
    pub ask_fallback: &'static str,
    /// Whether programs of skills run.
    pub auto_allow_skills: bool,
}

impl Default for ExecDefaults {
    fn default() -> Self {
        Self {
            security: "deny",
            ask: "off",
            ask_fallback: "deny",
            auto_allow_skills: false,
        }
    }
}
