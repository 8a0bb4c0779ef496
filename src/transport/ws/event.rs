//! One event on the feed, encoded, with what decides who gets it.

use crate::ids::{SessionKey, WireId};
use crate::protocol::EncodedEvent;
use crate::protocol::events::Event as Kind;
use crate::protocol::projection::{Kind as RunKind, Projected, Receivers};
use crate::run::RunInfo;

use super::feed::Weigh;

/// Who an event is for, beside the gate of its kind (`protocol-facts` §7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// Every connection.
    All,
    /// Connections with `operator.admin`; [`Audience::Others`] get another form.
    Administrators,
    /// Connections without `operator.admin`.
    Others,
    /// Those who follow the runs of this session.
    Session(SessionKey),
    /// The recipients of the run's tool events.
    Tools(SessionKey),
    /// Those who follow the list of sessions or the messages of this one and are no recipients of
    /// the run's tool events.
    Watchers(SessionKey),
    /// Those who follow the list of sessions.
    List,
    /// Those who follow the list of sessions or the messages of this one.
    Messages(SessionKey),
}

/// One event on the feed.
#[derive(Debug)]
pub(super) struct Event {
    /// Which event it is.
    pub(super) kind: Kind,
    /// Its frame, but for the connection's number.
    pub(super) encoded: EncodedEvent,
    /// Who gets it.
    pub(super) audience: Audience,
    /// The run it is about.
    pub(super) run: Option<WireId>,
    /// How its projection made it, for a peer that must see another session key in it.
    projected: Option<Box<Projected>>,
    /// Whether a reader that is too slow loses it rather than its connection (§1.6).
    pub(super) is_droppable: bool,
    /// Whether it tells that the run has ended.
    pub(super) is_end: bool,
    /// What comes after it.
    pub(super) sequel: Sequel,
}

/// What comes after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sequel {
    /// More.
    More,
    /// Nothing of this run.
    EndOfRun,
    /// Nothing at all: the connection closes.
    Close,
}

impl Event {
    /// An event that is about no run.
    pub(super) fn new(kind: Kind, encoded: EncodedEvent, audience: Audience) -> Self {
        Self {
            kind,
            encoded,
            audience,
            run: None,
            projected: None,
            is_droppable: kind.row().drop_if_slow,
            is_end: false,
            sequel: Sequel::More,
        }
    }

    /// An event that is not one of the run's own, and tells that the run has ended all the same.
    pub(super) fn of_end(run: WireId, kind: Kind, encoded: EncodedEvent, to: Audience) -> Self {
        Self {
            run: Some(run),
            is_end: true,
            ..Self::new(kind, encoded, to)
        }
    }
}

impl Event {
    /// The last event: the connection closes behind it.
    pub(super) fn goodbye(kind: Kind, encoded: EncodedEvent) -> Self {
        Self {
            sequel: Sequel::Close,
            ..Self::new(kind, encoded, Audience::All)
        }
    }

    /// An event of a run.
    pub(super) fn of_run(info: &RunInfo, projected: Projected) -> Self {
        let audience = match &projected.receivers {
            Receivers::Session(session) => Audience::Session(session.clone()),
            Receivers::ToolRecipients(_run) => Audience::Tools(info.session.clone()),
        };
        let sequel = if projected.is_last {
            Sequel::EndOfRun
        } else {
            Sequel::More
        };
        Self {
            kind: projected.event,
            encoded: projected.encoded.clone(),
            audience,
            run: Some(info.wire_id.clone()),
            is_droppable: projected.droppable,
            is_end: projected.kind == RunKind::Terminal,
            sequel,
            projected: Some(Box::new(projected)),
        }
    }

    /// A step of a run with a tool, for those who only follow its session.
    pub(super) fn of_tool(info: &RunInfo, encoded: EncodedEvent) -> Self {
        Self {
            run: Some(info.wire_id.clone()),
            ..Self::new(
                Kind::SessionTool,
                encoded,
                Audience::Watchers(info.session.clone()),
            )
        }
    }

    /// Whether it is the step `status` of an answer.
    pub(super) fn is_chat_status(&self) -> bool {
        let projected = self.projected.as_ref();
        self.kind == Kind::Chat && projected.is_some_and(|it| it.kind == RunKind::Progress)
    }

    /// The event with another session key, for a peer that knows the session by that key.
    pub(super) fn renamed(&self, key: &str) -> Option<EncodedEvent> {
        self.projected.as_ref()?.with_session_key(key).ok()
    }
}

impl Weigh for Event {
    fn bytes(&self) -> usize {
        self.encoded.bytes_max()
    }
}
