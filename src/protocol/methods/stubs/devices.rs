//! What is connected besides clients: chat channels, nodes, machines agents could work on.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Answer, NoItems, NoMembers};
use crate::protocol::params::params;
use crate::protocol::{NonEmpty, Text};

params! {
    /// Parameters of `channels.status`.
    ChannelsStatusParams {
        unused { probe: bool, timeout_ms: u64, channel: NonEmpty }
    }
}

params! {
    /// Parameters of `channels.pairing.list`.
    ChannelPairingParams {
        unused { channel: NonEmpty, account_id: NonEmpty }
    }
}

params! {
    /// Parameters of `environments.list`.
    EnvironmentsListParams {
        unused {
            runtime_id: Text<1, 128>,
            projection: NonEmpty,
            include_desktop_setup: bool,
        }
    }
}

results! {
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

    /// The result of `node.list`.
    NodeList(now_ms) {
        /// When this was true, in wall-clock milliseconds.
        ts: u64 = now_ms,
        /// Devices that do work for agents: none.
        nodes: NoItems = [],
    }

    /// The result of `node.pair.list`.
    NodePairs(_) {
        /// Nodes that ask to be paired: none.
        pending: NoItems = [],
        /// Nodes that are.
        paired: NoItems = [],
    }

    /// The result of `channels.pairing.list`.
    ChannelPairing(_) {
        /// Accounts of chat channels: none.
        accounts: NoItems = [],
        /// People who ask to talk to an agent: none.
        requests: NoItems = [],
        /// Whether somebody may give orders from a chat channel.
        command_owner_configured: bool = false,
        /// The bounds of such requests.
        limits: ChannelPairingLimits = ChannelPairingLimits::default(),
    }

    /// The result of `environments.list`.
    EnvironmentsList(_) {
        /// Machines agents work on: that of the gateway.
        environments: [Environment; 1] = [Environment::gateway()],
    }
}

/// The bounds of requests from chat channels: there can be none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelPairingLimits {
    /// Most requests that wait, per account.
    pub pending_per_account: u64,
    /// How long a request waits, in milliseconds.
    pub ttl_ms: u64,
}

/// A machine agents work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Environment {
    /// Its id.
    pub id: &'static str,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its name to show.
    pub label: &'static str,
    /// How it is.
    pub status: &'static str,
    /// Its operating system.
    pub platform: &'static str,
}

impl Environment {
    /// The machine the gateway runs on.
    const fn gateway() -> Self {
        Self {
            id: "gateway",
            kind: "local",
            label: "Gateway",
            status: "available",
            platform: std::env::consts::OS,
        }
    }
}
