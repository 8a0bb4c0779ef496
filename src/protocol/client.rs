//! Which program a peer is, and the classes of programs that rules depend on (`protocol-facts`
//! §2.2, §2.3).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounded::{NonEmpty, Text};
use super::version::Protocol;

/// The client program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientInfo {
    /// Which program it is.
    pub id: ClientId,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<NonEmpty>,
    /// Its version.
    pub version: NonEmpty,
    /// The build of a control interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<Text<1, 96>>,
    /// The operating system or browser platform.
    pub platform: NonEmpty,
    /// The family of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_family: Option<NonEmpty>,
    /// The model of the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_identifier: Option<NonEmpty>,
    /// The time zone of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<Text<1, 64>>,
    /// What it connects for.
    pub mode: ClientMode,
    /// One running copy of the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<NonEmpty>,
}

/// Which program a client is: the names of versions 3 and 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientId {
    /// The chat page.
    WebchatUi,
    /// The control page.
    OpenclawControlUi,
    /// The browser copilot.
    OpenclawBrowserCopilot,
    /// The terminal interface.
    OpenclawTui,
    /// A chat client.
    Webchat,
    /// The command line.
    Cli,
    /// The client library.
    GatewayClient,
    /// The macOS app.
    OpenclawMacos,
    /// The Linux app.
    OpenclawLinux,
    /// The iOS app.
    OpenclawIos,
    /// The watchOS app.
    OpenclawWatchos,
    /// The Android app.
    OpenclawAndroid,
    /// A node host.
    NodeHost,
    /// A worker.
    OpenclawWorker,
    /// A test.
    Test,
    /// A fingerprint.
    Fingerprint,
    /// A probe.
    OpenclawProbe,
}

impl ClientId {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WebchatUi => "webchat-ui",
            Self::OpenclawControlUi => "openclaw-control-ui",
            Self::OpenclawBrowserCopilot => "openclaw-browser-copilot",
            Self::OpenclawTui => "openclaw-tui",
            Self::Webchat => "webchat",
            Self::Cli => "cli",
            Self::GatewayClient => "gateway-client",
            Self::OpenclawMacos => "openclaw-macos",
            Self::OpenclawLinux => "openclaw-linux",
            Self::OpenclawIos => "openclaw-ios",
            Self::OpenclawWatchos => "openclaw-watchos",
            Self::OpenclawAndroid => "openclaw-android",
            Self::NodeHost => "node-host",
            Self::OpenclawWorker => "openclaw-worker",
            Self::Test => "test",
            Self::Fingerprint => "fingerprint",
            Self::OpenclawProbe => "openclaw-probe",
        }
    }
}

/// What a client connects for: the names of versions 3 and 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientMode {
    /// A person chats in a page.
    Webchat,
    /// A command.
    Cli,
    /// A person at an interface.
    Ui,
    /// A program.
    Backend,
    /// A node.
    Node,
    /// A worker.
    Worker,
    /// A probe.
    Probe,
    /// A test.
    Test,
}

impl ClientMode {
    /// Whether a person looks at what it shows.
    pub const fn is_interface(self) -> bool {
        matches!(self, Self::Ui | Self::Webchat)
    }

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webchat => "webchat",
            Self::Cli => "cli",
            Self::Ui => "ui",
            Self::Backend => "backend",
            Self::Node => "node",
            Self::Worker => "worker",
            Self::Probe => "probe",
            Self::Test => "test",
        }
    }
}

/// Classes of clients that rules depend on (§2.3).
impl ClientInfo {
    /// A person's control interface: page, copilot or terminal.
    pub const fn is_operator_ui(&self) -> bool {
        matches!(
            self.id,
            ClientId::OpenclawControlUi | ClientId::OpenclawBrowserCopilot | ClientId::OpenclawTui
        )
    }

    /// What the rules of `connect` call a control interface; since version 4 the terminal is one.
    pub const fn is_control_ui(&self, version: Protocol) -> bool {
        match version {
            Protocol::V3 => matches!(self.id, ClientId::OpenclawControlUi),
            Protocol::V4 => matches!(self.id, ClientId::OpenclawControlUi | ClientId::OpenclawTui),
        }
    }

    /// A control interface in a browser.
    pub const fn is_browser_operator_ui(&self) -> bool {
        matches!(
            self.id,
            ClientId::OpenclawControlUi | ClientId::OpenclawBrowserCopilot
        )
    }

    /// A chat page.
    pub const fn is_webchat(&self) -> bool {
        matches!(self.mode, ClientMode::Webchat) || matches!(self.id, ClientId::WebchatUi)
    }

    /// A command line.
    pub const fn is_cli(&self) -> bool {
        matches!(self.mode, ClientMode::Cli)
    }

    /// Whether it is left out of the presence list.
    pub const fn is_ephemeral(&self, version: Protocol) -> bool {
        match self.mode {
            ClientMode::Cli => true,
            ClientMode::Backend | ClientMode::Probe => matches!(version, Protocol::V4),
            ClientMode::Webchat
            | ClientMode::Ui
            | ClientMode::Node
            | ClientMode::Worker
            | ClientMode::Test => false,
        }
    }

    /// The interface of a native app.
    pub const fn is_native_app(&self) -> bool {
        matches!(self.mode, ClientMode::Ui)
            && matches!(
                self.id,
                ClientId::OpenclawMacos
                    | ClientId::OpenclawLinux
                    | ClientId::OpenclawIos
                    | ClientId::OpenclawAndroid
            )
    }

    /// The name to show: the display name, else the program.
    pub fn host(&self) -> &str {
        self.display_name
            .as_deref()
            .unwrap_or_else(|| self.id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn client(id: &str, mode: &str) -> ClientInfo {
        let client = json!({"id": id, "mode": mode, "version": "1", "platform": "linux"});
        serde_json::from_value(client).unwrap()
    }

    #[test]
    fn names_on_the_wire_and_in_code_agree() {
        let ids = "webchat-ui openclaw-control-ui openclaw-browser-copilot openclaw-tui webchat cli \
                   gateway-client openclaw-macos openclaw-linux openclaw-ios openclaw-watchos \
                   openclaw-android node-host openclaw-worker test fingerprint openclaw-probe";
        for id in ids.split_whitespace() {
            assert_eq!(client(id, "test").id.as_str(), id);
        }
        for mode in "webchat cli ui backend node worker probe test".split_whitespace() {
            assert_eq!(client("test", mode).mode.as_str(), mode);
        }
    }

    /// The classes of a client, by their initials: operator ui, control ui of 3 and 4, browser,
    /// webchat, cli, ephemeral in 3 and 4, native app.
    fn check_classes(id: &str, mode: &str, expected: &str) {
        let client = client(id, mode);
        let classes = [
            ("operator", client.is_operator_ui()),
            ("control3", client.is_control_ui(Protocol::V3)),
            ("control4", client.is_control_ui(Protocol::V4)),
            ("browser", client.is_browser_operator_ui()),
            ("webchat", client.is_webchat()),
            ("cli", client.is_cli()),
            ("ephemeral3", client.is_ephemeral(Protocol::V3)),
            ("ephemeral4", client.is_ephemeral(Protocol::V4)),
            ("app", client.is_native_app()),
        ];
        let held: Vec<&str> = classes
            .iter()
            .filter(|(_, is)| *is)
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(held.join(" "), expected, "{id} {mode}");
    }

    #[test]
    fn clients_fall_into_the_classes_rules_depend_on() {
        check_classes("cli", "cli", "cli ephemeral3 ephemeral4");
        check_classes("gateway-client", "backend", "ephemeral4");
        check_classes("openclaw-probe", "probe", "ephemeral4");
        check_classes("openclaw-tui", "ui", "operator control4");
        check_classes("openclaw-browser-copilot", "ui", "operator browser");
        check_classes(
            "openclaw-control-ui",
            "webchat",
            "operator control3 control4 browser webchat",
        );
        check_classes("webchat-ui", "ui", "webchat");
        check_classes("openclaw-macos", "ui", "app");
        check_classes("openclaw-macos", "node", "");
    }
}
