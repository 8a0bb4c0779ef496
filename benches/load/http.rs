//! Raw HTTP clients: requests are encoded once, answers are only counted.

use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::child::Child;
use crate::measure::{Case, Connect, Pulse};

pub(crate) fn get<'a>(name: &str, server: &'a Child, path: &str, clients: usize) -> Case<'a> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes();
    case(name, server, request, clients)
}

pub(crate) fn post<'a>(name: &str, server: &'a Child, path: &str, clients: usize) -> Case<'a> {
    let request = with_body(path, "", &chat_body("openclaw", false, None));
    case(name, server, request, clients)
}

pub(crate) fn chat<'a>(
    server: &'a Child,
    token: &str,
    agent: &str,
    stream: bool,
    user: bool,
) -> Case<'a> {
    let clients = if stream { 16 } else { 64 };
    let requests = (0..clients)
        .map(|n| {
            let user = user.then(|| format!("bench-{n}"));
            chat_request(token, agent, stream, user.as_deref())
        })
        .collect();
    Case {
        name: format!("clawport, agent {agent}"),
        server: Some(server),
        addr: server.addr,
        connect: Connect::Http(requests),
    }
}

/// One chat completion, as bytes.
pub(crate) fn chat_request(token: &str, agent: &str, stream: bool, user: Option<&str>) -> Vec<u8> {
    let body = chat_body(&format!("openclaw:{agent}"), stream, user);
    let auth = format!("Authorization: Bearer {token}\r\n");
    with_body("/v1/chat/completions", &auth, &body)
}

pub(crate) fn foreign_chat(addr: SocketAddr, token: &str, stream: bool) -> Case<'static> {
    let auth = format!("Authorization: Bearer {token}\r\n");
    let body = chat_body("openclaw", stream, None);
    let clients = if stream { 16 } else { 64 };
    Case {
        name: format!("{addr}, stream {stream}"),
        server: None,
        addr,
        connect: Connect::Http(vec![
            with_body("/v1/chat/completions", &auth, &body);
            clients
        ]),
    }
}

/// A streamed call that brings a tool and an image; the agent uses neither.
pub(crate) fn rich_chat<'a>(server: &'a Child, token: &str, agent: &str) -> Case<'a> {
    let image = format!("data:image/png;base64,{PIXEL}");
    let content = serde_json::json!([
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": image}},
    ]);
    let function = serde_json::json!({"name": "look", "parameters": {"type": "object"}});
    let body = serde_json::json!({
        "model": format!("openclaw:{agent}"),
        "stream": true,
        "messages": [{"role": "user", "content": content}],
        "tools": [{"type": "function", "function": function}],
    });
    let auth = format!("Authorization: Bearer {token}\r\n");
    Case {
        name: format!("with tool and image, agent {agent}"),
        server: Some(server),
        addr: server.addr,
        connect: Connect::Http(vec![
            with_body(
                "/v1/chat/completions",
                &auth,
                &body.to_string()
            );
            16
        ]),
    }
}

/// A PNG of one pixel.
const PIXEL: &str = concat!(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ",
    "AAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
);

fn case<'a>(name: &str, server: &'a Child, request: Vec<u8>, clients: usize) -> Case<'a> {
    Case {
        name: name.to_owned(),
        server: Some(server),
        addr: server.addr,
        connect: Connect::Http(vec![request; clients]),
    }
}

fn chat_body(model: &str, stream: bool, user: Option<&str>) -> String {
    let user = user
        .map(|user| format!(",\"user\":\"{user}\""))
        .unwrap_or_default();
    format!(
        "{{\"model\":\"{model}\",\"stream\":{stream},\"temperature\":0.7,\"max_tokens\":256{user},\
         \"messages\":[{{\"role\":\"system\",\"content\":\"You are a terse assistant.\"}},\
         {{\"role\":\"user\",\"content\":\"Say hello to the people who measure this.\"}}]}}"
    )
}

fn with_body(path: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends the request again and again until the pulse stops.
pub(crate) async fn drive(addr: SocketAddr, request: Vec<u8>, pulse: Pulse) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::with_capacity(64 * 1024);
    pulse.ready().await;
    while pulse.goes_on() {
        let since = Instant::now();
        stream.write_all(&request).await.unwrap();
        read_answer(&mut stream, &mut buffer).await;
        pulse.count();
        pulse.note(since);
    }
}

/// Sends the request a number of times.
pub(crate) async fn repeat(addr: SocketAddr, request: Vec<u8>, times: usize) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let mut buffer = Vec::with_capacity(64 * 1024);
    for _ in 0..times {
        stream.write_all(&request).await.unwrap();
        read_answer(&mut stream, &mut buffer).await;
    }
}

/// Reads a stream that has no end, and says when its first word is there.
pub(crate) async fn endless(addr: SocketAddr, request: Vec<u8>, ready: Sender<()>) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(&request).await.unwrap();
    let mut buffer = vec![0; 16 * 1024];
    let mut is_ready = false;
    loop {
        let n = stream.read(&mut buffer).await.unwrap();
        assert!(n > 0, "the server closed");
        if !is_ready && find(&buffer[..n], b"\"content\"").is_some() {
            is_ready = true;
            ready.send(()).unwrap();
        }
    }
}

/// Reads one whole answer, with a length or chunked.
async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) {
    buffer.clear();
    loop {
        let n = stream.read_buf(buffer).await.unwrap();
        assert!(
            n > 0,
            "the server closed: {}",
            String::from_utf8_lossy(buffer)
        );
        let Some(head) = find(buffer, b"\r\n\r\n") else {
            continue;
        };
        let text = std::str::from_utf8(&buffer[..head])
            .unwrap()
            .to_ascii_lowercase();
        assert!(
            text.starts_with("http/1.1 200"),
            "{}",
            String::from_utf8_lossy(buffer)
        );
        match text.split("content-length: ").nth(1) {
            Some(rest) => {
                let length: usize = rest.split("\r\n").next().unwrap().parse().unwrap();
                while buffer.len() < head + 4 + length {
                    assert!(stream.read_buf(buffer).await.unwrap() > 0);
                }
            }
            None => {
                while !buffer.ends_with(b"0\r\n\r\n") {
                    assert!(stream.read_buf(buffer).await.unwrap() > 0);
                }
            }
        }
        return;
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
