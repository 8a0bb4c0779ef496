//! Which events of the feed one connection gets: its scopes, capabilities and subscriptions.
//!
//! Pure: it is asked about an event and told about subscriptions. Owns no socket and no cursor.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::auth::{EventGate, Role, Scope, ScopeSet};
use crate::ids::{SessionKey, WireId};
use crate::protocol::events::Event as Kind;

use super::event::{Audience, Event, Sequel};

/// Sessions one connection can follow.
pub(super) const SESSIONS_MAX: usize = 1000;

/// Runs of its own whose tool events one connection gets; older ones are forgotten first.
const RUNS_MAX: usize = 256;

/// What a client can do, as far as it decides which events it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Caps {
    /// It shows tool events.
    pub(super) tool_events: bool,
    /// It wants only the sessions it subscribed to.
    pub(super) session_scoped: bool,
    /// It knows the step `status` of an answer, which protocol 3 does not have.
    pub(super) chat_status: bool,
}

/// What one connection sees of the feed.
#[derive(Debug)]
pub(super) struct Viewer {
    /// One bit per row of the table of events.
    gates: u32,
    is_admin: bool,
    caps: Caps,
    follows_list: bool,
    sessions: HashSet<SessionKey>,
    /// Runs this connection asked for, oldest first, with the session key it used for them when
    /// that is not the canonical one.
    runs: VecDeque<WireId>,
    aliases: HashMap<WireId, Arc<str>>,
}

/// The connection follows as many sessions as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManySessions;

impl Viewer {
    /// A connection with these rights that follows nothing yet.
    pub(super) fn new(role: Role, scopes: &ScopeSet, caps: Caps) -> Self {
        let rows = Kind::table().iter().enumerate();
        let gates = rows
            .filter(|(_, row)| EventGate::of(row.name).passes(role, scopes))
            .fold(0, |gates, (bit, _)| gates | 1 << bit);
        Self {
            gates,
            is_admin: scopes.allows(Scope::Admin),
            caps,
            follows_list: false,
            sessions: HashSet::new(),
            runs: VecDeque::new(),
            aliases: HashMap::new(),
        }
    }

    /// Whether the connection passes the gate of this event at all.
    pub(super) fn may_see(&self, kind: Kind) -> bool {
        let bit = Kind::table().iter().position(|row| row.event == kind);
        bit.is_some_and(|bit| self.gates & 1 << bit != 0)
    }

    /// Whether runs of every session are shown, not only of those it follows.
    pub(super) const fn follows_every_run(&self) -> bool {
        !self.caps.session_scoped
    }

    /// Whether the connection gets this event.
    pub(super) fn wants(&self, event: &Event) -> bool {
        let is_addressed = match &event.audience {
            Audience::All => true,
            Audience::Administrators => self.is_admin,
            Audience::Others => !self.is_admin,
            Audience::Session(session) => {
                !self.caps.session_scoped || self.sessions.contains(session)
            }
            Audience::Tools(session) => self.wants_tools(event.run.as_ref(), session),
            Audience::List => self.follows_list,
            Audience::Messages(session) => self.follows_messages(session),
            Audience::Watchers(session) => {
                self.follows_messages(session) && !self.wants_tools(event.run.as_ref(), session)
            }
        };
        let is_known = self.caps.chat_status || !event.is_chat_status();
        is_addressed && is_known && self.may_see(event.kind)
    }

    fn follows_messages(&self, session: &SessionKey) -> bool {
        self.follows_list || self.sessions.contains(session)
    }

    fn wants_tools(&self, run: Option<&WireId>, session: &SessionKey) -> bool {
        let is_own = || run.is_some_and(|run| self.runs.contains(run));
        self.caps.tool_events && (self.sessions.contains(session) || is_own())
    }

    /// Follows the list of sessions.
    pub(super) const fn follow_list(&mut self) {
        self.follows_list = true;
    }

    /// Follows the messages and runs of a session; true when it did not already.
    ///
    /// # Errors
    /// [`TooManySessions`].
    pub(super) fn follow(&mut self, session: &SessionKey) -> Result<bool, TooManySessions> {
        if self.sessions.contains(session) {
            return Ok(false);
        }
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(TooManySessions);
        }
        Ok(self.sessions.insert(session.clone()))
    }

    /// Follows a session no longer; true when it did.
    pub(super) fn unfollow(&mut self, session: &SessionKey) -> bool {
        self.sessions.remove(session)
    }

    /// Notes a run this connection asked for. `alias` is the session key it used, when events of
    /// the run must name the session that way.
    pub(super) fn asked_for(&mut self, run: &WireId, alias: Option<Arc<str>>) {
        if self.runs.contains(run) {
            return;
        }
        if self.runs.len() >= RUNS_MAX
            && let Some(oldest) = self.runs.pop_front()
        {
            self.aliases.remove(&oldest);
        }
        self.runs.push_back(run.clone());
        if let Some(alias) = alias {
            self.aliases.insert(run.clone(), alias);
        }
    }

    /// The session key this connection used for the run of the event, when it is not the canonical
    /// one.
    pub(super) fn alias(&self, event: &Event) -> Option<&Arc<str>> {
        event.run.as_ref().and_then(|run| self.aliases.get(run))
    }

    /// Notes that an event was taken from the feed.
    pub(super) fn passed(&mut self, event: &Event) {
        let Some(run) = event.run.as_ref() else {
            return;
        };
        if event.sequel == Sequel::EndOfRun && !self.runs.is_empty() {
            self.runs.retain(|own| own != run);
            self.aliases.remove(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::EncodedEvent;

    fn session(name: &str) -> SessionKey {
        SessionKey::from_canonical(format!("agent:main:{name}"))
    }

    fn event(kind: Kind, audience: Audience) -> Event {
        let encoded = EncodedEvent::new(kind.name(), &serde_json::json!({})).unwrap();
        let mut event = Event::new(kind, encoded, audience);
        event.run = Some(WireId::parse("r1").unwrap());
        event
    }

    fn viewer(scopes: &[&str], caps: Caps) -> Viewer {
        Viewer::new(Role::Operator, &scopes.iter().copied().collect(), caps)
    }

    const NO_CAPS: Caps = Caps {
        tool_events: false,
        session_scoped: false,
        chat_status: true,
    };

    fn check(viewer: &Viewer, kind: Kind, audience: Audience, expected: bool) {
        let event = event(kind, audience);
        assert_eq!(viewer.wants(&event), expected, "{event:?}");
    }

    #[test]
    fn the_gate_of_the_event_comes_first() {
        let bare = viewer(&[], NO_CAPS);
        let reader = viewer(&["operator.read"], NO_CAPS);
        let node = Viewer::new(
            Role::Node,
            &["operator.admin"].into_iter().collect(),
            NO_CAPS,
        );
        for viewer in [&bare, &reader, &node] {
            check(viewer, Kind::Tick, Audience::All, true);
            check(viewer, Kind::Shutdown, Audience::All, true);
        }
        for viewer in [&bare, &node] {
            check(viewer, Kind::Presence, Audience::All, false);
            check(viewer, Kind::Chat, Audience::Session(session("a")), false);
        }
        check(&reader, Kind::Presence, Audience::All, true);
        check(&reader, Kind::Chat, Audience::Session(session("a")), true);
    }

    #[test]
    fn health_has_one_form_for_administrators_and_one_for_others() {
        let admin = viewer(&["operator.admin"], NO_CAPS);
        let reader = viewer(&["operator.read"], NO_CAPS);
        check(&admin, Kind::Health, Audience::Administrators, true);
        check(&admin, Kind::Health, Audience::Others, false);
        check(&reader, Kind::Health, Audience::Administrators, false);
        check(&reader, Kind::Health, Audience::Others, true);
    }

    #[test]
    fn a_scoped_client_gets_only_the_sessions_it_follows() {
        let mut scoped = viewer(
            &["operator.read"],
            Caps {
                session_scoped: true,
                ..NO_CAPS
            },
        );
        let stream = || Audience::Session(session("a"));
        check(&scoped, Kind::Agent, stream(), false);
        assert_eq!(scoped.follow(&session("a")), Ok(true));
        assert_eq!(scoped.follow(&session("a")), Ok(false));
        check(&scoped, Kind::Agent, stream(), true);
        check(&scoped, Kind::Agent, Audience::Session(session("b")), false);
        assert!(scoped.unfollow(&session("a")));
        check(&scoped, Kind::Agent, stream(), false);
    }

    #[test]
    fn messages_and_changes_go_to_those_who_follow() {
        let mut viewer = viewer(&["operator.read"], NO_CAPS);
        let message = || Audience::Messages(session("a"));
        check(&viewer, Kind::SessionMessage, message(), false);
        viewer.follow(&session("a")).unwrap();
        check(&viewer, Kind::SessionMessage, message(), true);
        check(&viewer, Kind::SessionsChanged, Audience::List, false);
        viewer.follow_list();
        check(&viewer, Kind::SessionsChanged, Audience::List, true);
        let other = Audience::Messages(session("b"));
        check(&viewer, Kind::SessionMessage, other, true);
    }

    #[test]
    fn tool_events_go_to_capable_recipients_only() {
        let tools = || Audience::Tools(session("a"));
        let run = WireId::parse("r1").unwrap();
        let caps = Caps {
            tool_events: true,
            ..NO_CAPS
        };
        let mut plain = viewer(&["operator.read"], NO_CAPS);
        let mut capable = viewer(&["operator.read"], caps);
        for viewer in [&plain, &capable] {
            check(viewer, Kind::Agent, tools(), false);
        }
        plain.asked_for(&run, None);
        capable.asked_for(&run, None);
        check(&plain, Kind::Agent, tools(), false);
        check(&capable, Kind::Agent, tools(), true);
        let mut last = event(Kind::Chat, Audience::Session(session("a")));
        last.sequel = Sequel::EndOfRun;
        capable.passed(&last);
        check(&capable, Kind::Agent, tools(), false);
        capable.follow(&session("a")).unwrap();
        check(&capable, Kind::Agent, tools(), true);
    }

    #[test]
    fn who_follows_a_session_is_told_of_tools_once() {
        let watched = || Audience::Watchers(session("a"));
        let caps = Caps {
            tool_events: true,
            ..NO_CAPS
        };
        let mut plain = viewer(&["operator.read"], NO_CAPS);
        let mut capable = viewer(&["operator.read"], caps);
        for viewer in [&plain, &capable] {
            check(viewer, Kind::SessionTool, watched(), false);
        }
        plain.follow(&session("a")).unwrap();
        check(&plain, Kind::SessionTool, watched(), true);
        capable.follow_list();
        check(&capable, Kind::SessionTool, watched(), true);
        // From here on `agent` tells it.
        capable.follow(&session("a")).unwrap();
        check(&capable, Kind::SessionTool, watched(), false);
        check(&capable, Kind::Agent, Audience::Tools(session("a")), true);
    }

    #[test]
    fn what_a_connection_can_ask_to_remember_is_bounded() {
        let mut viewer = viewer(&["operator.read"], NO_CAPS);
        for at in 0..SESSIONS_MAX {
            assert_eq!(viewer.follow(&session(&at.to_string())), Ok(true));
        }
        assert_eq!(viewer.follow(&session("x")), Err(TooManySessions));
        assert_eq!(viewer.follow(&session("0")), Ok(false));
        for at in 0..2 * RUNS_MAX {
            let run = WireId::parse(&format!("r{at}")).unwrap();
            viewer.asked_for(&run, Some("main".into()));
        }
        assert_eq!(
            (viewer.runs.len(), viewer.aliases.len()),
            (RUNS_MAX, RUNS_MAX)
        );
    }
}
