//! Looks for model servers on this machine, and says how each would be connected.
//!
//! Asks loopback only and changes nothing: what is found is for the operator to decide.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::model::{BaseUrl, ModelClient};

/// How long the search takes at most.
pub const SEARCH_TIME_MAX: Duration = Duration::from_millis(200);

/// A model server that people run on their own machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LocalServer {
    /// Ollama.
    Ollama,
    /// LM Studio.
    LmStudio,
    /// The server of llama.cpp.
    LlamaCpp,
    /// vLLM.
    Vllm,
}

impl LocalServer {
    /// Every server that is looked for.
    pub const ALL: [Self; 4] = [Self::Ollama, Self::LmStudio, Self::LlamaCpp, Self::Vllm];

    /// The port it listens on unless told otherwise.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Ollama => 11434,
            Self::LmStudio => 1234,
            Self::LlamaCpp => 8080,
            Self::Vllm => 8000,
        }
    }

    /// The provider id suggested for it.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::LmStudio => "lmstudio",
            Self::LlamaCpp => "llamacpp",
            Self::Vllm => "vllm",
        }
    }
}

impl fmt::Display for LocalServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ollama => "Ollama",
            Self::LmStudio => "LM Studio",
            Self::LlamaCpp => "llama.cpp",
            Self::Vllm => "vLLM",
        })
    }
}

/// What to look for.
#[derive(Clone, Debug)]
pub struct Search {
    /// Servers and the ports they are looked for on.
    pub servers: Vec<(LocalServer, u16)>,
    /// Whether the environment holds `OPENAI_API_KEY`.
    pub has_openai_key: bool,
    /// How long it may take.
    pub time: Duration,
}

impl Default for Search {
    fn default() -> Self {
        let servers = LocalServer::ALL.map(|server| (server, server.default_port()));
        Self {
            servers: servers.to_vec(),
            has_openai_key: false,
            time: SEARCH_TIME_MAX,
        }
    }
}

/// A way to connect a real model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What was found, for people.
    pub what: String,
    /// The line for the configuration file that connects it.
    pub config_line: String,
}

/// Looks for everything at once and reports what is there, in the order of the search.
///
/// # Cancel safety
/// Cancel safe: dropping it closes its connections.
pub async fn discover(client: &ModelClient, search: &Search) -> Vec<Found> {
    let deadline = Instant::now() + search.time;
    let asking = search
        .servers
        .iter()
        .map(|(server, port)| ask(client, *server, *port, deadline));
    let local = join_all(asking).await;
    let openai = search.has_openai_key.then(openai);
    local.into_iter().flatten().chain(openai).collect()
}

async fn ask(
    client: &ModelClient,
    server: LocalServer,
    port: u16,
    deadline: Instant,
) -> Option<Found> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let base_url = BaseUrl::parse(&format!("http://{address}/v1")).ok()?;
    let models = client.models(&base_url, deadline).await?;
    // A gateway of this kind on the same port is no model server.
    let model = models.iter().find(|id| !id.starts_with("openclaw"))?;
    let others = match models.len().saturating_sub(1) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    Some(Found {
        what: format!("{server} at {address} with {model}{others}"),
        config_line: config_line(server.id(), base_url.as_str(), "none", model),
    })
}

fn openai() -> Found {
    Found {
        what: "OPENAI_API_KEY in the environment".to_owned(),
        config_line: config_line(
            "openai",
            "https://api.openai.com/v1",
            "${OPENAI_API_KEY}",
            "gpt-5-mini",
        ),
    }
}

/// A whole configuration on one line; every value is quoted as JSON, which is JSON5 too.
fn config_line(provider: &str, base_url: &str, api_key: &str, model: &str) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        "{{ models: {{ providers: {{ {provider}: {{ baseUrl: {}, apiKey: {}, \
         api: \"openai-completions\", models: [{{ id: {} }}] }} }} }}, \
         agents: {{ defaults: {{ model: {{ primary: {} }} }} }} }}",
        quoted(base_url),
        quoted(api_key),
        quoted(model),
        quoted(&format!("{provider}/{model}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_a_whole_configuration_and_quotes_what_servers_say() {
        assert_eq!(
            config_line("ollama", "http://127.0.0.1:11434/v1", "none", "llama3.2"),
            "{ models: { providers: { ollama: { baseUrl: \"http://127.0.0.1:11434/v1\", \
             apiKey: \"none\", api: \"openai-completions\", models: [{ id: \"llama3.2\" }] } } }, \
             agents: { defaults: { model: { primary: \"ollama/llama3.2\" } } } }"
        );
        let hostile = config_line("vllm", "u", "none", "a\" }], evil: \"b\n");
        assert!(
            hostile.contains(r#"id: "a\" }], evil: \"b\n" }"#),
            "{hostile}"
        );
    }

    #[test]
    fn every_server_has_its_port_and_name() {
        let shown = LocalServer::ALL.map(|s| format!("{s} {} {}", s.id(), s.default_port()));
        assert_eq!(
            shown,
            [
                "Ollama ollama 11434",
                "LM Studio lmstudio 1234",
                "llama.cpp llamacpp 8080",
                "vLLM vllm 8000",
            ]
        );
        assert_eq!(Search::default().servers.len(), 4);
    }
}
