//! What else a session could have: groups, branches, projects, checkouts, progress cards, a
//! companion, transcripts of meetings.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Answer, NoItems};
use crate::protocol::params::params;
use crate::protocol::{Bounded, NonEmpty, Text};

params! {
    /// Parameters of `projects.list`.
    ProjectsListParams {
        unused { include_observed: bool }
    }
}

results! {
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
}

params! {
    /// Parameters of the methods about what belongs to a session.
    OfSessionParams {
        required {
            /// The session.
            session_key: NonEmpty,
        }
        unused { agent_id: NonEmpty }
    }
}

params! {
    /// Parameters of `transcripts.list`.
    TranscriptsListParams {
        unused {
            limit: Bounded<1, 200>,
            cursor: NonEmpty,
            query: Text<0, 256>,
            provider_id: NonEmpty,
            account_id: NonEmpty,
            agent_id: NonEmpty,
            started_after: Text<0, 64>,
            started_before: Text<0, 64>,
        }
    }
}

results! {
    /// The result of `progressCard.get`.
    ProgressCard(_) {
        /// The card on which an agent tells how far it is: none.
        card: () = (),
    }

    /// The result of `sessions.companion.state`.
    CompanionState(_) {
        /// Questions to a companion of the session: there is no companion.
        exchanges: NoItems = [],
    }

    /// The result of `worktrees.list`.
    WorktreesList(_) {
        /// Checkouts made for sessions: none.
        worktrees: NoItems = [],
    }

    /// The result of `transcripts.list`.
    TranscriptsList(_) {
        /// Transcripts of meetings: none.
        sessions: NoItems = [],
        /// Where the next page begins.
        next_cursor: () = (),
    }
}
