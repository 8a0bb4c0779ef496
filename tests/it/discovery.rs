//! Looking for model servers on this machine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clawport::agent::model::{ModelClient, Spawner};
use clawport::agent::{Found, LocalServer, Search, discover};

use crate::support::upstream::{Mute, Upstream};

async fn search(servers: Vec<(LocalServer, u16)>, has_openai_key: bool) -> Vec<Found> {
    let spawner = Spawner::new(|task| drop(tokio::spawn(task)));
    let client = ModelClient::new(spawner, Arc::default());
    let search = Search {
        servers,
        has_openai_key,
        ..Search::default()
    };
    discover(&client, &search).await
}

#[tokio::test]
async fn what_answers_as_a_model_server_is_found_with_its_config_line() {
    let ollama = Upstream::start().await;
    ollama.offers(&["llama3.2", "qwen3"]);
    let port = ollama.addr().port();
    let found = search(vec![(LocalServer::Ollama, port)], true).await;
    assert_eq!(found.len(), 2);
    assert_eq!(
        found[0].what,
        format!("Ollama at 127.0.0.1:{port} with llama3.2 and 1 more")
    );
    let line = &found[0].config_line;
    assert!(
        line.contains(&format!("baseUrl: \"http://127.0.0.1:{port}/v1\"")),
        "{line}"
    );
    assert!(line.contains("primary: \"ollama/llama3.2\""), "{line}");
    assert!(
        found[1].config_line.contains("${OPENAI_API_KEY}"),
        "{found:?}"
    );
}

#[tokio::test]
async fn what_is_silent_absent_or_something_else_is_not_found() {
    let silent = Mute::start(b"").await;
    let other = Mute::start(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
    let empty = Upstream::start().await;
    empty.offers(&[]);
    let gateway = Upstream::start().await;
    gateway.offers(&["openclaw", "openclaw/default"]);
    let gone = Upstream::start().await.addr().port();
    let begun = Instant::now();
    let found = search(
        vec![
            (LocalServer::Ollama, silent.addr().port()),
            (LocalServer::LmStudio, other.addr().port()),
            (LocalServer::LlamaCpp, empty.addr().port()),
            (LocalServer::LlamaCpp, gateway.addr().port()),
            (LocalServer::Vllm, gone),
        ],
        false,
    )
    .await;
    assert_eq!(found, []);
    // All are asked at once: the search is as long as its limit, not a multiple of it.
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(200) && took < Duration::from_millis(900),
        "{took:?}"
    );
    silent.until(1, 1).await;
}
