//! Accounts at GitHub that agents could use: none is looked for.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Answer, NoItems};
use crate::protocol::NonEmpty;
use crate::protocol::params::params;

params! {
    /// Parameters of `tools.github.status`.
    GithubStatusParams {
        required {
            /// The agent.
            agent_id: NonEmpty,
            /// Whose account is meant: that of the gateway or of the agent.
            selected_scope: NonEmpty,
        }
    }
}

/// The result of `tools.github.status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GithubStatus {
    /// The agent, as asked.
    pub agent_id: String,
    /// Whose account is meant, as asked.
    pub selected_scope: String,
    /// That account.
    pub selected: SelectedAccount,
    /// The account the agent would use.
    pub effective: NoAccount,
}

/// The account that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SelectedAccount {
    /// Whose it is, as asked.
    pub scope: String,
    /// Whether there is one.
    pub configured: bool,
    /// The account.
    pub identity: (),
}

/// An account that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NoAccount {
    /// Where it would come from.
    pub source: &'static str,
    /// What kind of secret it would have.
    pub credential_kind: &'static str,
    /// Whether it can be used.
    pub credential_state: &'static str,
    /// Its name.
    pub account: (),
    /// Who commits.
    pub git_author: NoAuthor,
    /// How it is known.
    pub evidence: &'static str,
    /// When its secret ends.
    pub access_expires_at_ms: (),
    /// Whether the secret can be renewed.
    pub refresh_state: &'static str,
    /// What it may do.
    pub oauth_scopes: NoItems,
    /// Which repositories it may use.
    pub repository_grants: &'static str,
}

/// Nobody who commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NoAuthor {
    /// The name.
    pub name: (),
    /// The address.
    pub email: (),
}

impl Answer<GithubStatusParams> for GithubStatus {
    fn answer(params: &GithubStatusParams, _now_ms: u64) -> Self {
        let scope = params.selected_scope.to_string();
        Self {
            agent_id: params.agent_id.to_string(),
            selected_scope: scope.clone(),
            selected: SelectedAccount {
                scope,
                configured: false,
                identity: (),
            },
            effective: NoAccount {
                source: "system-detected",
                credential_kind: "native",
                credential_state: "unavailable",
                account: (),
                git_author: NoAuthor {
                    name: (),
                    email: (),
                },
                evidence: "none",
                access_expires_at_ms: (),
                refresh_state: "not_applicable",
                oauth_scopes: [],
                repository_grants: "unknown",
            },
        }
    }
}
