//! `sessions.describe`: one session as a row (`protocol-facts` §6.6).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::protocol::NonEmpty;
use crate::protocol::params::params;
use crate::protocol::row::SessionRow;

params! {
    /// Parameters of `sessions.describe`.
    SessionsDescribeParams {
        required {
            /// The session.
            key: NonEmpty,
        }
        optional {
            /// The agent; must agree with the key.
            agent_id: NonEmpty,
            /// Whether the row has a title made from the first message.
            include_derived_titles: bool,
            /// Whether the row has the beginning of the last message.
            include_last_message: bool,
        }
    }
}

/// The result of `sessions.describe`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionsDescribeResult {
    /// The session; `null` when it does not exist.
    pub session: Option<SessionRow>,
}
