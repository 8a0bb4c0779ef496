//! The pure core of the scheduler: which run is active, which wait, which goes next.
//!
//! Owns lanes, caps and their deadlines. Knows no tasks, no clock (callers pass `now`), no agents.
//! An idle lane holds no memory.
//!
//! **Reserved, then accepted.** A run that must wait reserves its place before its accept commit
//! and goes no further until [`Lanes::accepted`]; a refused one leaves it by [`Lanes::finished`]
//! and has changed nothing. A chat message may reserve a place in a full lane by *claiming* that of
//! the oldest chat message ahead: whoever is accepted with a claim pushes the claimed run out.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::ids::{AgentId, RunId, SessionKey};

use super::fair::{Claim, FairQueue};

/// Caps of the whole gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Active runs in all.
    pub active_max: u32,
    /// Waiting runs in all.
    pub waiting_max: u32,
    /// Waiting runs in one lane.
    pub lane_waiting_max: u32,
    /// Waiting runs of one credential.
    pub credential_waiting_max: u32,
    /// Waiting runs of one user, device or connection inside a credential.
    pub party_waiting_max: u32,
    /// How long a run may wait.
    pub wait: Duration,
}

/// A run that asks for its lane.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The run.
    pub run: RunId,
    /// Its lane.
    pub lane: SessionKey,
    /// Its agent.
    pub agent: AgentId,
    /// Active runs the agent may have.
    pub agent_active_max: u32,
    /// The agent's share beside other agents.
    pub agent_weight: u32,
    /// The credential that asks.
    pub credential: Arc<str>,
    /// The user, device or connection inside it.
    pub party: Arc<str>,
    /// How long it may hold its slot, its own deadlines included; `None` is no limit. Only for a
    /// run whose task hangs: a healthy one keeps its deadlines itself.
    pub hold: Option<Duration>,
    /// How long its backend may take to end after it was cancelled.
    pub grace: Duration,
    /// Whether it may push another such run out of a full lane, and be pushed out.
    pub is_expendable: bool,
}

/// Why a run was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its lane has as many waiting runs as it may.
    LaneFull,
    /// The gateway has as many waiting runs as it may.
    GatewayFull,
    /// The credential has as many waiting runs as it may.
    CredentialFull,
    /// The user, device or connection has as many waiting runs as it may.
    PartyFull,
    /// No new runs are taken.
    Draining,
}

/// Where a taken run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds a slot: start it.
    Active,
    /// It has a place; once it is accepted, [`Action::Start`] or [`Action::Expire`] follows.
    Waiting,
    /// The same, in a full lane: its place is that of this run, which must go should the new one be
    /// accepted.
    Claiming(RunId),
}

/// What the owner must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start this run: it holds a slot now.
    Start(RunId),
    /// End this run: it waited too long and has left its lane.
    Expire(RunId),
    /// The slot of this run was taken back: its backend did not end within its grace.
    Reclaim(RunId),
}

/// What a cancellation met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The run waited and has left its lane.
    Waiting,
    /// The run is active: signal it. Its slot comes back at the latest after its grace.
    Active,
    /// The run has no slot and does not wait.
    Unknown,
}

/// Lanes, caps and deadlines.
#[derive(Debug)]
pub struct Lanes {
    caps: Caps,
    by_key: HashMap<SessionKey, Lane>,
    runs: HashMap<RunId, Place>,
    /// Slots by agent; as many entries as there are configured agents.
    agents: HashMap<AgentId, AgentSlots>,
    ready: FairQueue,
    deadlines: BTreeSet<(Instant, RunId)>,
    /// Idle lanes that are held back, by when they are ready.
    pauses: BTreeSet<(Instant, SessionKey)>,
    actions: VecDeque<Action>,
    active: u32,
    waiting: u32,
    shares: Shares,
    draining: bool,
}

/// Waiting runs by who asked for them; nobody without one is in here.
#[derive(Debug, Default)]
struct Shares {
    credentials: HashMap<Arc<str>, u32>,
    parties: HashMap<(Arc<str>, Arc<str>), u32>,
}

impl Shares {
    fn of(&self, claim: &Claim) -> (u32, u32) {
        let credential = self.credentials.get(&claim.credential);
        let party = self.parties.get(&party_of(claim));
        (
            credential.copied().unwrap_or_default(),
            party.copied().unwrap_or_default(),
        )
    }

    fn add(&mut self, claim: &Claim) {
        *self
            .credentials
            .entry(Arc::clone(&claim.credential))
            .or_default() += 1;
        *self.parties.entry(party_of(claim)).or_default() += 1;
    }

    fn remove(&mut self, claim: &Claim) {
        take_one(&mut self.credentials, &claim.credential);
        take_one(&mut self.parties, &party_of(claim));
    }
}

fn party_of(claim: &Claim) -> (Arc<str>, Arc<str>) {
    (Arc::clone(&claim.credential), Arc::clone(&claim.party))
}

fn take_one<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[derive(Debug, Default)]
struct Lane {
    active: Option<RunId>,
    waiting: VecDeque<RunId>,
    /// Waiting runs whose place is claimed by a later one.
    claimed: usize,
    not_before: Option<Instant>,
    stands: Stands,
}

/// Where a lane without an active run is listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stands {
    /// Nowhere: it has an active run, or its head is not accepted yet.
    #[default]
    Nowhere,
    /// Among the ready lanes, by the claim of its head.
    Ready,
    /// Among the paused lanes, until then.
    Paused(Instant),
}

#[derive(Clone, Copy, Debug, Default)]
struct AgentSlots {
    active: u32,
    active_max: u32,
}

#[derive(Debug)]
struct Place {
    run: RunId,
    lane: SessionKey,
    claim: Claim,
    hold: Option<Duration>,
    grace: Duration,
    state: State,
    deadline: Option<Instant>,
    is_accepted: bool,
    is_expendable: bool,
    /// Whether its lane was busy when it came.
    came_to_busy: bool,
    /// The run whose place it has.
    claims: Option<RunId>,
    /// The run that has its place.
    claimed_by: Option<RunId>,
}

impl Place {
    fn new(submission: Submission) -> Self {
        Self {
            run: submission.run,
            lane: submission.lane,
            claim: Claim {
                credential: submission.credential,
                party: submission.party,
                agent: submission.agent,
                weight: submission.agent_weight,
            },
            hold: submission.hold,
            grace: submission.grace,
            state: State::Waiting,
            deadline: None,
            is_accepted: false,
            is_expendable: submission.is_expendable,
            came_to_busy: false,
            claims: None,
            claimed_by: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Active,
}

impl Lanes {
    /// No lanes yet.
    pub fn new(caps: Caps) -> Self {
        Self {
            caps,
            by_key: HashMap::new(),
            runs: HashMap::new(),
            agents: HashMap::new(),
            ready: FairQueue::default(),
            deadlines: BTreeSet::new(),
            pauses: BTreeSet::new(),
            actions: VecDeque::new(),
            active: 0,
            waiting: 0,
            shares: Shares::default(),
            draining: false,
        }
    }

    /// Takes a run into its lane, to be accepted or taken out again.
    ///
    /// # Errors
    /// [`Refusal`] when a bound is reached; nothing has changed then.
    pub fn submit(&mut self, submission: Submission, now: Instant) -> Result<Standing, Refusal> {
        if self.draining {
            return Err(Refusal::Draining);
        }
        let is_idle = !self.by_key.contains_key(&submission.lane);
        let mut has_slots = self.has_slots(&submission);
        if has_slots && self.ready.len() > 0 {
            // The agent may have got slots: what waits for them goes first.
            self.refill(now);
            has_slots = self.has_slots(&submission);
        }
        if is_idle && has_slots {
            let run = submission.run;
            self.runs.insert(run, Place::new(submission));
            self.activate(run, now);
            return Ok(Standing::Active);
        }
        let claims = self.claim(&submission)?;
        let place = Place::new(submission);
        self.has_room(&place.claim)?;
        Ok(self.reserve(place, claims, now))
    }

    /// Takes note that a run is committed: it goes when it is its turn. `hold_back` is how long its
    /// lane stays idle after the active run, if it came to a busy lane: more may come that is run
    /// together with it, and each such run begins the time anew.
    pub fn accepted(&mut self, run: RunId, hold_back: Option<Duration>, now: Instant) {
        let Some(place) = self.runs.get_mut(&run) else {
            return;
        };
        place.is_accepted = true;
        if place.state == State::Active {
            return;
        }
        let (key, pause) = (place.lane.clone(), hold_back.filter(|_| place.came_to_busy));
        let Some(lane) = self.by_key.get_mut(&key) else {
            return;
        };
        if let Some(pause) = pause {
            lane.not_before = now.checked_add(pause);
        }
        // A lane that is listed keeps its place, or every new run would cost it its turn; only a
        // longer pause moves it.
        let must_list = lane.stands == Stands::Nowhere || pause.is_some();
        if lane.active.is_none() && must_list {
            self.unlist(&key);
            self.make_ready(&key, now);
        }
        self.refill(now);
    }

    /// The run whose place a waiting run has, while that waits too.
    pub fn claim_of(&self, run: RunId) -> Option<RunId> {
        self.runs.get(&run)?.claims
    }

    /// The place of the lane a new run gets: a free one, or that of another run.
    fn claim(&self, submission: &Submission) -> Result<Option<RunId>, Refusal> {
        let Some(lane) = self.by_key.get(&submission.lane) else {
            return Ok(None);
        };
        let room = usize::try_from(self.caps.lane_waiting_max).unwrap_or(usize::MAX);
        if lane.waiting.len() - lane.claimed < room {
            return Ok(None);
        }
        // As many again may be on their way, no more.
        if !submission.is_expendable || lane.claimed >= room {
            return Err(Refusal::LaneFull);
        }
        let is_free = |run: &&RunId| {
            let place = self.runs.get(run);
            place.is_some_and(|place| place.is_expendable && place.claimed_by.is_none())
        };
        let claimed = lane.waiting.iter().find(is_free);
        claimed.copied().map(Some).ok_or(Refusal::LaneFull)
    }

    fn has_room(&self, claim: &Claim) -> Result<(), Refusal> {
        if self.waiting >= self.caps.waiting_max {
            return Err(Refusal::GatewayFull);
        }
        let (credential, party) = self.shares.of(claim);
        if party >= self.caps.party_waiting_max {
            return Err(Refusal::PartyFull);
        }
        if credential >= self.caps.credential_waiting_max {
            return Err(Refusal::CredentialFull);
        }
        Ok(())
    }

    /// Cancels a run: a waiting one leaves its lane, an active one must end within its grace.
    pub fn cancel(&mut self, run: RunId, now: Instant) -> Cancelled {
        let Some(place) = self.runs.get(&run) else {
            return Cancelled::Unknown;
        };
        match place.state {
            State::Waiting => {
                self.remove(run, now);
                Cancelled::Waiting
            }
            State::Active => {
                let reclaim_at = now + place.grace;
                let sooner = place.deadline.is_none_or(|deadline| reclaim_at < deadline);
                if sooner {
                    self.set_deadline(run, Some(reclaim_at));
                }
                Cancelled::Active
            }
        }
    }

    /// Takes note that a run ended, or never began: its place is free. Unknown runs are ignored,
    /// so a backend that ends after its slot was reclaimed changes nothing.
    pub fn finished(&mut self, run: RunId, now: Instant) {
        self.remove(run, now);
    }

    /// Refuses new runs from now on.
    pub const fn drain(&mut self) {
        self.draining = true;
    }

    /// Lets deadlines up to `now` pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, run)) = self.deadlines.first().copied() {
            if at > now {
                break;
            }
            let Some(place) = self.runs.get(&run) else {
                self.deadlines.remove(&(at, run));
                continue;
            };
            let action = match place.state {
                State::Waiting => Action::Expire(run),
                State::Active => Action::Reclaim(run),
            };
            self.actions.push_back(action);
            self.remove(run, now);
        }
        while self.pauses.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, key)) = self.pauses.pop_first() else {
                break;
            };
            if let Some(lane) = self.by_key.get_mut(&key) {
                lane.stands = Stands::Nowhere;
            }
            self.make_ready(&key, now);
        }
        self.refill(now);
    }

    /// The next deadline.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let pause = self.pauses.first().map(|(at, _)| *at);
        deadline.into_iter().chain(pause).min()
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Active runs.
    pub const fn active(&self) -> u32 {
        self.active
    }

    /// Waiting runs.
    pub const fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Lanes that have a run; 0 when the gateway is idle.
    pub fn lanes(&self) -> usize {
        self.by_key.len()
    }

    /// Whether a lane has more than one run.
    pub fn is_shared(&self, lane: &SessionKey) -> bool {
        let lane = self.by_key.get(lane);
        lane.is_some_and(|lane| lane.waiting.len() + usize::from(lane.active.is_some()) > 1)
    }

    /// The active run of a lane.
    pub fn active_in(&self, lane: &SessionKey) -> Option<RunId> {
        self.by_key.get(lane)?.active
    }

    /// The waiting runs of a lane, in order.
    pub fn waiting_in(&self, lane: &SessionKey) -> Vec<RunId> {
        let lane = self.by_key.get(lane);
        lane.map(|lane| lane.waiting.iter().copied().collect())
            .unwrap_or_default()
    }

    /// Runs of a lane: the active one, then the waiting ones in order.
    pub fn runs_in(&self, lane: &SessionKey) -> Vec<RunId> {
        self.by_key
            .get(lane)
            .map(|lane| lane.active.iter().chain(&lane.waiting).copied().collect())
            .unwrap_or_default()
    }

    /// Every run that is active or waits, oldest first.
    pub fn runs(&self) -> Vec<RunId> {
        let mut runs: Vec<_> = self.runs.keys().copied().collect();
        runs.sort_unstable();
        runs
    }

    /// Notes the agent's cap, which a reload may have changed, and says whether it has a slot.
    fn has_slots(&mut self, submission: &Submission) -> bool {
        let slots = self.agents.entry(submission.agent.clone()).or_default();
        slots.active_max = submission.agent_active_max;
        self.active < self.caps.active_max && slots.active < slots.active_max
    }

    /// Puts a run at the end of its lane.
    fn reserve(&mut self, mut place: Place, claims: Option<RunId>, now: Instant) -> Standing {
        let run = place.run;
        let lane = self.by_key.entry(place.lane.clone()).or_default();
        // A run for an idle lane has nothing to wait for: more cannot be merged into it.
        place.came_to_busy = lane.active.is_some() || !lane.waiting.is_empty();
        place.claims = claims;
        lane.waiting.push_back(run);
        self.waiting += 1;
        self.shares.add(&place.claim);
        self.runs.insert(run, place);
        self.set_deadline(run, now.checked_add(self.caps.wait));
        let Some(claimed) = claims else {
            return Standing::Waiting;
        };
        self.set_claim(claimed, Some(run));
        Standing::Claiming(claimed)
    }

    /// Notes who has the place of a waiting run.
    fn set_claim(&mut self, claimed: RunId, by: Option<RunId>) {
        let Some(place) = self.runs.get_mut(&claimed) else {
            return;
        };
        let (had, has) = (place.claimed_by.is_some(), by.is_some());
        place.claimed_by = by;
        if let Some(lane) = self.by_key.get_mut(&place.lane) {
            lane.claimed = lane.claimed + usize::from(has) - usize::from(had);
        }
    }

    /// Gives up what a run that no longer waits claims, and what claims it.
    fn release_claims(&mut self, run: RunId) {
        let Some(place) = self.runs.get_mut(&run) else {
            return;
        };
        let (claims, claimed_by) = (place.claims.take(), place.claimed_by);
        if let Some(claimed) = claims {
            self.set_claim(claimed, None);
        }
        if let Some(claimer) = claimed_by {
            self.set_claim(run, None);
            if let Some(claimer) = self.runs.get_mut(&claimer) {
                claimer.claims = None;
            }
        }
    }

    /// Starts ready lanes while there are slots.
    fn refill(&mut self, now: Instant) {
        while self.active < self.caps.active_max {
            let Some(key) = self.pop_ready() else { return };
            let Some(head) = self
                .by_key
                .get(&key)
                .and_then(|lane| lane.waiting.front().copied())
            else {
                continue;
            };
            self.release_claims(head);
            if let Some(lane) = self.by_key.get_mut(&key) {
                lane.waiting.pop_front();
                lane.stands = Stands::Nowhere;
            }
            self.waiting -= 1;
            if let Some(place) = self.runs.get(&head) {
                self.shares.remove(&place.claim);
            }
            self.activate(head, now);
            self.actions.push_back(Action::Start(head));
        }
    }

    fn pop_ready(&mut self) -> Option<SessionKey> {
        let agents = &self.agents;
        self.ready
            .pop(|agent| agents.get(agent).is_some_and(|s| s.active < s.active_max))
    }

    fn activate(&mut self, run: RunId, now: Instant) {
        let Some(place) = self.runs.get_mut(&run) else {
            return;
        };
        place.state = State::Active;
        if let Some(slots) = self.agents.get_mut(&place.claim.agent) {
            slots.active += 1;
        }
        self.by_key.entry(place.lane.clone()).or_default().active = Some(run);
        let reclaim_at = place.hold.and_then(|hold| now.checked_add(hold));
        self.active += 1;
        self.set_deadline(run, reclaim_at);
    }

    /// Takes a run out, whatever its state, and lets the next one go.
    fn remove(&mut self, run: RunId, now: Instant) {
        self.set_deadline(run, None);
        self.release_claims(run);
        let Some(place) = self.runs.remove(&run) else {
            return;
        };
        match place.state {
            State::Waiting => self.leave_queue(run, &place, now),
            State::Active => self.leave_slot(&place, now),
        }
        self.refill(now);
    }

    fn leave_queue(&mut self, run: RunId, place: &Place, now: Instant) {
        let Some(lane) = self.by_key.get(&place.lane) else {
            return;
        };
        let is_idle = lane.active.is_none();
        let was_head = lane.waiting.front() == Some(&run);
        if is_idle && was_head {
            self.unlist_claimed(&place.lane, &place.claim);
        }
        if let Some(lane) = self.by_key.get_mut(&place.lane) {
            lane.waiting.retain(|other| *other != run);
        }
        self.waiting -= 1;
        self.shares.remove(&place.claim);
        if is_idle && was_head {
            self.make_ready(&place.lane, now);
        }
    }

    fn leave_slot(&mut self, place: &Place, now: Instant) {
        if let Some(slots) = self.agents.get_mut(&place.claim.agent) {
            slots.active -= 1;
        }
        self.active -= 1;
        if let Some(lane) = self.by_key.get_mut(&place.lane) {
            lane.active = None;
        }
        self.make_ready(&place.lane, now);
    }

    /// Lists an idle lane as ready or paused, unless its head is not accepted yet, or forgets it
    /// when nothing waits in it.
    fn make_ready(&mut self, key: &SessionKey, now: Instant) {
        let Some(lane) = self.by_key.get_mut(key) else {
            return;
        };
        let Some(head) = lane.waiting.front().and_then(|head| self.runs.get(head)) else {
            self.by_key.remove(key);
            return;
        };
        if !head.is_accepted {
            lane.stands = Stands::Nowhere;
            return;
        }
        match lane.not_before {
            Some(at) if at > now => {
                lane.stands = Stands::Paused(at);
                self.pauses.insert((at, key.clone()));
            }
            Some(_) | None => {
                lane.not_before = None;
                lane.stands = Stands::Ready;
                self.ready.push(&head.claim, key.clone());
            }
        }
    }

    /// Takes an idle lane off the list it is on.
    fn unlist(&mut self, key: &SessionKey) {
        let head = self.by_key.get(key).and_then(|lane| lane.waiting.front());
        if let Some(place) = head.and_then(|head| self.runs.get(head)) {
            let claim = place.claim.clone();
            self.unlist_claimed(key, &claim);
        }
    }

    fn unlist_claimed(&mut self, key: &SessionKey, claim: &Claim) {
        let Some(lane) = self.by_key.get_mut(key) else {
            return;
        };
        match std::mem::take(&mut lane.stands) {
            Stands::Nowhere => {}
            Stands::Ready => self.ready.remove(claim, key),
            Stands::Paused(at) => {
                self.pauses.remove(&(at, key.clone()));
            }
        }
    }

    fn set_deadline(&mut self, run: RunId, deadline: Option<Instant>) {
        let Some(place) = self.runs.get_mut(&run) else {
            return;
        };
        if let Some(old) = place.deadline.take() {
            self.deadlines.remove(&(old, run));
        }
        place.deadline = deadline;
        if let Some(at) = deadline {
            self.deadlines.insert((at, run));
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const HOLD: Duration = Duration::from_secs(150);

    fn caps() -> Caps {
        Caps {
            active_max: 3,
            waiting_max: 12,
            lane_waiting_max: 4,
            credential_waiting_max: 12,
            party_waiting_max: 12,
            wait: Duration::from_secs(100),
        }
    }

    fn run_id(n: u64) -> RunId {
        RunId::from_uuid(Uuid::from_u64_pair(0, n))
    }

    fn submission(n: u64, lane: u8, agent: u8, party: u8) -> Submission {
        Submission {
            run: run_id(n),
            lane: SessionKey::from_canonical(format!("agent:a{agent}:{lane}")),
            agent: AgentId::parse(&format!("a{agent}")).unwrap(),
            agent_active_max: 2,
            agent_weight: 1,
            credential: format!("c{}", party % 2).into(),
            party: format!("p{party}").into(),
            hold: Some(HOLD),
            grace: Duration::from_secs(2),
            is_expendable: false,
        }
    }

    /// Takes a run in and accepts it.
    fn put(lanes: &mut Lanes, submission: Submission, now: Instant) -> Result<Standing, Refusal> {
        let run = submission.run;
        let standing = lanes.submit(submission, now)?;
        lanes.accepted(run, None, now);
        Ok(standing)
    }

    #[test]
    fn a_lane_runs_one_at_a_time_in_order() {
        let mut lanes = Lanes::new(caps());
        let now = Instant::now();
        assert_eq!(
            put(&mut lanes, submission(1, 0, 0, 0), now),
            Ok(Standing::Active)
        );
        assert_eq!(
            put(&mut lanes, submission(2, 0, 0, 0), now),
            Ok(Standing::Waiting)
        );
        assert_eq!(
            put(&mut lanes, submission(3, 0, 0, 0), now),
            Ok(Standing::Waiting)
        );
        assert_eq!(lanes.cancel(run_id(2), now), Cancelled::Waiting);
        assert_eq!(lanes.poll_action(), None);
        lanes.finished(run_id(1), now);
        assert_eq!(lanes.poll_action(), Some(Action::Start(run_id(3))));
        lanes.finished(run_id(3), now);
        assert_eq!((lanes.lanes(), lanes.active(), lanes.waiting()), (0, 0, 0));
        assert_eq!(lanes.poll_timeout(), None);
    }

    #[test]
    fn bounds_refuse_and_change_nothing() {
        let mut lanes = Lanes::new(Caps {
            waiting_max: 5,
            ..caps()
        });
        let now = Instant::now();
        for n in 0..5 {
            put(&mut lanes, submission(n, 0, 0, 0), now).unwrap();
        }
        assert_eq!(
            put(&mut lanes, submission(5, 0, 0, 0), now),
            Err(Refusal::LaneFull)
        );
        put(&mut lanes, submission(6, 1, 0, 0), now).unwrap();
        put(&mut lanes, submission(7, 2, 0, 0), now).unwrap();
        assert_eq!(
            put(&mut lanes, submission(8, 2, 0, 0), now),
            Err(Refusal::GatewayFull)
        );
        assert_eq!((lanes.active(), lanes.waiting(), lanes.lanes()), (2, 5, 3));
        lanes.drain();
        assert_eq!(
            put(&mut lanes, submission(9, 9, 1, 0), now),
            Err(Refusal::Draining)
        );
    }

    #[test]
    fn a_full_agent_does_not_hold_up_another() {
        let mut lanes = Lanes::new(caps());
        let now = Instant::now();
        for n in 0..3 {
            put(
                &mut lanes,
                submission(n, u8::try_from(n).unwrap(), 0, 0),
                now,
            )
            .unwrap();
        }
        assert_eq!(
            put(&mut lanes, submission(9, 9, 1, 0), now),
            Ok(Standing::Active)
        );
    }

    #[test]
    fn a_backend_that_does_not_end_loses_its_slot_after_its_grace() {
        let mut lanes = Lanes::new(caps());
        let now = Instant::now();
        put(&mut lanes, submission(1, 0, 0, 0), now).unwrap();
        put(&mut lanes, submission(2, 0, 0, 0), now).unwrap();
        assert_eq!(lanes.cancel(run_id(1), now), Cancelled::Active);
        assert_eq!(
            lanes.poll_timeout(),
            Some(now + Duration::from_secs(2)),
            "the grace ends before the hold"
        );
        lanes.handle_timeout(now + Duration::from_secs(2));
        assert_eq!(lanes.poll_action(), Some(Action::Reclaim(run_id(1))));
        assert_eq!(lanes.poll_action(), Some(Action::Start(run_id(2))));
        lanes.finished(run_id(1), now);
        assert_eq!(lanes.active(), 1);
    }

    #[test]
    fn a_run_that_waits_too_long_leaves() {
        let mut lanes = Lanes::new(caps());
        let now = Instant::now();
        put(&mut lanes, submission(1, 0, 0, 0), now).unwrap();
        put(&mut lanes, submission(2, 0, 0, 0), now).unwrap();
        lanes.handle_timeout(now + Duration::from_secs(100));
        assert_eq!(lanes.poll_action(), Some(Action::Expire(run_id(2))));
        assert_eq!((lanes.active(), lanes.waiting()), (1, 0));
    }

    #[test]
    fn a_lane_that_is_held_back_waits_for_more() {
        let mut lanes = Lanes::new(caps());
        let now = Instant::now();
        let held = |lanes: &mut Lanes, n, at| {
            let standing = lanes.submit(submission(n, 0, 0, 0), at);
            lanes.accepted(run_id(n), Some(Duration::from_secs(5)), at);
            standing
        };
        assert_eq!(
            held(&mut lanes, 1, now),
            Ok(Standing::Active),
            "an idle lane starts at once"
        );
        assert_eq!(held(&mut lanes, 2, now), Ok(Standing::Waiting));
        lanes.finished(run_id(1), now + Duration::from_secs(1));
        assert_eq!(lanes.poll_action(), None);
        let third = now + Duration::from_secs(4);
        assert_eq!(held(&mut lanes, 3, third), Ok(Standing::Waiting));
        assert_eq!(lanes.poll_timeout(), Some(third + Duration::from_secs(5)));
        lanes.handle_timeout(now + Duration::from_secs(8));
        assert_eq!(lanes.poll_action(), None);
        lanes.handle_timeout(third + Duration::from_secs(5));
        assert_eq!(lanes.poll_action(), Some(Action::Start(run_id(2))));
        assert_eq!(lanes.cancel(run_id(3), third), Cancelled::Waiting);
        lanes.finished(run_id(2), third);
        assert_eq!(
            (lanes.lanes(), lanes.ready.len(), lanes.pauses.len()),
            (0, 0, 0)
        );
    }

    /// The light user's last run comes at twice its number of runs: strict alternation.
    #[test]
    fn a_flood_of_one_user_does_not_starve_another() {
        let caps = Caps {
            active_max: 4,
            waiting_max: 20_000,
            credential_waiting_max: 20_000,
            party_waiting_max: 20_000,
            ..caps()
        };
        let mut lanes = Lanes::new(caps);
        let now = Instant::now();
        let submit = |lanes: &mut Lanes, n: u64, party: &str| {
            let mut run = submission(n, 0, 0, 0);
            run.lane = SessionKey::from_canonical(format!("agent:a0:{n}"));
            run.agent_active_max = 1000;
            run.party = party.into();
            put(lanes, run, now).unwrap()
        };
        let mut running: VecDeque<u64> = VecDeque::new();
        for n in 0..10_000 {
            if submit(&mut lanes, n, "heavy") == Standing::Active {
                running.push_back(n);
            }
        }
        for n in 10_000..10_100 {
            submit(&mut lanes, n, "light");
        }
        let (mut ended, mut last_light) = (0, 0);
        while let Some(n) = running.pop_front() {
            ended += 1;
            if n >= 10_000 {
                last_light = ended;
            }
            lanes.finished(run_id(n), now);
            while let Some(Action::Start(run)) = lanes.poll_action() {
                running.push_back(run.as_uuid().as_u64_pair().1);
            }
        }
        assert_eq!(ended, 10_100);
        assert!(
            last_light <= 204,
            "the last light run ended at position {last_light}"
        );
        assert_eq!(lanes.lanes(), 0);
    }
}
