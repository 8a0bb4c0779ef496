//! The gateway as a server role of the bench: the real one, with two agents only a bench wants.

use std::net::SocketAddr;
use std::sync::Arc;

use clawport::Gateway;
use clawport::agent::{Agent, AgentTurn, EventStream, Isolation, RunContext};
use clawport::ids::AgentId;
use clawport::internals::config::{Load, Overrides, Paths, TokenFile, env::Env, load};
use clawport::run::{Event, FinishReason, ModelRef};
use futures_util::stream;

use crate::child::announce;
use crate::floor::runtime;
use crate::upstream::{LONG, SHORT, TWENTY};

pub(crate) const TOKEN: &str = "bench-token-0123456789";

const TOKENS: usize = 200;

/// Says 200 tokens; lets others go after each of them, or says them all at once.
#[derive(Debug)]
struct Tokens {
    yields: bool,
}

impl Agent for Tokens {
    fn run(&self, _turn: AgentTurn, _context: RunContext) -> EventStream {
        let yields = self.yields;
        Box::pin(stream::unfold(0, move |n| async move {
            if yields {
                tokio::task::yield_now().await;
            }
            let event = match n {
                TOKENS => Event::Finished(FinishReason::Stop),
                n if n > TOKENS => return None,
                n => Event::Text(format!("w{n} ")),
            };
            Some((Ok(event), n + 1))
        }))
    }

    fn model(&self) -> ModelRef {
        ModelRef {
            provider: "bench".into(),
            model: "tokens".into(),
        }
    }

    fn isolation(&self) -> Isolation {
        Isolation::Inline
    }
}

pub(crate) fn serve(upstream: Option<SocketAddr>) {
    // Without a model server nothing asks the agents that need one.
    let upstream = upstream.map_or("127.0.0.1:9".to_owned(), |addr| addr.to_string());
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        r#"{{
          gateway: {{ port: 0, auth: {{ mode: "token", token: "{TOKEN}" }},
                      limits: {{ preauthPerAddress: 4096 }},
                      http: {{ endpoints: {{ chatCompletions: {{ enabled: true }} }} }} }},
          models: {{ providers: {{ up: {{ baseUrl: "http://{upstream}/v1", apiKey: "none",
            api: "openai-completions",
            models: [{{ id: "{SHORT}" }}, {{ id: "{TWENTY}" }}, {{ id: "{LONG}" }}] }} }} }},
          agents: {{ defaults: {{ maxConcurrent: 4096 }}, list: [
            {{ id: "main", default: true, model: "sim/echo" }},
            {{ id: "yield", model: "sim/echo" }},
            {{ id: "ready", model: "sim/echo" }},
            {{ id: "paced", model: "sim/lorem?tokens=100000&tps=10" }},
            {{ id: "{SHORT}", model: "up/{SHORT}" }},
            {{ id: "{TWENTY}", model: "up/{TWENTY}" }},
            {{ id: "{LONG}", model: "up/{LONG}" }},
          ] }},
        }}"#
    );
    std::fs::write(dir.path().join("openclaw.json"), config).unwrap();
    let env = Env::from_iter([(
        "OPENCLAW_STATE_DIR".to_owned(),
        dir.path().display().to_string(),
    )]);
    let paths = Paths::find(&env, None).unwrap();
    let overrides = Overrides::default();
    let request = Load {
        env: &env,
        paths: &paths,
        overrides: &overrides,
        token_file: TokenFile::Create,
    };
    let loaded = load(&request).unwrap_or_else(|report| panic!("{report:?}"));
    runtime().block_on(async {
        let id = |name: &str| AgentId::parse(name).unwrap();
        let gateway = Gateway::builder(loaded.config)
            .agent(id("yield"), Arc::new(Tokens { yields: true }))
            .agent(id("ready"), Arc::new(Tokens { yields: false }))
            .start()
            .await
            .unwrap();
        announce(gateway.addr());
        gateway.closed().await;
    });
}
