//! The lanes beside a reference model, over random operations and times.
//!
//! The model keeps everything in the simplest possible way and knows what must hold: one active run
//! per lane, first in first out, every cap and bound, turns between credentials and parties, shares
//! of agents by their weights, one end per run, no lost wake-up, no lost deadline. A second test
//! breaks the lanes in every such way and wants the model to notice.

#![allow(clippy::unwrap_used, clippy::as_conversions, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::time::Instant;
use uuid::Uuid;

use crate::ids::{AgentId, RunId, SessionKey};

use super::lanes::{Action, Cancelled, Caps, Lanes, Refusal, Standing, Submission};

const HOLD: Duration = Duration::from_secs(150);
const WAIT: Duration = Duration::from_secs(100);
const GRACE: Duration = Duration::from_secs(2);

/// Turns somebody else may have before one that could go as well: the one that is about to be
/// taken, and the next when both came to the same turn.
const TURNS_MAX: u32 = 2;

#[derive(Clone, Debug)]
enum Op {
    Submit {
        lane: u8,
        agent: u8,
        party: u8,
        hold_back: Option<u8>,
    },
    Finish(prop::sample::Index),
    Cancel(prop::sample::Index),
    Wait(u8),
}

/// One party asks more often than the others, so that its agents have to share.
fn party() -> impl Strategy<Value = u8> {
    prop_oneof![Just(2), 0..6_u8]
}

/// One sequence of operations under its caps.
#[derive(Clone, Debug)]
struct Script {
    caps: Caps,
    agent_active_max: u32,
    weights: [u32; 2],
    ops: Vec<Op>,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0..6_u8, 0..2_u8, party(), prop::option::weighted(0.2, 0..30_u8)).prop_map(
            |(lane, agent, party, hold_back)| Op::Submit { lane, agent, party, hold_back }
        ),
        4 => any::<prop::sample::Index>().prop_map(Op::Finish),
        1 => any::<prop::sample::Index>().prop_map(Op::Cancel),
        1 => (0..120_u8).prop_map(Op::Wait),
    ]
}

fn script(ops: std::ops::Range<usize>) -> impl Strategy<Value = Script> {
    let caps = (1..5_u32, 1..40_u32, 1..5_u32, 1..4_u32);
    let weight = || prop::sample::select(vec![1, 1, 2, 3, 7]);
    let weights = [weight(), weight()];
    let parts = (caps, weights, prop::collection::vec(op(), ops));
    parts.prop_map(|((active, waiting, lane, agent), weights, ops)| Script {
        caps: Caps {
            active_max: active,
            waiting_max: waiting,
            lane_waiting_max: lane,
            credential_waiting_max: waiting,
            party_waiting_max: waiting,
            wait: WAIT,
        },
        agent_active_max: agent,
        weights,
        ops,
    })
}

fn run_id(n: u64) -> RunId {
    RunId::from_uuid(Uuid::from_u64_pair(0, n))
}

fn number(run: RunId) -> u64 {
    run.as_uuid().as_u64_pair().1
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap()
}

/// Ways the lanes can be wrong, done to them from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// One active run more than the cap.
    OneTooMany,
    /// An agent has one active run more.
    AgentTooMany,
    /// A lane takes one waiting run more.
    LaneTooLong,
    /// Runs of a lane are not kept apart.
    TwoInALane,
    /// Everybody counts as one credential.
    NoCredentials,
    /// Everybody counts as one party of its credential.
    NoParties,
    /// Every agent has the same weight.
    NoWeights,
    /// Some starts are not told.
    LostStart,
    /// Some starts are told twice.
    DoubleStart,
    /// Time passes unnoticed.
    LostDeadline,
    /// A cancelled run keeps its slot for as long as any other.
    NoGrace,
    /// A run that ended keeps its slot.
    LostSlot,
    /// A lane that is held back starts at once.
    NoPause,
}

const FAULTS: [Fault; 13] = [
    Fault::OneTooMany,
    Fault::AgentTooMany,
    Fault::LaneTooLong,
    Fault::TwoInALane,
    Fault::NoCredentials,
    Fault::NoParties,
    Fault::NoWeights,
    Fault::LostStart,
    Fault::DoubleStart,
    Fault::LostDeadline,
    Fault::NoGrace,
    Fault::LostSlot,
    Fault::NoPause,
];

/// The lanes, with a fault.
struct Subject {
    lanes: Lanes,
    fault: Fault,
    started: u32,
    again: Option<Action>,
}

impl Subject {
    fn new(mut caps: Caps, fault: Fault) -> Self {
        if fault == Fault::OneTooMany {
            caps.active_max += 1;
        }
        if fault == Fault::LaneTooLong {
            caps.lane_waiting_max += 1;
        }
        Self {
            lanes: Lanes::new(caps),
            fault,
            started: 0,
            again: None,
        }
    }

    fn submit(&mut self, mut run: Submission, now: Instant) -> Result<Standing, Refusal> {
        match self.fault {
            Fault::AgentTooMany => run.agent_active_max += 1,
            Fault::TwoInALane => {
                let half = number(run.run) % 2;
                run.lane = SessionKey::from_canonical(format!("{}-{half}", run.lane));
            }
            Fault::NoCredentials => {
                run.party = format!("{}-{}", run.credential, run.party).into();
                run.credential = "all".into();
            }
            Fault::NoParties => run.party = "all".into(),
            Fault::NoWeights => run.agent_weight = 1,
            Fault::NoGrace => run.grace = HOLD,
            Fault::None
            | Fault::NoPause
            | Fault::OneTooMany
            | Fault::LaneTooLong
            | Fault::LostStart
            | Fault::DoubleStart
            | Fault::LostDeadline
            | Fault::LostSlot => {}
        }
        self.lanes.submit(run, now)
    }

    fn accepted(&mut self, run: RunId, hold_back: Option<Duration>, now: Instant) {
        let hold_back = hold_back.filter(|_| self.fault != Fault::NoPause);
        self.lanes.accepted(run, hold_back, now);
    }

    fn finished(&mut self, run: RunId, now: Instant) {
        if self.fault != Fault::LostSlot || !number(run).is_multiple_of(3) {
            self.lanes.finished(run, now);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.fault != Fault::LostDeadline {
            self.lanes.handle_timeout(now);
        }
    }

    fn poll_action(&mut self) -> Option<Action> {
        if let Some(again) = self.again.take() {
            return Some(again);
        }
        let action = self.lanes.poll_action()?;
        if !matches!(action, Action::Start(_)) {
            return Some(action);
        }
        self.started += 1;
        let now_and_then = self.started.is_multiple_of(5);
        match self.fault {
            Fault::LostStart if now_and_then => self.poll_action(),
            Fault::DoubleStart if now_and_then => {
                self.again = Some(action);
                Some(action)
            }
            _ => Some(action),
        }
    }
}

#[derive(Clone, Debug)]
struct Known {
    lane: String,
    agent: String,
    credential: String,
    party: String,
    /// When it expires, or when its slot is taken back.
    until: Instant,
}

/// What the lanes must look like.
#[derive(Debug)]
struct Model {
    caps: Caps,
    agent_active_max: usize,
    weights: [u32; 2],
    /// Lane -> runs in order; the first is active if it is in `active`.
    lanes: BTreeMap<String, Vec<u64>>,
    active: BTreeMap<u64, Known>,
    waiting: BTreeMap<u64, Known>,
    /// Lane -> before when it does not start, as long as it has runs.
    not_before: BTreeMap<String, Instant>,
    /// (who waits, who went) -> how often, since the first could have gone.
    passed: BTreeMap<(String, String), u32>,
    /// Party -> how often each agent went for it, since both could go.
    shared: BTreeMap<String, [u32; 2]>,
    accepted: u64,
    ended: u64,
    now: Instant,
    /// Before the operation that is carried out: what is ready since is not yet looked at.
    before: Instant,
}

impl Model {
    fn new(script: &Script, now: Instant) -> Self {
        Self {
            caps: script.caps,
            agent_active_max: script.agent_active_max as usize,
            weights: script.weights,
            lanes: BTreeMap::new(),
            active: BTreeMap::new(),
            waiting: BTreeMap::new(),
            not_before: BTreeMap::new(),
            passed: BTreeMap::new(),
            shared: BTreeMap::new(),
            accepted: 0,
            ended: 0,
            now,
            before: now,
        }
    }

    fn take(&mut self, n: u64, run: Known, pause: Option<Duration>) {
        let lane = run.lane.clone();
        if let (Some(pause), true) = (pause, self.lanes.contains_key(&lane)) {
            self.not_before.insert(lane.clone(), self.now + pause);
        }
        self.lanes.entry(lane).or_default().push(n);
        self.waiting.insert(n, run);
        self.accepted += 1;
    }

    fn agent_active(&self, agent: &str) -> usize {
        let active = self.active.values();
        active.filter(|run| run.agent == agent).count()
    }

    /// The runs that could have a slot if there is one, as seen at `at`.
    fn ready(&self, at: Instant) -> Vec<&Known> {
        let heads = self.lanes.iter().filter(|(lane, runs)| {
            let pause = self.not_before.get(*lane);
            !self.active.contains_key(&runs[0]) && pause.is_none_or(|until| *until <= at)
        });
        let heads = heads.map(|(_, runs)| &self.waiting[&runs[0]]);
        heads
            .filter(|run| self.agent_active(&run.agent) < self.agent_active_max)
            .collect()
    }

    fn start(&mut self, n: u64) {
        let run = self.waiting.get(&n).expect("a started run waited").clone();
        let lane = &run.lane;
        let is_free = !self.active.values().any(|other| other.lane == *lane);
        assert!(is_free, "two active runs in {lane}");
        assert_eq!(self.lanes[lane][0], n, "not the oldest of {lane}");
        let pause = self.not_before.get(lane);
        assert!(pause.is_none_or(|at| *at <= self.now), "{lane} has a pause");
        self.pass(&run);
        self.share(&run);
        self.waiting.remove(&n);
        let until = self.now + HOLD;
        self.active.insert(n, Known { until, ..run });
        self.forget_turns();
    }

    /// Counts the turn against everybody who could have gone instead.
    fn pass(&mut self, run: &Known) {
        let mut others = BTreeSet::new();
        for other in self.ready(self.before) {
            if other.credential != run.credential {
                others.insert((other.credential.clone(), run.credential.clone()));
            } else if other.party != run.party {
                others.insert((other.party.clone(), run.party.clone()));
            }
        }
        self.passed
            .retain(|(who, _), _| *who != run.credential && *who != run.party);
        for pair in others {
            let turns = self.passed.entry(pair.clone()).or_default();
            *turns += 1;
            assert!(*turns <= TURNS_MAX, "{pair:?}: {turns} turns in a row");
        }
    }

    /// Counts the turn for its agent, if the other agent could have gone for the same party. While
    /// both can, neither may be further ahead of its share than one turn of each.
    fn share(&mut self, run: &Known) {
        let mine = usize::from(run.agent != "a0");
        let is_shared = self.ready(self.before).iter().any(|other| {
            (&other.party, &other.credential) == (&run.party, &run.credential)
                && other.agent != run.agent
        });
        if !is_shared {
            self.shared.remove(&run.party);
            return;
        }
        let turns = self.shared.entry(run.party.clone()).or_default();
        turns[mine] += 1;
        let [first, second] = self.weights;
        let ahead = (turns[0] * second).abs_diff(turns[1] * first);
        assert!(
            ahead <= first + second,
            "{}: {turns:?} by weights {:?}",
            run.party,
            self.weights
        );
    }

    /// Forgets the turns of those who have nothing ready any more: their wait is over.
    fn forget_turns(&mut self) {
        let ready = self.ready(self.now);
        let can_go: BTreeSet<(String, String)> = ready
            .iter()
            .map(|run| (run.party.clone(), run.agent.clone()))
            .collect();
        let names: BTreeSet<String> = ready
            .iter()
            .flat_map(|run| [run.credential.clone(), run.party.clone()])
            .collect();
        let both = |party: &String| {
            let mut agents = ["a0", "a1"].into_iter();
            agents.all(|agent| can_go.contains(&(party.clone(), agent.to_owned())))
        };
        self.shared.retain(|party, _| both(party));
        self.passed.retain(|(who, _), _| names.contains(who));
    }

    /// The one end of a run that waits or is active.
    fn end(&mut self, n: u64) {
        let waited = self.waiting.remove(&n);
        let has_waited = waited.is_some();
        let run = waited.or_else(|| self.active.remove(&n));
        let run = run.expect("a run ends once");
        self.ended += 1;
        if self.lanes[&run.lane][0] == n {
            // Its lane stands anew, for the next run in it.
            if has_waited {
                self.shared.remove(&run.party);
            }
            self.passed
                .retain(|(who, _), _| *who != run.credential && *who != run.party);
        }
        let runs = self.lanes.get_mut(&run.lane).expect("the lane of a run");
        runs.retain(|other| *other != n);
        if runs.is_empty() {
            self.lanes.remove(&run.lane);
            self.not_before.remove(&run.lane);
        }
        self.forget_turns();
    }

    fn check_refusal(&self, lane: &str, refusal: Refusal) {
        let lane_waiting = self.lanes.get(lane).map_or(0, |runs| {
            runs.iter().filter(|n| self.waiting.contains_key(n)).count()
        });
        let is_right = match refusal {
            Refusal::LaneFull => lane_waiting >= self.caps.lane_waiting_max as usize,
            Refusal::GatewayFull => self.waiting.len() >= self.caps.waiting_max as usize,
            Refusal::CredentialFull | Refusal::PartyFull | Refusal::Draining => false,
        };
        assert!(is_right, "{lane} was refused: {refusal:?}");
    }

    fn pauses(&self) -> impl Iterator<Item = Instant> {
        let idle = self
            .lanes
            .iter()
            .filter(|(_, runs)| !self.active.contains_key(&runs[0]));
        idle.filter_map(|(lane, _)| self.not_before.get(lane).copied())
            .filter(|at| *at > self.now)
    }

    fn check(&self, lanes: &Lanes) {
        let shown = (lanes.active(), lanes.waiting(), lanes.lanes());
        let expected = (
            count(self.active.len()),
            count(self.waiting.len()),
            self.lanes.len(),
        );
        assert_eq!(shown, expected);
        assert!(lanes.active() <= self.caps.active_max && lanes.waiting() <= self.caps.waiting_max);
        for agent in ["a0", "a1"] {
            assert!(self.agent_active(agent) <= self.agent_active_max, "{agent}");
        }
        for (lane, runs) in &self.lanes {
            let waiting = runs.iter().filter(|n| self.waiting.contains_key(n)).count();
            assert!(
                waiting <= self.caps.lane_waiting_max as usize,
                "{lane} is too long"
            );
        }
        let is_full = lanes.active() == self.caps.active_max;
        assert!(
            is_full || self.ready(self.now).is_empty(),
            "a slot is idle: {self:?}"
        );
        let deadlines = self.waiting.values().chain(self.active.values());
        let deadlines = deadlines.map(|run| run.until);
        assert!(
            deadlines.clone().all(|at| at > self.now),
            "a deadline passed unnoticed"
        );
        let next = deadlines.chain(self.pauses()).min();
        assert_eq!(lanes.poll_timeout(), next, "a deadline is lost or late");
    }
}

/// The lanes and the model, side by side.
struct Pair {
    subject: Subject,
    model: Model,
}

impl Pair {
    fn settle(&mut self) {
        while let Some(action) = self.subject.poll_action() {
            match action {
                Action::Start(run) => self.model.start(number(run)),
                Action::Expire(run) => {
                    assert!(self.model.waiting.contains_key(&number(run)));
                    self.model.end(number(run));
                }
                Action::Reclaim(run) => {
                    assert!(self.model.active.contains_key(&number(run)));
                    self.model.end(number(run));
                }
            }
        }
    }

    /// Credentials have one party each, but the last has many.
    fn submit(&mut self, n: u64, [lane, agent, party]: [u8; 3], hold_back: Option<u8>) {
        let hold_back = hold_back.map(|seconds| Duration::from_secs(seconds.into()));
        let now = self.model.now;
        let run = Submission {
            run: run_id(n),
            lane: SessionKey::from_canonical(format!("agent:a{agent}:{lane}")),
            agent: AgentId::parse(&format!("a{agent}")).unwrap(),
            agent_active_max: count(self.model.agent_active_max),
            agent_weight: self.model.weights[usize::from(agent)],
            credential: format!("c{}", party.min(2)).into(),
            party: format!("p{party}").into(),
            hold: Some(HOLD),
            grace: GRACE,
            is_expendable: false,
        };
        let known = Known {
            lane: run.lane.to_string(),
            agent: run.agent.to_string(),
            credential: run.credential.to_string(),
            party: run.party.to_string(),
            until: now + WAIT,
        };
        match self.subject.submit(run, now) {
            Ok(standing) => {
                self.model.take(n, known, hold_back);
                self.subject.accepted(run_id(n), hold_back, now);
                self.settle();
                if standing == Standing::Active {
                    self.model.start(n);
                }
            }
            Err(refusal) => self.model.check_refusal(&known.lane, refusal),
        }
    }

    fn finish(&mut self, index: prop::sample::Index) {
        let active: Vec<u64> = self.model.active.keys().copied().collect();
        if !active.is_empty() {
            let n = *index.get(&active);
            self.model.end(n);
            self.subject.finished(run_id(n), self.model.now);
        }
    }

    fn cancel(&mut self, index: prop::sample::Index) {
        let model = &mut self.model;
        let all: Vec<u64> = model
            .active
            .keys()
            .chain(model.waiting.keys())
            .copied()
            .collect();
        if all.is_empty() {
            return;
        }
        let n = *index.get(&all);
        match self.subject.lanes.cancel(run_id(n), model.now) {
            Cancelled::Waiting => {
                assert!(model.waiting.contains_key(&n));
                model.end(n);
            }
            Cancelled::Active => {
                let run = model.active.get_mut(&n).expect("an active run");
                run.until = run.until.min(model.now + GRACE);
            }
            Cancelled::Unknown => panic!("run {n} is unknown"),
        }
    }

    fn step(&mut self, n: u64, op: &Op) {
        self.model.before = self.model.now;
        match *op {
            Op::Submit {
                lane,
                agent,
                party,
                hold_back,
            } => {
                self.submit(n, [lane, agent, party], hold_back);
            }
            Op::Finish(index) => self.finish(index),
            Op::Cancel(index) => self.cancel(index),
            Op::Wait(seconds) => {
                self.model.now += Duration::from_secs(seconds.into());
                self.subject.handle_timeout(self.model.now);
            }
        }
        self.settle();
        self.model.forget_turns();
        self.model.check(&self.subject.lanes);
    }

    /// Takes nothing new and lets everything end; whatever waits must be started or expire.
    fn run_dry(&mut self) {
        self.subject.lanes.drain();
        while self.model.ended < self.model.accepted {
            let ended = self.model.ended;
            self.step(0, &Op::Wait(29));
            let active: Vec<u64> = self.model.active.keys().copied().collect();
            for n in active {
                self.model.end(n);
                self.subject.finished(run_id(n), self.model.now);
                self.settle();
            }
            let is_moving = ended < self.model.ended || !self.model.waiting.is_empty();
            assert!(is_moving, "nothing moves: {:?}", self.model);
        }
        let lanes = &self.subject.lanes;
        assert_eq!((lanes.lanes(), lanes.active(), lanes.waiting()), (0, 0, 0));
        assert_eq!((lanes.poll_timeout(), lanes.runs().len()), (None, 0));
    }
}

fn play(script: &Script, fault: Fault) {
    let now = Instant::now();
    let mut pair = Pair {
        subject: Subject::new(script.caps, fault),
        model: Model::new(script, now),
    };
    for (n, op) in (0_u64..).zip(&script.ops) {
        pair.step(n, op);
    }
    pair.run_dry();
}

proptest! {
    // A million steps in all.
    #![proptest_config(Config::with_cases(
        option_env!("CLAWPORT_PROPTEST_CASES").map_or(2500, |n| n.parse().unwrap())
    ))]
    #[test]
    fn lanes_behave_like_the_model(script in script(300..501)) {
        play(&script, Fault::None);
    }
}

#[test]
fn the_model_notices_every_fault() {
    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), seed);
    for fault in FAULTS {
        let is_noticed = (0..100).any(|_| {
            let script = script(100..200).new_tree(&mut runner).unwrap().current();
            catch_unwind(AssertUnwindSafe(|| play(&script, fault))).is_err()
        });
        assert!(is_noticed, "{fault:?} was not noticed");
    }
}
