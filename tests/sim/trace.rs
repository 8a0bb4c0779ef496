//! Everything that happened in one simulation, in order.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::plan::Plan;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// The gateway's process began; they are counted.
    Boot(u32),
    /// The process died.
    Crash,
    /// The scheduler told that a run was accepted.
    Accepted {
        run: String,
        wire: String,
        session: String,
        stored: bool,
    },
    /// Its agent was started.
    Started {
        run: String,
    },
    /// It ended.
    Ended {
        run: String,
        status: &'static str,
        text: String,
    },
    /// A client sends.
    Asked {
        wire: String,
        session: String,
        mode: String,
    },
    /// It was told that the run is accepted.
    Acknowledged {
        wire: String,
    },
    /// It was told no.
    Refused {
        wire: String,
        why: String,
    },
    /// The connection ended before an answer came.
    Unanswered {
        wire: String,
    },
    /// A connection of a client began.
    Connected {
        connection: String,
    },
    Disconnected {
        connection: String,
        how: String,
    },
    /// A reader got text of a run: what is new, and everything so far.
    Delta {
        connection: String,
        wire: String,
        new: String,
        whole: String,
        replaces: bool,
    },
    /// A reader was told how a run ended.
    Told {
        connection: String,
        wire: String,
        state: String,
        text: String,
    },
    /// The numbers of events jumped, so that some were left out on purpose.
    Gap {
        connection: String,
    },
    /// A client that came back read what a run has said meanwhile.
    CaughtUp {
        connection: String,
        wire: String,
        text: String,
    },
    /// `agent.wait` answered.
    Waited {
        wire: String,
        status: String,
    },
    /// A client gave up waiting: never happens.
    Stuck {
        who: String,
    },
    /// An HTTP call and what came of it.
    Answered {
        tag: String,
        status: u16,
        text: String,
        complete: bool,
        error: bool,
    },
    /// An HTTP caller saw its connection end early.
    CutOff {
        tag: String,
    },
    /// The caller left.
    Left {
        tag: String,
    },
    /// The model server was asked.
    Upstream {
        tag: String,
    },
    Trouble(String),
    /// A drain is over.
    Drained {
        took: Duration,
    },
    /// What is left of it all when everybody has gone.
    Rest {
        active: u64,
        waiting: u64,
        lanes: u64,
        connections: i64,
    },
    /// A row of the ledger at the end.
    Row {
        run: String,
        wire: String,
        session: String,
        status: Option<&'static str>,
        started: bool,
    },
    /// An entry of a transcript at the end.
    Entry {
        session: String,
        wire: Option<String>,
        role: &'static str,
        text: String,
    },
}

/// A simulation's facts, with the time of each.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub(crate) plan: Plan,
    pub(crate) facts: Vec<(Duration, Fact)>,
}

impl Happened {
    /// A digest of every fact and its time.
    pub(crate) fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (at, fact) in &self.facts {
            (at, format!("{fact:?}")).hash(&mut hasher);
        }
        hasher.finish()
    }

    pub(crate) fn facts(&self) -> impl Iterator<Item = &Fact> {
        self.facts.iter().map(|(_, fact)| fact)
    }

    /// Where another simulation went another way.
    pub(crate) fn first_difference(&self, other: &Self) -> Option<(String, String)> {
        let longest = self.facts.len().max(other.facts.len());
        (0..longest).find_map(|n| {
            let (one, two) = (self.facts.get(n), other.facts.get(n));
            (one != two).then(|| (format!("{one:?}"), format!("{two:?}")))
        })
    }

    /// Everything, to be read.
    pub(crate) fn story(&self) -> String {
        let mut story = format!("{:#?}\n", self.plan);
        for (at, fact) in &self.facts {
            writeln!(story, "{:>9.3} {fact:?}", at.as_secs_f64()).unwrap();
        }
        story
    }
}

/// Where facts are noted, by every host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace(Arc<Mutex<Vec<(Duration, Fact)>>>);

impl Trace {
    pub(crate) fn note(&self, fact: Fact) {
        let at = if turmoil::in_simulation() {
            turmoil::sim_elapsed().unwrap_or_default()
        } else {
            self.0
                .lock()
                .unwrap()
                .last()
                .map_or(Duration::ZERO, |(at, _)| *at)
        };
        self.0.lock().unwrap().push((at, fact));
    }

    pub(crate) fn take(&self) -> Vec<(Duration, Fact)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}
