//! A client that shows every byte: requests are text, answers are taken apart by hand.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{TOKEN, soon};

/// One connection to the gateway.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Head {
    fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines
            .filter(|line| !line.is_empty())
            .map(|line| line.split_once(':').unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        Self {
            status: status.parse().unwrap(),
            headers: headers.collect(),
        }
    }

    /// The only value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name);
        let first = values.next();
        assert!(values.next().is_none(), "{name} stands twice");
        first.map(|(_, value)| value.as_str())
    }
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    /// `error.message`.
    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }

    /// `choices[0].message.content`.
    pub(crate) fn content(&self) -> String {
        let json = self.json();
        let content = json["choices"][0]["message"]["content"].as_str();
        content.unwrap_or_else(|| panic!("{json}")).to_owned()
    }
}

/// A request as text, the body with its length.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text
}

/// A chat completion with the right token.
pub(crate) fn chat(body: &str) -> String {
    chat_with(&[], body)
}

/// A chat completion with the right token and further headers.
pub(crate) fn chat_with(headers: &[(&str, &str)], body: &str) -> String {
    let token = format!("Bearer {TOKEN}");
    let mut all = vec![("Authorization", token.as_str())];
    all.extend_from_slice(headers);
    request("POST", "/v1/chat/completions", &all, body)
}

impl Connection {
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        let stream = soon(TcpStream::connect(addr)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// A connection over a socket that is open already.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn ask(&mut self, text: impl AsRef<[u8]>) -> Response {
        self.send(text).await;
        self.response().await
    }

    /// The same where the other side may be gone before it has answered.
    pub(crate) async fn try_ask(&mut self, text: impl AsRef<[u8]>) -> Option<Response> {
        soon(self.stream.write_all(text.as_ref())).await.ok()?;
        while !self.has_response() {
            if !self.fill().await {
                return None;
            }
        }
        Some(self.response().await)
    }

    /// Whether a whole answer with a length is in the buffer.
    fn has_response(&self) -> bool {
        let text = String::from_utf8_lossy(&self.buffer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            return false;
        };
        let bytes = Head::parse(head)
            .header("content-length")
            .unwrap()
            .parse::<usize>();
        body.len() >= bytes.unwrap()
    }

    /// Reads more into the buffer; false at the end.
    async fn fill(&mut self) -> bool {
        self.buffer.reserve(16 * 1024);
        soon(self.stream.read_buf(&mut self.buffer))
            .await
            .unwrap_or(0)
            > 0
    }

    async fn take_until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            let found = self.buffer.windows(end.len()).position(|w| w == end);
            if let Some(at) = found {
                let rest = self.buffer.split_off(at + end.len());
                return std::mem::replace(&mut self.buffer, rest);
            }
            let seen = String::from_utf8_lossy(&self.buffer).into_owned();
            assert!(self.fill().await, "the connection closed after {seen:?}");
        }
    }

    async fn take(&mut self, bytes: usize) -> Vec<u8> {
        while self.buffer.len() < bytes {
            assert!(self.fill().await, "the connection closed early");
        }
        let rest = self.buffer.split_off(bytes);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// Reads the head of an answer.
    pub(crate) async fn head(&mut self) -> Head {
        let text = self.take_until(b"\r\n\r\n").await;
        Head::parse(std::str::from_utf8(&text).unwrap())
    }

    /// Reads a whole answer.
    pub(crate) async fn response(&mut self) -> Response {
        let head = self.head().await;
        let mut body = Vec::new();
        if head.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                body.extend_from_slice(&chunk);
            }
        } else if let Some(bytes) = head.header("content-length") {
            body = self.take(bytes.parse().unwrap()).await;
        }
        Response { head, body }
    }

    /// Reads one chunk of a chunked body; `None` is its end.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.chunk_size().await;
        let mut chunk = self.take(size + 2).await;
        assert_eq!(chunk.split_off(size), b"\r\n");
        (size > 0).then_some(chunk)
    }

    /// Reads what is left of a chunked body and the fields that follow it.
    pub(crate) async fn rest_and_trailer(&mut self) -> (Vec<u8>, String) {
        let mut rest = Vec::new();
        loop {
            let size = self.chunk_size().await;
            if size == 0 {
                break;
            }
            rest.extend_from_slice(&self.take(size + 2).await[..size]);
        }
        let mut trailer = String::new();
        loop {
            let line = self.take_until(b"\r\n").await;
            if line == b"\r\n" {
                return (rest, trailer);
            }
            trailer.push_str(std::str::from_utf8(&line).unwrap());
        }
    }

    async fn chunk_size(&mut self) -> usize {
        let line = self.take_until(b"\r\n").await;
        let size = std::str::from_utf8(&line).unwrap().trim_end();
        usize::from_str_radix(size, 16).unwrap()
    }

    /// Reads what is left of a chunked body.
    pub(crate) async fn rest_of_stream(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        while let Some(chunk) = self.chunk().await {
            rest.extend_from_slice(&chunk);
        }
        rest
    }

    /// Reads the next chunk of a stream as text.
    pub(crate) async fn events(&mut self) -> String {
        String::from_utf8(self.chunk().await.unwrap()).unwrap()
    }

    /// Reads everything until the other side closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.buffer)
    }

    /// Waits until the other side has closed without sending anything more.
    pub(crate) async fn closed(&mut self) {
        let rest = self.rest().await;
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    }
}

/// The frames of a stream, without `data: `.
pub(crate) fn frames(stream: &str) -> Vec<String> {
    assert!(stream.ends_with("\n\n"), "{stream:?}");
    stream
        .split_terminator("\n\n")
        .filter(|frame| !frame.starts_with(':'))
        .map(|frame| {
            frame
                .strip_prefix("data: ")
                .unwrap_or_else(|| panic!("{frame:?}"))
        })
        .map(str::to_owned)
        .collect()
}

/// The content of a stream, joined.
pub(crate) fn streamed_text(stream: &str) -> String {
    let chunks = frames(stream);
    let chunks = chunks.iter().filter(|frame| *frame != "[DONE]");
    chunks
        .map(|frame| serde_json::from_str::<Value>(frame).unwrap())
        .filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned()))
        .collect()
}
