//! A whole gateway and its state directory, with connections of both kinds.

use std::net::SocketAddr;

use clawport::Gateway;
use clawport::agent::AgentRef;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Connection, Native, TOKEN, gateway, soon};

/// A running gateway and where it keeps its state.
pub(crate) struct Served {
    pub(crate) gateway: Gateway,
    state: TempDir,
}

/// What a gateway starts from.
pub(crate) struct Setup {
    file: String,
    env: Vec<(&'static str, &'static str)>,
    agent: Option<AgentRef>,
    state: TempDir,
}

impl Setup {
    /// A configuration file with this text.
    pub(crate) fn file(text: String) -> Self {
        Self {
            file: text,
            env: Vec::new(),
            agent: None,
            state: tempfile::tempdir().unwrap(),
        }
    }

    /// A token, the endpoint, and what `members` add.
    pub(crate) fn new(members: Value) -> Self {
        let mut settings = json!({"gateway": {
            "auth": {"mode": "token", "token": TOKEN},
            "http": {"endpoints": {"chatCompletions": {"enabled": true}}},
        }});
        merge(&mut settings, members);
        Self::file(settings.to_string())
    }

    /// With this variable in the environment.
    pub(crate) fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }

    /// With this agent as `main`.
    pub(crate) fn agent(mut self, agent: AgentRef) -> Self {
        self.agent = Some(agent);
        self
    }

    /// With the state an earlier gateway left.
    pub(crate) fn over(mut self, state: TempDir) -> Self {
        self.state = state;
        self
    }

    pub(crate) async fn start(self) -> Served {
        let config = gateway::config(self.state.path(), &self.file, &self.env);
        Served {
            gateway: gateway::start(config, self.agent).await,
            state: self.state,
        }
    }
}

impl Served {
    /// A gateway with what `members` add to the usual settings.
    pub(crate) async fn start(members: Value) -> Self {
        Setup::new(members).start().await
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.gateway.addr()
    }

    /// A new HTTP connection.
    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(self.addr()).await
    }

    /// A native connection with every scope.
    pub(crate) async fn native(&self) -> Native {
        Native::connect(self.addr()).await
    }

    /// Waits until so many runs wait.
    pub(crate) async fn waiting(&self, runs: u64) {
        let wait = async {
            while self.gateway.dispatch().status().await.unwrap().waiting != runs {
                tokio::task::yield_now().await;
            }
        };
        soon(wait).await;
    }

    /// Waits until nothing runs or waits, and no lane is left.
    pub(crate) async fn quiet(&self) {
        let quiet = async {
            loop {
                let status = self.gateway.dispatch().status().await.unwrap();
                if (status.active, status.waiting, status.lanes) == (0, 0, 0) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(quiet).await;
    }

    /// Winds down, and leaves the state for the next gateway.
    pub(crate) async fn stop(self) -> TempDir {
        self.gateway.shutdown();
        soon(self.gateway.closed()).await;
        self.state
    }
}

/// Puts the members of one object into another, at every depth.
pub(crate) fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}
