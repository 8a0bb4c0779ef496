//! A whole gateway from a configuration file, as the command line starts it.

use std::net::TcpListener;
use std::path::Path;

use clawport::agent::AgentRef;
use clawport::ids::AgentId;
use clawport::internals::config::env::Env;
use clawport::internals::config::{Load, Overrides, Paths, TokenFile, load};
use clawport::{Config, Gateway};

/// Reads a configuration file with this text; its directory is also the state directory.
pub(crate) fn config(dir: &Path, text: &str, env: &[(&str, &str)]) -> Config {
    let file = dir.join("openclaw.json");
    std::fs::write(&file, text).unwrap();
    let state_dir = dir.to_str().unwrap();
    let mut variables = vec![("OPENCLAW_STATE_DIR", state_dir)];
    variables.extend_from_slice(env);
    let env: Env = variables.into_iter().collect();
    let paths = Paths::find(&env, Some(&file)).unwrap();
    let loaded = load(&Load {
        env: &env,
        paths: &paths,
        overrides: &Overrides::default(),
        token_file: TokenFile::Create,
    });
    loaded.unwrap_or_else(|report| panic!("{report:?}")).config
}

/// Starts a gateway on a free port; `main` answers for the agent of that name, when given.
pub(crate) async fn start(config: Config, main: Option<AgentRef>) -> Gateway {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut builder = Gateway::builder(config).listener(listener);
    if let Some(agent) = main {
        builder = builder.agent(AgentId::parse("main").unwrap(), agent);
    }
    super::soon(builder.start()).await.unwrap()
}
