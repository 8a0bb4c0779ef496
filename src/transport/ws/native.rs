//! What every native connection shares.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::auth::{AuthMethod, Authenticator, Locality, Principal, Rates, Role, Rules, ScopeSet};
use crate::clock::Clock;
use crate::dispatch::{Caller, Dispatch};
use crate::ids::IdSource;
use crate::metrics::Metrics;
use crate::protocol::events::Event as Kind;
use crate::protocol::methods::Method;
use crate::protocol::methods::system::HealthSummary;
use crate::protocol::{EncodedEvent, Features, PUBLISHED_MODEL_CATALOG, StateVersion};
use crate::shutdown::{Drain, Tasks};
use crate::transport::TransportConfig;

use super::answers::AnswerBudget;
use super::event::{Audience, Event};
use super::feed::Feed;
use super::interest::Followers;
use super::presence::Presence;
use super::registry::Registry;
use super::runs::Runs;

/// Requests that start a run and are being carried out, gateway-wide.
const STARTS_RUNNING_MAX: usize = 256;

/// Requests that start a run and wait to be carried out, gateway-wide (`protocol-facts` §1.5).
const STARTS_WAITING_MAX: usize = 256;

/// What every native connection shares.
#[derive(Debug)]
pub(super) struct Native {
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) auth: Arc<Authenticator>,
    pub(super) rates: Arc<Rates>,
    pub(super) drain: Drain,
    pub(super) tasks: Tasks,
    pub(super) config: TransportConfig,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) feed: Arc<Feed<Event>>,
    pub(super) registry: Arc<Registry>,
    pub(super) presence: Presence,
    pub(super) health: HealthBoard,
    pub(super) runs: Runs,
    pub(super) followers: Arc<Followers>,
    pub(super) starts: Starts,
    pub(super) answers: Arc<AnswerBudget>,
    /// One random text per start of the process.
    pub(super) boot_id: Arc<str>,
    pub(super) features: Features,
    /// The gateway as a caller of its own operations.
    pub(super) itself: Caller,
    pub(super) started: Instant,
}

impl Native {
    /// Encodes an event that is about no run and puts it into the feed.
    pub(super) fn publish(&self, kind: Kind, payload: &impl Serialize, audience: Audience) {
        if let Some(encoded) = encode(kind, payload) {
            self.feed.publish([Event::new(kind, encoded, audience)]);
        }
    }

    /// The versions of presence and health.
    pub(super) fn state_version(&self) -> StateVersion {
        StateVersion {
            presence: self.presence.version(),
            health: self.health.read().version,
        }
    }
}

/// Encodes an event; one that cannot be encoded is logged and left out.
pub(super) fn encode(kind: Kind, payload: &impl Serialize) -> Option<EncodedEvent> {
    match EncodedEvent::new(kind.name(), payload) {
        Ok(encoded) => Some(encoded),
        Err(error) => {
            tracing::error!(event = kind.name(), %error, "an event was left out");
            None
        }
    }
}

/// Milliseconds of a time span.
pub(super) fn as_ms(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A size as it stands on the wire.
pub(super) fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The gateway as a caller of its own operations.
pub(super) fn itself() -> Caller {
    Caller {
        principal: Principal {
            method: AuthMethod::None,
            credential: "gateway".into(),
            device: None,
            role: Role::Operator,
            scopes: ScopeSet::full(),
            rules: Rules::V4,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            locality: Locality::DirectLocal,
            generation: 0,
        },
        connection: None,
        user: None,
    }
}

/// Every method and event that is served, in the order of the tables.
pub(super) fn features() -> Features {
    Features {
        methods: Method::table().iter().map(|row| row.name).collect(),
        events: Kind::table().iter().map(|row| row.name).collect(),
        capabilities: &[PUBLISHED_MODEL_CATALOG],
    }
}

/// The last health snapshot, encoded; `{}` before the first.
#[derive(Debug)]
pub(super) struct HealthBoard {
    last: Mutex<Health>,
}

/// A health snapshot in its two forms.
#[derive(Clone, Debug)]
pub(super) struct Health {
    /// With paths and recent sessions, for administrators.
    pub(super) full: Arc<RawValue>,
    /// For everybody else.
    pub(super) public: Arc<RawValue>,
    /// Grows with every snapshot.
    pub(super) version: u64,
}

impl HealthBoard {
    /// No snapshot yet.
    pub(super) fn new() -> Self {
        let empty = raw(&serde_json::Map::new());
        Self {
            last: Mutex::new(Health {
                full: Arc::clone(&empty),
                public: empty,
                version: 1,
            }),
        }
    }

    /// The last snapshot.
    pub(super) fn read(&self) -> Health {
        self.lock().clone()
    }

    /// Replaces the snapshot and returns it.
    pub(super) fn put(&self, summary: &HealthSummary) -> Health {
        let full = raw(summary);
        let public = raw(&summary.clone().for_public());
        let mut last = self.lock();
        *last = Health {
            full,
            public,
            version: last.version + 1,
        };
        last.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn raw(value: &impl Serialize) -> Arc<RawValue> {
    to_raw_value(value)
        .expect("a health snapshot has only text keys, so it can be written as JSON")
        .into()
}

/// Bounds the requests that start runs, gateway-wide.
#[derive(Debug)]
pub(super) struct Starts {
    running: Semaphore,
    waiting: Semaphore,
}

/// As many starts wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

impl Starts {
    /// No start is under way.
    pub(super) const fn new() -> Self {
        Self {
            running: Semaphore::const_new(STARTS_RUNNING_MAX),
            waiting: Semaphore::const_new(STARTS_WAITING_MAX),
        }
    }

    /// Waits for a place, first come first served.
    ///
    /// # Errors
    /// [`Busy`] at once when too many wait already.
    ///
    /// # Cancel safety
    /// Dropping the future gives the place in the queue up.
    pub(super) async fn enter(&self) -> Result<SemaphorePermit<'_>, Busy> {
        if let Ok(place) = self.running.try_acquire() {
            return Ok(place);
        }
        let _waits = self.waiting.try_acquire().map_err(|_full| Busy)?;
        self.running.acquire().await.map_err(|_closed| Busy)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn starts_wait_in_order_and_are_refused_when_too_many_wait() {
        let starts = Starts::new();
        let mut running = Vec::new();
        for _ in 0..STARTS_RUNNING_MAX {
            running.push(starts.enter().await.unwrap());
        }
        let mut waiting: Vec<_> = (0..STARTS_WAITING_MAX)
            .map(|_| Box::pin(starts.enter()))
            .collect();
        for wait in &mut waiting {
            assert!(wait.now_or_never().is_none());
        }
        assert_eq!(starts.enter().await.err(), Some(Busy));
        running.pop();
        assert!(waiting.remove(0).await.is_ok());
        assert!(starts.enter().now_or_never().is_none());
    }
}
