//! The host that stands for a model server: it says what the last message asks for, with the fault
//! that message asks for.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;
use turmoil::net::{TcpListener, TcpStream};

use crate::plan::{Fault, Script};
use crate::trace::{Fact, Trace};

/// How long a server that says nothing keeps its connection.
const FOR_EVER: Duration = Duration::from_mins(10);

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
const BROKEN: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\n\
    content-length: 30\r\nconnection: close\r\n\r\n{\"error\":{\"message\":\"no luck\"}}";

#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    pub(crate) trace: Trace,
    /// How often each tag was asked for.
    pub(crate) asked: Arc<Mutex<HashMap<String, u32>>>,
}

impl Upstream {
    /// Is the server's host.
    pub(crate) async fn run(self) -> turmoil::Result {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)).await?;
        loop {
            let (stream, _peer) = listener.accept().await?;
            let server = self.clone();
            tokio::spawn(async move {
                // A gateway that has gone wants no answer.
                server.serve(stream).await.ok();
            });
        }
    }

    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let Some(body) = request_body(&mut stream).await? else {
            return Ok(());
        };
        let messages = body["messages"].as_array().cloned().unwrap_or_default();
        let question = messages.iter().rev().find(|it| it["role"] == "user");
        let question = question.map(text_of).unwrap_or_default();
        let script = Script::last_in(&question).expect("every message holds a script");
        self.trace.note(Fact::Upstream {
            tag: script.tag.clone(),
        });
        let times = {
            let mut asked = self.asked.lock().unwrap();
            let times = asked.entry(script.tag.clone()).or_default();
            *times += 1;
            *times
        };
        match script.fault {
            Fault::Mute => {
                sleep(FOR_EVER).await;
                Ok(())
            }
            Fault::Broken => stream.write_all(BROKEN.as_bytes()).await,
            Fault::Hiccup if times == 1 => stream.write_all(BROKEN.as_bytes()).await,
            Fault::None
            | Fault::Hiccup
            | Fault::Stall
            | Fault::Deaf
            | Fault::Close
            | Fault::Garbage => speak(&mut stream, &script).await,
        }
    }
}

async fn speak(stream: &mut TcpStream, script: &Script) -> std::io::Result<()> {
    stream.write_all(OK.as_bytes()).await?;
    for n in 0..=script.words {
        if n == script.at {
            match script.fault {
                Fault::Stall | Fault::Deaf => sleep(FOR_EVER).await,
                Fault::Close => return Ok(()),
                Fault::Garbage => stream.write_all(b"data: {nothing\n\n").await?,
                Fault::None | Fault::Hiccup | Fault::Broken | Fault::Mute => {}
            }
        }
        if n < script.words {
            chunk(stream, json!({"content": script.word(n)}), Value::Null).await?;
            if script.gap_ms > 0 {
                sleep(Duration::from_millis(script.gap_ms)).await;
            }
        }
    }
    chunk(stream, json!({}), json!("stop")).await?;
    stream.write_all(b"data: [DONE]\n\n").await
}

async fn chunk(stream: &mut TcpStream, delta: Value, finish: Value) -> std::io::Result<()> {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "choices": [choice]});
    stream
        .write_all(format!("data: {chunk}\n\n").as_bytes())
        .await
}

fn text_of(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|it| it["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// Reads one request; `None` when the gateway leaves before it is whole.
async fn request_body(stream: &mut TcpStream) -> std::io::Result<Option<Value>> {
    let mut seen = Vec::new();
    loop {
        if let Some(end) = seen.windows(4).position(|it| it == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|it| it.strip_prefix("content-length: "));
            let length: usize = length.unwrap_or("0").trim().parse().unwrap();
            if let Some(body) = seen.get(end + 4..end + 4 + length) {
                return Ok(serde_json::from_slice(body).ok());
            }
        }
        if stream.read_buf(&mut seen).await? == 0 {
            return Ok(None);
        }
    }
}
