//! Why and how a connection is closed: codes and reasons (`protocol-facts` §1.7).

use std::borrow::Cow;

/// Longest close reason in bytes: a close frame holds 125, two of which are the code (RFC 6455).
pub const CLOSE_REASON_BYTES_MAX: usize = 123;

/// Why the gateway closes a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Close {
    /// The peer did not complete the handshake in time.
    HandshakeTimeout,
    /// The first frame is not JSON.
    UnreadableHandshake,
    /// The peer speaks no version that is served.
    ProtocolMismatch,
    /// The first frame is JSON, but not a request frame.
    InvalidFirstFrame,
    /// The handshake was refused; the text is the message of the response before it.
    HandshakeRefused(Cow<'static, str>),
    /// More frames arrived during authentication than may wait.
    TooManyPendingFrames,
    /// A frame is larger than allowed.
    TooLarge,
    /// More than the allowed bytes wait for the peer.
    SlowConsumer,
    /// Too many calls in a row that the peer's role does not allow.
    RepeatedUnauthorized,
    /// The gateway stops or restarts.
    ServiceRestart,
    /// The gateway is still starting.
    Starting,
    /// The gateway drains and takes no new connection.
    Draining,
    /// The secret the peer authenticated with was changed.
    AuthChanged,
    /// The policy the peer was admitted under was changed.
    PolicyChanged,
    /// The peer's device is not paired any more.
    DeviceRemoved,
    /// The peer's device may not act as this any more.
    DeviceTokenRevoked,
    /// The device token the peer authenticated with was replaced.
    DeviceTokenRotated,
    /// A fault of the gateway.
    Internal,
}

impl Close {
    /// The WebSocket close code.
    pub const fn code(&self) -> u16 {
        match self {
            Self::HandshakeTimeout | Self::UnreadableHandshake => 1000,
            Self::ProtocolMismatch => 1002,
            Self::InvalidFirstFrame
            | Self::HandshakeRefused(_)
            | Self::TooManyPendingFrames
            | Self::SlowConsumer
            | Self::RepeatedUnauthorized => 1008,
            Self::TooLarge => 1009,
            Self::Internal => 1011,
            Self::ServiceRestart => 1012,
            Self::Starting | Self::Draining => 1013,
            Self::AuthChanged
            | Self::PolicyChanged
            | Self::DeviceRemoved
            | Self::DeviceTokenRevoked
            | Self::DeviceTokenRotated => 4001,
        }
    }

    /// The reason on the wire, at most [`CLOSE_REASON_BYTES_MAX`] bytes.
    pub fn reason(&self) -> &str {
        match self {
            Self::HandshakeTimeout | Self::UnreadableHandshake | Self::TooLarge => "",
            Self::ProtocolMismatch => "protocol mismatch",
            Self::InvalidFirstFrame => "invalid request frame",
            Self::HandshakeRefused(message) => truncated(message),
            Self::TooManyPendingFrames => "too many pending handshake frames",
            Self::SlowConsumer => "slow consumer",
            Self::RepeatedUnauthorized => "repeated unauthorized calls",
            Self::ServiceRestart => "service restart",
            Self::Starting => "gateway starting",
            Self::Draining => "gateway restart in progress",
            Self::AuthChanged => "gateway auth changed",
            Self::PolicyChanged => "gateway policy changed",
            Self::DeviceRemoved => "device removed",
            Self::DeviceTokenRevoked => "client invalidated: device token revoked",
            Self::DeviceTokenRotated => "client invalidated: device token rotated",
            Self::Internal => "gateway message handler unavailable",
        }
    }

    /// The name in logs and metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::HandshakeTimeout => "handshake_timeout",
            Self::UnreadableHandshake => "unreadable_handshake",
            Self::ProtocolMismatch => "protocol_mismatch",
            Self::InvalidFirstFrame => "invalid_first_frame",
            Self::HandshakeRefused(_) => "handshake_refused",
            Self::TooManyPendingFrames => "too_many_pending_frames",
            Self::TooLarge => "too_large",
            Self::SlowConsumer => "slow_consumer",
            Self::RepeatedUnauthorized => "repeated_unauthorized",
            Self::ServiceRestart => "service_restart",
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::AuthChanged => "auth_changed",
            Self::PolicyChanged => "policy_changed",
            Self::DeviceRemoved => "device_removed",
            Self::DeviceTokenRevoked => "device_token_revoked",
            Self::DeviceTokenRotated => "device_token_rotated",
            Self::Internal => "internal",
        }
    }
}

/// The longest prefix that fits into a close frame and ends between two characters.
fn truncated(text: &str) -> &str {
    let end = text.floor_char_boundary(CLOSE_REASON_BYTES_MAX);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_reason(message: &str, expected: &str) {
        let close = Close::HandshakeRefused(Cow::Owned(message.to_owned()));
        assert_eq!(close.reason(), expected);
        assert!(close.reason().len() <= CLOSE_REASON_BYTES_MAX);
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        check_reason("invalid role", "invalid role");
        check_reason(&"x".repeat(123), &"x".repeat(123));
        check_reason(&"x".repeat(124), &"x".repeat(123));
        check_reason(&format!("{}ä", "x".repeat(122)), &"x".repeat(122));
        check_reason(&"😀".repeat(40), &"😀".repeat(30));
    }

    #[test]
    fn codes_and_reasons_are_those_clients_know() {
        let table = [
            (Close::HandshakeTimeout, 1000, ""),
            (Close::UnreadableHandshake, 1000, ""),
            (Close::ProtocolMismatch, 1002, "protocol mismatch"),
            (Close::InvalidFirstFrame, 1008, "invalid request frame"),
            (Close::SlowConsumer, 1008, "slow consumer"),
            (Close::TooLarge, 1009, ""),
            (Close::ServiceRestart, 1012, "service restart"),
            (Close::Starting, 1013, "gateway starting"),
            (Close::AuthChanged, 4001, "gateway auth changed"),
        ];
        for (close, code, reason) in table {
            assert_eq!((close.code(), close.reason()), (code, reason), "{close:?}");
        }
    }
}
