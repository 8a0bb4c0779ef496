//! The table of events. Gates are enforced by `auth`, whose table says the same; a test compares
//! the two.

use crate::protocol::methods::{PAIRING, READ, ScopeRule};

/// An event this gateway sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// `connect.challenge`
    ConnectChallenge,
    /// `agent`
    Agent,
    /// `chat`
    Chat,
    /// `session.message`
    SessionMessage,
    /// `sessions.changed`
    SessionsChanged,
    /// `presence`
    Presence,
    /// `tick`
    Tick,
    /// `health`
    Health,
    /// `shutdown`
    Shutdown,
    /// `device.pair.requested`
    DevicePairRequested,
    /// `device.pair.resolved`
    DevicePairResolved,
    /// `session.operation`
    SessionOperation,
    /// `session.tool`
    SessionTool,
}

/// How an event finds its receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The one connection it is for, before `hello-ok`, without `seq`.
    Handshake,
    /// Every connection that passes the gate.
    Broadcast,
    /// Every connection that passes the gate; one with the cap `session-scoped-events` gets only
    /// the sessions whose messages it subscribed to. Tool events of `agent` go only to the
    /// recipients of the run.
    SessionStream,
    /// Connections that subscribed to sessions, or to the messages of this one.
    Subscribed,
}

/// What the table says about one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// The event.
    pub event: Event,
    /// Its wire name.
    pub name: &'static str,
    /// Who may see it on protocol 4.
    pub scope: ScopeRule,
    /// How it finds its receivers.
    pub delivery: Delivery,
    /// Whether a reader that is too slow loses it rather than its connection. `chat` decides by
    /// state.
    pub drop_if_slow: bool,
}

const fn row(event: Event, name: &'static str, scope: ScopeRule, delivery: Delivery) -> EventRow {
    EventRow {
        event,
        name,
        scope,
        delivery,
        drop_if_slow: false,
    }
}

const fn droppable(row: EventRow) -> EventRow {
    EventRow {
        drop_if_slow: true,
        ..row
    }
}

/// Every event, in the order of `hello-ok.features.events`.
const EVENTS: [EventRow; 13] = [
    row(
        Event::ConnectChallenge,
        "connect.challenge",
        ScopeRule::Open,
        Delivery::Handshake,
    ),
    row(Event::Agent, "agent", READ, Delivery::SessionStream),
    row(Event::Chat, "chat", READ, Delivery::SessionStream),
    row(
        Event::SessionMessage,
        "session.message",
        READ,
        Delivery::Subscribed,
    ),
    droppable(row(
        Event::SessionsChanged,
        "sessions.changed",
        READ,
        Delivery::Subscribed,
    )),
    droppable(row(Event::Presence, "presence", READ, Delivery::Broadcast)),
    row(Event::Tick, "tick", ScopeRule::Open, Delivery::Broadcast),
    row(
        Event::Health,
        "health",
        ScopeRule::Open,
        Delivery::Broadcast,
    ),
    row(
        Event::Shutdown,
        "shutdown",
        ScopeRule::Open,
        Delivery::Broadcast,
    ),
    droppable(row(
        Event::DevicePairRequested,
        "device.pair.requested",
        PAIRING,
        Delivery::Broadcast,
    )),
    droppable(row(
        Event::DevicePairResolved,
        "device.pair.resolved",
        PAIRING,
        Delivery::Broadcast,
    )),
    droppable(row(
        Event::SessionOperation,
        "session.operation",
        READ,
        Delivery::Subscribed,
    )),
    droppable(row(
        Event::SessionTool,
        "session.tool",
        READ,
        Delivery::Subscribed,
    )),
];

impl Event {
    /// Every event with what the table says about it.
    pub const fn table() -> &'static [EventRow] {
        &EVENTS
    }

    /// What the table says about this event.
    pub const fn row(self) -> &'static EventRow {
        match self {
            Self::ConnectChallenge => &EVENTS[0],
            Self::Agent => &EVENTS[1],
            Self::Chat => &EVENTS[2],
            Self::SessionMessage => &EVENTS[3],
            Self::SessionsChanged => &EVENTS[4],
            Self::Presence => &EVENTS[5],
            Self::Tick => &EVENTS[6],
            Self::Health => &EVENTS[7],
            Self::Shutdown => &EVENTS[8],
            Self::DevicePairRequested => &EVENTS[9],
            Self::DevicePairResolved => &EVENTS[10],
            Self::SessionOperation => &EVENTS[11],
            Self::SessionTool => &EVENTS[12],
        }
    }

    /// The wire name.
    pub const fn name(self) -> &'static str {
        self.row().name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_finds_its_own_row() {
        for row in Event::table() {
            assert_eq!(row.event.row(), row);
            let same = Event::table().iter().filter(|other| other.name == row.name);
            assert_eq!(same.count(), 1, "{row:?}");
        }
    }
}
