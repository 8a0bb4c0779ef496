//! What the gateway tells by itself, without anybody asking.

use std::time::Duration;

use clawport::internals::transport::TransportConfig;

use crate::support::ws::{Ws, backend};
use crate::support::{Puppet, Rig, RigConfig};

#[tokio::test]
async fn ticks_and_health_come_by_themselves() {
    let (agent, _puppet) = Puppet::new();
    let mut config = RigConfig::with_agent(agent);
    config.transport = TransportConfig {
        tick_interval: Duration::from_millis(100),
        health_interval: Duration::from_millis(150),
        ..config.transport
    };
    let rig = Rig::start(config).await;
    let mut ws = Ws::connect(rig.addr, backend()).await;
    let tick = ws.event("tick").await;
    assert!(tick["payload"]["ts"].is_u64(), "{tick}");
    let health = ws.event("health").await;
    assert_eq!(health["payload"]["ok"], true, "{health}");
    assert!(health["stateVersion"]["health"].is_u64(), "{health}");
    let later = ws.event("tick").await;
    assert!(
        later["seq"].as_u64() > tick["seq"].as_u64(),
        "{tick} {later}"
    );
}
