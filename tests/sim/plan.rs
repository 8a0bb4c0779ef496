//! What a seed stands for: how the gateway is set up, what everybody does and what goes wrong when.

use std::time::Duration;

use serde_json::{Value, json};

/// Sessions the native clients share.
pub(crate) const SESSIONS: [&str; 3] = ["agent:main:one", "agent:main:two", "agent:main:three"];

/// How long a run may wait for its turn.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(20);

/// The secret of every simulated gateway.
pub(crate) const TOKEN: &str = "a-token-for-simulated-peers";

/// Numbers that follow from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another source that goes its own way.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub(crate) fn ms(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    /// True `percent` times out of a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.next() as usize % from.len()].clone()
    }
}

/// What the model server does in the middle of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Says nothing more and keeps the connection.
    Stall,
    /// Closes the connection.
    Close,
    /// Says what is no JSON.
    Garbage,
    /// Answers 500, always.
    Broken,
    /// Answers 500 the first time.
    Hiccup,
    /// Takes the request and says nothing.
    Mute,
    /// Stalls, and the agent does not listen when it is told to stop.
    Deaf,
}

/// What the model server is to say to a message; travels as the text of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    pub(crate) tag: String,
    pub(crate) words: u64,
    pub(crate) gap_ms: u64,
    pub(crate) fault: Fault,
    /// The word at which the fault happens.
    pub(crate) at: u64,
}

impl Script {
    fn random(rng: &mut Rng, tag: String) -> Self {
        let faults = [
            Fault::Stall,
            Fault::Close,
            Fault::Garbage,
            Fault::Broken,
            Fault::Hiccup,
            Fault::Mute,
            Fault::Deaf,
        ];
        let words = rng.between(1, 24);
        Self {
            tag,
            words,
            gap_ms: rng.pick(&[0, 0, 5, 20, 60, 120, 250]),
            fault: if rng.chance(25) {
                rng.pick(&faults)
            } else {
                Fault::None
            },
            at: rng.between(0, words),
        }
    }

    /// The message that asks for it.
    pub(crate) fn message(&self) -> String {
        let Self {
            tag,
            words,
            gap_ms,
            fault,
            at,
        } = self;
        format!("<{tag} {words} {gap_ms} {fault:?} {at}>")
    }

    /// The last script a message asks for.
    pub(crate) fn last_in(message: &str) -> Option<Self> {
        let start = message.rfind('<')?;
        let inner = message[start + 1..].split('>').next()?;
        let mut parts = inner.split(' ');
        let mut next = || parts.next();
        Some(Self {
            tag: next()?.to_owned(),
            words: next()?.parse().ok()?,
            gap_ms: next()?.parse().ok()?,
            fault: match next()? {
                "Stall" => Fault::Stall,
                "Close" => Fault::Close,
                "Garbage" => Fault::Garbage,
                "Broken" => Fault::Broken,
                "Hiccup" => Fault::Hiccup,
                "Mute" => Fault::Mute,
                "Deaf" => Fault::Deaf,
                _ => Fault::None,
            },
            at: next()?.parse().ok()?,
        })
    }

    pub(crate) fn word(&self, n: u64) -> String {
        format!("{}.{n} ", self.tag)
    }

    /// The whole answer.
    pub(crate) fn answer(&self) -> String {
        (0..self.words).map(|n| self.word(n)).collect()
    }
}

/// What a native client does next.
#[derive(Clone, Debug)]
pub(crate) enum NativeStep {
    Send {
        session: &'static str,
        method: &'static str,
        mode: Option<&'static str>,
        script: Script,
    },
    /// The last message again, with the same key.
    Repeat,
    Abort {
        session: &'static str,
        /// Only the client's newest run, else everything in the session.
        own: bool,
    },
    /// Drops the connection and comes back.
    Cut {
        away: Duration,
    },
    /// Stops reading.
    Stall {
        how_long: Duration,
    },
    Look {
        session: &'static str,
    },
    Pause(Duration),
}

/// What an HTTP caller does with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Whole,
    /// Goes away after so many bytes of the body.
    Leaves(usize),
    /// Stops reading for a while after the head.
    Stalls(Duration),
}

/// A call over HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) after: Duration,
    pub(crate) stream: bool,
    pub(crate) user: Option<&'static str>,
    pub(crate) key: Option<&'static str>,
    pub(crate) script: Script,
    pub(crate) reading: Reading,
}

/// What goes wrong with the network or the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing gets through between a host and the gateway any more; connections do not survive.
    Partition(String),
    Repair(String),
    /// What is sent between the two waits.
    Hold(String),
    Release(String),
    /// The process dies without a word and is started again.
    Crash,
    /// The process is asked to end, and another one is started after it.
    Drain,
}

/// Everything a seed decides.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) tick: Duration,
    pub(crate) latency: (Duration, Duration),
    pub(crate) drain: Duration,
    pub(crate) abort_grace: Duration,
    pub(crate) run_max: Duration,
    pub(crate) concurrent: u64,
    pub(crate) cap: u64,
    pub(crate) natives: Vec<Vec<NativeStep>>,
    pub(crate) callers: Vec<Vec<Call>>,
    /// In order of time since the start.
    pub(crate) troubles: Vec<(Duration, Trouble)>,
    pub(crate) rng: Rng,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x00c1_a390_0054_0de5);
        let modes: &[Option<&str>] = match rng.next() % 3 {
            0 => &[Some("followup")],
            1 => &[None, Some("followup"), Some("collect"), Some("steer")],
            _ => &[None, Some("interrupt"), Some("collect"), Some("followup")],
        };
        let natives = (0..rng.between(2, 4)).map(|client| native(&mut rng, client, modes));
        let natives: Vec<_> = natives.collect();
        let callers = (0..rng.between(1, 2)).map(|caller| calls(&mut rng, caller));
        let callers: Vec<_> = callers.collect();
        let troubles = troubles(&mut rng, natives.len(), callers.len());
        let low = rng.between(1, 10);
        Self {
            seed,
            tick: rng.pick(&[5, 10, 10, 20]).into_ms(),
            latency: (low.into_ms(), (low + rng.between(0, 40)).into_ms()),
            drain: rng.ms(500, 4000),
            abort_grace: rng.ms(100, 600),
            run_max: rng.ms(3000, 6000),
            concurrent: rng.between(1, 5),
            cap: rng.between(2, 8),
            natives,
            callers,
            troubles,
            rng,
        }
    }

    /// The configuration file of the gateway.
    pub(crate) fn config(&self) -> Value {
        json!({
            "gateway": {
                "auth": {"mode": "token", "token": TOKEN},
                "http": {"endpoints": {"chatCompletions": {"enabled": true}}},
                "drainSeconds": self.drain.as_secs().max(1),
            },
            "messages": {"queue": {
                "cap": self.cap,
                "waitSeconds": WAIT_MAX.as_secs(),
                "debounceMs": 100,
            }},
            "agents": {"defaults": {
                "model": "sim/echo",
                "timeoutSeconds": self.run_max.as_secs(),
                "idleSeconds": 2,
                "abortGraceMs": self.abort_grace.as_millis() as u64,
                "maxConcurrent": self.concurrent,
            }},
        })
    }
}

trait IntoMs {
    fn into_ms(self) -> Duration;
}

impl IntoMs for u64 {
    fn into_ms(self) -> Duration {
        Duration::from_millis(self)
    }
}

fn native(rng: &mut Rng, client: u64, modes: &[Option<&'static str>]) -> Vec<NativeStep> {
    let mut steps = Vec::new();
    for n in 0..rng.between(4, 9) {
        let session = rng.pick(&SESSIONS);
        steps.push(match rng.next() % 20 {
            0..=8 => {
                let is_chat = rng.chance(70);
                NativeStep::Send {
                    session,
                    method: if is_chat { "chat.send" } else { "agent" },
                    mode: if is_chat { rng.pick(modes) } else { None },
                    script: Script::random(rng, format!("n{client}-{n}")),
                }
            }
            9 => NativeStep::Repeat,
            10 | 11 => NativeStep::Abort {
                session,
                own: rng.chance(60),
            },
            12 | 13 => NativeStep::Cut {
                away: rng.ms(0, 1500),
            },
            14 => NativeStep::Stall {
                how_long: rng.ms(200, 2500),
            },
            15 => NativeStep::Look { session },
            _ => NativeStep::Pause(rng.ms(10, 900)),
        });
    }
    steps
}

fn calls(rng: &mut Rng, caller: u64) -> Vec<Call> {
    (0..rng.between(1, 5))
        .map(|n| Call {
            after: rng.ms(0, 800),
            stream: rng.chance(60),
            user: rng.chance(50).then_some("someone"),
            key: rng.chance(25).then(|| rng.pick(&SESSIONS)),
            script: Script::random(rng, format!("h{caller}-{n}")),
            reading: match rng.next() % 10 {
                0 | 1 => Reading::Leaves(rng.between(0, 400) as usize),
                2 => Reading::Stalls(rng.ms(100, 2500)),
                _ => Reading::Whole,
            },
        })
        .collect()
}

fn troubles(rng: &mut Rng, natives: usize, callers: usize) -> Vec<(Duration, Trouble)> {
    let mut found = Vec::new();
    let mut hosts: Vec<_> = (0..natives).map(|n| format!("native{n}")).collect();
    hosts.extend((0..callers).map(|n| format!("caller{n}")));
    hosts.push("upstream".to_owned());
    for _ in 0..rng.next() % 4 {
        let host = rng.pick(&hosts);
        // One trouble for each, so that no repair ends another's.
        hosts.retain(|other| *other != host);
        let from = rng.ms(50, 3000);
        let until = from + rng.ms(50, 2500);
        if rng.chance(50) {
            found.push((from, Trouble::Partition(host.clone())));
            found.push((until, Trouble::Repair(host)));
        } else {
            found.push((from, Trouble::Hold(host.clone())));
            found.push((until, Trouble::Release(host)));
        }
    }
    match rng.next() % 10 {
        0..=2 => found.push((rng.ms(200, 3000), Trouble::Crash)),
        3..=6 => found.push((rng.ms(200, 3000), Trouble::Drain)),
        _ => {}
    }
    found.sort_by_key(|(at, _)| *at);
    found
}
