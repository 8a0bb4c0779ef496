//! What the gateway tells on its own: ticks, health, presence and the goodbye.
//!
//! Also closes connections whose secret was rotated, and gives back what has become too old.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::dispatch::{DispatchError, SessionList};
use crate::protocol::StateVersion;
use crate::protocol::events::Event as Kind;
use crate::protocol::events::system::{PresenceEvent, ShutdownEvent, TickEvent};
use crate::protocol::methods::system::{
    AgentHealth, HealthSummary, HeartbeatHealth, RecentSession, SessionsHealth,
};
use crate::shutdown::Phase;

use super::event::{Audience, Event};
use super::native::{Health, Native, as_ms, encode};
use super::{changes, runs};

/// Least time between two `presence` events.
const PRESENCE_PAUSE: Duration = Duration::from_millis(200);

/// Time between two looks for what can be given back.
const SWEEP: Duration = Duration::from_secs(10);

/// How long the goodbye waits for what is to be told before it.
const GOODBYE_WAIT_MAX: Duration = Duration::from_secs(1);

/// Sessions per agent in a health snapshot.
const RECENT_MAX: u32 = 5;

/// Starts what runs beside the connections; ends when the process stops.
pub(super) fn start(native: &Arc<Native>) {
    let tasks = &native.tasks;
    tasks.spawn("ws.clock", keep_time(Arc::clone(native)));
    tasks.spawn("ws.health", watch_health(Arc::clone(native)));
    tasks.spawn("ws.rotation", watch_rotation(Arc::clone(native)));
    let tellers = [
        tasks.spawn("ws.runs", runs::project_runs(Arc::clone(native))),
        tasks.spawn("ws.sessions", changes::watch_sessions(Arc::clone(native))),
    ];
    tasks.spawn("ws.goodbye", say_goodbye(Arc::clone(native), tellers));
}

/// Says goodbye once runs are settled, behind everything there is to tell of them. Does not wait
/// for ever: the process has to stop.
async fn say_goodbye(native: Arc<Native>, tellers: [JoinHandle<()>; 2]) {
    native.drain.reached(Phase::Closing).await;
    let told = async {
        for teller in tellers {
            teller.await.ok();
        }
        runs::all_told(&native).await;
    };
    if timeout(GOODBYE_WAIT_MAX, told).await.is_err() {
        tracing::warn!("saying goodbye before everything was told");
    }
    if let Some(encoded) = encode(Kind::Shutdown, &ShutdownEvent::stopping()) {
        let goodbye = Event::goodbye(Kind::Shutdown, encoded);
        native.feed.publish([goodbye]);
    }
}

/// Sends ticks and presence until runs are settled.
async fn keep_time(native: Arc<Native>) {
    let every = native.config.tick_interval;
    let mut tick = interval_at(Instant::now() + every, every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut sweep = interval_at(Instant::now() + SWEEP, SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut presence_due = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = native.drain.reached(Phase::Closing) => return,
            _ = tick.tick() => {
                let ts = native.clock.now_ms();
                native.publish(Kind::Tick, &TickEvent { ts }, Audience::All);
            }
            () = presence_changed(&native, presence_due) => {
                tell_presence(&native);
                presence_due = Instant::now() + PRESENCE_PAUSE;
            }
            _ = sweep.tick() => {
                native.feed.trim(Instant::now());
                native.presence.expire(Instant::now());
            }
        }
    }
}

async fn presence_changed(native: &Native, due: Instant) {
    native.presence.changed().await;
    tokio::time::sleep_until(due).await;
}

fn tell_presence(native: &Native) {
    let Some((presence, version)) = native.presence.take_change() else {
        return;
    };
    let state = StateVersion {
        presence: version,
        health: native.health.read().version,
    };
    if let Some(encoded) = encode(Kind::Presence, &PresenceEvent { presence }) {
        let encoded = encoded.with_state_version(state);
        native
            .feed
            .publish([Event::new(Kind::Presence, encoded, Audience::All)]);
    }
}

/// Closes the connections of a secret that was rotated.
async fn watch_rotation(native: Arc<Native>) {
    let mut generation = native.auth.generation();
    loop {
        let changed = tokio::select! {
            biased;
            () = native.drain.reached(Phase::Stopped) => return,
            changed = generation.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        let now = *generation.borrow_and_update();
        native.registry.close_other_generations(now);
    }
}

/// Takes a health snapshot now and then and tells everybody.
async fn watch_health(native: Arc<Native>) {
    native.drain.reached(Phase::Running).await;
    loop {
        if let Err(error) = take_health(&native).await {
            tracing::warn!(%error, "no health snapshot could be taken");
        }
        tokio::select! {
            biased;
            () = native.drain.reached(Phase::Closing) => return,
            () = tokio::time::sleep(native.config.health_interval) => {}
        }
    }
}

/// Takes a health snapshot and tells everybody.
///
/// # Errors
/// The ledger fails.
pub(super) async fn take_health(native: &Native) -> Result<Health, DispatchError> {
    let started = Instant::now();
    let mut agents = Vec::new();
    let default = native.dispatch.agents().default_agent().ok();
    for entry in native.dispatch.agents().list() {
        let list = SessionList {
            agent_id: Some(entry.id.as_str().to_owned()),
            limit: RECENT_MAX,
            ..SessionList::default()
        };
        let page = native.dispatch.sessions_list(&native.itself, list).await?;
        let now_ms = native.clock.now_ms();
        let recent = page.sessions.iter().map(|view| RecentSession {
            key: view.record.key.as_str().to_owned(),
            updated_at: Some(view.record.updated_at_ms),
            age: Some(now_ms.saturating_sub(view.record.updated_at_ms)),
        });
        agents.push(AgentHealth {
            agent_id: entry.id.as_str().to_owned(),
            name: entry.name.as_deref().map(str::to_owned),
            is_default: default.as_ref() == Some(&entry.id),
            heartbeat: HeartbeatHealth::default(),
            sessions: SessionsHealth {
                path: native.dispatch.config().state_dir().as_ref().to_owned(),
                count: page.total,
                recent: recent.collect(),
            },
        });
    }
    let duration_ms = as_ms(started.elapsed());
    let summary = HealthSummary::new(native.clock.now_ms(), duration_ms, agents);
    let health = native.health.put(&summary);
    tell_health(native, &health);
    Ok(health)
}

fn tell_health(native: &Native, health: &Health) {
    let state = StateVersion {
        presence: native.presence.version(),
        health: health.version,
    };
    let forms = [
        (&health.full, Audience::Administrators),
        (&health.public, Audience::Others),
    ];
    let events = forms.into_iter().filter_map(|(form, audience)| {
        let encoded = encode(Kind::Health, form)?.with_state_version(state);
        Some(Event::new(Kind::Health, encoded, audience))
    });
    native.feed.publish(events);
}
