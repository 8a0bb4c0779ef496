//! Who goes next when there are fewer slots than ready lanes.
//!
//! Round robin over credentials, inside a credential over parties (user, device or connection),
//! inside a party over agents by weight, inside that FIFO over lanes (`design.md` §4). Round robin
//! is done with start tags: whoever has the smallest tag goes next. A newcomer gets the tag after
//! the one that was served last and goes before others with that tag: so an idle party holds no
//! memory, and one that leaves and comes back with every run wins no turn by that. Whoever could
//! not go for a while, because its agent had no slot, goes next, but saves up no turns.
//!
//! Cost of a pick: credentials × agents with waiting lanes, whatever the number of lanes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::ids::{AgentId, SessionKey};

/// Scale of an agent's stride: one turn costs `STRIDE / weight`.
const STRIDE: u64 = 1 << 20;

/// Where a ready lane stands: who asks, and which agent runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) credential: Arc<str>,
    pub(super) party: Arc<str>,
    pub(super) agent: AgentId,
    pub(super) weight: u32,
}

/// Ready lanes in fair order.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    credentials: BTreeMap<Arc<str>, Credential>,
    served_tag: u64,
    picks: u64,
    len: usize,
}

#[derive(Debug, Default)]
struct Credential {
    tag: u64,
    /// The number of the pick that took it last since it came; 0 is none. Breaks ties.
    last: u64,
    parties: HashMap<Arc<str>, Party>,
    /// For each agent: the parties that have a lane for it, by start tag.
    order: BTreeMap<AgentId, BTreeSet<Turn>>,
    served_tag: u64,
    arrivals: u64,
}

/// When it is a party's turn: the smallest goes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    tag: u64,
    last: u64,
    arrival: u64,
    name: Arc<str>,
}

#[derive(Debug)]
struct Party {
    tag: u64,
    /// The number of the pick that took it last since it came; 0 is none. Breaks ties.
    last: u64,
    /// Breaks ties between parties with the same tag: who came first.
    arrival: u64,
    agents: BTreeMap<AgentId, AgentLanes>,
    served_pass: u64,
}

#[derive(Debug)]
struct AgentLanes {
    pass: u64,
    /// The number of the pick that took it last since it came; 0 is none. Breaks ties.
    last: u64,
    stride: u64,
    lanes: VecDeque<SessionKey>,
}

impl FairQueue {
    /// How many lanes are ready.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a ready lane behind the other lanes of its party and agent.
    pub(super) fn push(&mut self, claim: &Claim, lane: SessionKey) {
        let tag = self.served_tag + 1;
        let credential = self
            .credentials
            .entry(Arc::clone(&claim.credential))
            .or_insert_with(|| Credential {
                tag,
                ..Credential::default()
            });
        credential.push(claim, lane);
        self.len += 1;
    }

    /// Takes the next lane whose agent `has_slot`.
    pub(super) fn pop(&mut self, has_slot: impl Fn(&AgentId) -> bool) -> Option<SessionKey> {
        let name = self
            .credentials
            .iter()
            .filter(|(_, credential)| credential.order.keys().any(&has_slot))
            .min_by_key(|(_, credential)| (credential.tag, credential.last))
            .map(|(name, _)| Arc::clone(name))?;
        let credential = self.credentials.get_mut(&name)?;
        self.picks += 1;
        let lane = credential.pop(&has_slot, self.picks)?;
        self.served_tag = self.served_tag.max(credential.tag);
        credential.tag = self.served_tag + 1;
        credential.last = self.picks;
        if credential.parties.is_empty() {
            self.credentials.remove(&name);
        }
        self.len -= 1;
        Some(lane)
    }

    /// Removes a lane that is no longer ready.
    pub(super) fn remove(&mut self, claim: &Claim, lane: &SessionKey) {
        let Some(credential) = self.credentials.get_mut(&claim.credential) else {
            return;
        };
        if credential.remove(claim, lane) {
            self.len -= 1;
        }
        if credential.parties.is_empty() {
            self.credentials.remove(&claim.credential);
        }
    }
}

impl Credential {
    fn push(&mut self, claim: &Claim, lane: SessionKey) {
        let tag = self.served_tag + 1;
        let arrival = self.arrivals;
        let party = self
            .parties
            .entry(Arc::clone(&claim.party))
            .or_insert_with(|| Party {
                tag,
                last: 0,
                arrival,
                agents: BTreeMap::new(),
                served_pass: 0,
            });
        self.arrivals += 1;
        let stride = STRIDE / u64::from(claim.weight.max(1));
        let pass = party.served_pass + stride;
        party
            .agents
            .entry(claim.agent.clone())
            .or_insert_with(|| AgentLanes {
                pass,
                last: 0,
                stride,
                lanes: VecDeque::new(),
            })
            .lanes
            .push_back(lane);
        let turn = party.turn(&claim.party);
        self.order
            .entry(claim.agent.clone())
            .or_default()
            .insert(turn);
    }

    fn pop(&mut self, has_slot: impl Fn(&AgentId) -> bool, pick: u64) -> Option<SessionKey> {
        let name = self
            .order
            .iter()
            .filter(|(agent, _)| has_slot(agent))
            .filter_map(|(_, parties)| parties.first())
            .min()
            .map(|turn| Arc::clone(&turn.name))?;
        let party = self.parties.get_mut(&name)?;
        let old = party.turn(&name);
        let lane = party.pop(has_slot, pick)?;
        self.served_tag = self.served_tag.max(party.tag);
        party.tag = self.served_tag + 1;
        party.last = pick;
        let new = party.turn(&name);
        let party_is_done = party.agents.is_empty();
        let agents: Vec<AgentId> = party.agents.keys().cloned().collect();
        self.order.retain(|agent, parties| {
            if parties.remove(&old) && agents.contains(agent) {
                parties.insert(new.clone());
            }
            !parties.is_empty()
        });
        if party_is_done {
            self.parties.remove(&name);
        }
        Some(lane)
    }

    fn remove(&mut self, claim: &Claim, lane: &SessionKey) -> bool {
        let Some(party) = self.parties.get_mut(&claim.party) else {
            return false;
        };
        let Some(queue) = party.agents.get_mut(&claim.agent) else {
            return false;
        };
        let before = queue.lanes.len();
        queue.lanes.retain(|other| other != lane);
        let removed = queue.lanes.len() < before;
        if queue.lanes.is_empty() {
            party.agents.remove(&claim.agent);
            let turn = party.turn(&claim.party);
            if let Some(parties) = self.order.get_mut(&claim.agent) {
                parties.remove(&turn);
                if parties.is_empty() {
                    self.order.remove(&claim.agent);
                }
            }
        }
        if party.agents.is_empty() {
            self.parties.remove(&claim.party);
        }
        removed
    }
}

impl Party {
    fn turn(&self, name: &Arc<str>) -> Turn {
        Turn {
            tag: self.tag,
            last: self.last,
            arrival: self.arrival,
            name: Arc::clone(name),
        }
    }

    fn pop(&mut self, has_slot: impl Fn(&AgentId) -> bool, pick: u64) -> Option<SessionKey> {
        let agent = self
            .agents
            .iter()
            .filter(|(agent, _)| has_slot(agent))
            .min_by_key(|(_, queue)| (queue.pass, queue.last))
            .map(|(agent, _)| agent.clone())?;
        let queue = self.agents.get_mut(&agent)?;
        let lane = queue.lanes.pop_front()?;
        self.served_pass = self.served_pass.max(queue.pass);
        queue.pass = self.served_pass + queue.stride;
        queue.last = pick;
        if queue.lanes.is_empty() {
            self.agents.remove(&agent);
        }
        Some(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(credential: &str, party: &str, agent: &str, weight: u32) -> Claim {
        Claim {
            credential: credential.into(),
            party: party.into(),
            agent: AgentId::parse(agent).unwrap(),
            weight,
        }
    }

    fn fill(queue: &mut FairQueue, claim: &Claim, names: &[&str]) {
        for name in names {
            queue.push(claim, SessionKey::from_canonical(*name));
        }
    }

    fn drain(queue: &mut FairQueue) -> String {
        std::iter::from_fn(|| queue.pop(|_| true))
            .map(|lane| lane.to_string())
            .collect()
    }

    #[test]
    fn credentials_take_turns_whatever_the_number_of_parties() {
        let mut queue = FairQueue::default();
        for party in ["p", "q", "r"] {
            fill(&mut queue, &claim("minter", party, "main", 1), &["m", "m"]);
        }
        fill(
            &mut queue,
            &claim("other", "x", "main", 1),
            &["O", "O", "O"],
        );
        assert_eq!(drain(&mut queue), "mOmOmOmmm");
        assert_eq!(queue.len(), 0);
        assert!(queue.credentials.is_empty());
    }

    #[test]
    fn parties_take_turns_and_sessions_of_a_party_are_fifo() {
        let mut queue = FairQueue::default();
        fill(
            &mut queue,
            &claim("t", "heavy", "main", 1),
            &["1", "2", "3", "4"],
        );
        fill(&mut queue, &claim("t", "light", "main", 1), &["a", "b"]);
        assert_eq!(drain(&mut queue), "1a2b34");
    }

    #[test]
    fn a_newcomer_goes_within_two_picks_and_saves_up_no_turns() {
        let mut queue = FairQueue::default();
        let heavy = claim("t", "heavy", "main", 1);
        let light = claim("t", "light", "main", 1);
        fill(&mut queue, &heavy, &["h"; 50]);
        for _ in 0..20 {
            queue.pop(|_| true);
        }
        fill(&mut queue, &light, &["L"; 3]);
        assert!(drain(&mut queue).starts_with("LhLhLhhh"));
    }

    /// Lets `guest` have one lane at a time, a new one as soon as the last was taken, beside a
    /// `host` with many.
    fn check_alternation(host: &Claim, guest: &Claim) {
        let mut queue = FairQueue::default();
        fill(&mut queue, host, &["h"; 50]);
        queue.pop(|_| true);
        let mut order = String::new();
        for _ in 0..12 {
            if !order.ends_with('g') {
                fill(&mut queue, guest, &["g"]);
            }
            let lane = queue.pop(|_| true).unwrap();
            order.push_str(lane.as_str());
            if lane.as_str() == "g" {
                fill(&mut queue, guest, &["g"]);
                let next = queue.pop(|_| true).unwrap();
                order.push_str(next.as_str());
            }
        }
        assert!(!order.contains("gg"), "{order}");
    }

    #[test]
    fn who_comes_back_with_every_run_wins_no_turn_by_that() {
        let host = claim("t", "host", "main", 1);
        check_alternation(&host, &claim("a", "x", "main", 1));
        check_alternation(&host, &claim("z", "x", "main", 1));
        check_alternation(&host, &claim("t", "guest", "main", 1));
        check_alternation(&host, &claim("t", "host", "aa", 1));
    }

    #[test]
    fn whoever_could_not_go_saves_up_no_turns() {
        let mut queue = FairQueue::default();
        let full = AgentId::parse("full").unwrap();
        fill(&mut queue, &claim("a", "u", "full", 1), &["F"; 9]);
        fill(&mut queue, &claim("b", "v", "free", 1), &["f"; 30]);
        for _ in 0..20 {
            queue.pop(|agent| *agent != full);
        }
        assert!(drain(&mut queue).starts_with("FfFfFf"));
    }

    #[test]
    fn weights_share_the_turns_of_a_party_between_agents() {
        let mut queue = FairQueue::default();
        fill(&mut queue, &claim("t", "u", "big", 3), &["B"; 9]);
        fill(&mut queue, &claim("t", "u", "small", 1), &["s"; 9]);
        let first: String = drain(&mut queue).chars().take(8).collect();
        assert_eq!(first.matches('B').count(), 6, "{first}");
    }

    #[test]
    fn an_agent_without_a_slot_holds_up_nobody() {
        let mut queue = FairQueue::default();
        let full = AgentId::parse("full").unwrap();
        fill(&mut queue, &claim("t", "u", "full", 1), &["F", "F"]);
        fill(&mut queue, &claim("t", "v", "free", 1), &["f"]);
        let next = queue.pop(|agent| *agent != full);
        assert_eq!(next, Some(SessionKey::from_canonical("f")));
        assert_eq!(queue.pop(|agent| *agent != full), None);
        assert_eq!(drain(&mut queue), "FF");
    }

    #[test]
    fn a_removed_lane_leaves_nothing_behind() {
        let mut queue = FairQueue::default();
        let who = claim("t", "u", "main", 1);
        fill(&mut queue, &who, &["a", "b"]);
        queue.remove(&who, &SessionKey::from_canonical("a"));
        queue.remove(&who, &SessionKey::from_canonical("zz"));
        assert_eq!(queue.len(), 1);
        assert_eq!(drain(&mut queue), "b");
        assert!(queue.credentials.is_empty());
    }
}
