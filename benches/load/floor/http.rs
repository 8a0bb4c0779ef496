//! The least an HTTP server can do: a fixed answer, typed JSON in and out, chunks one by one.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::net::TcpListener;

use crate::child::announce;

use super::runtime;

pub(crate) const CHUNKS: usize = 200;

#[derive(Deserialize)]
pub(crate) struct Ask<'a> {
    #[serde(borrow)]
    pub(crate) model: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) messages: &'a RawValue,
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    object: &'a str,
    created: u64,
    model: &'a str,
    choices: [Choice<'a>; 1],
    usage: Usage,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    message: Message<'a>,
    finish_reason: &'a str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: &'a str,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
}

pub(crate) fn serve() {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        announce(listener.local_addr().unwrap());
        accept(&listener, answer).await;
    });
}

/// Answers every connection until the process ends.
pub(crate) async fn accept<A, F>(listener: &TcpListener, answer: A)
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<BoxBody>, Infallible>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let answer = answer.clone();
        tokio::spawn(async move {
            http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await
                .ok();
        });
    }
}

pub(crate) type BoxBody = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>) -> Result<Response<BoxBody>, Infallible> {
    let path = request.uri().path().to_owned();
    let body: BoxBody = match path.as_str() {
        "/bare" => {
            Full::new(Bytes::from_static(b"{\"ok\":true,\"status\":\"live\"}")).boxed_unsync()
        }
        "/sse" => Chunks::new(CHUNKS, b"").boxed_unsync(),
        _ => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Full::new(typed(&body)).boxed_unsync()
        }
    };
    Ok(Response::builder()
        .header("content-type", "application/json")
        .body(body)
        .unwrap())
}

fn typed(body: &[u8]) -> Bytes {
    let ask: Ask<'_> = serde_json::from_slice(body).unwrap();
    let answer = Answer {
        id: "chatcmpl_00000000-0000-4000-8000-000000000000",
        object: "chat.completion",
        created: 1_790_000_000,
        model: &ask.model,
        choices: [Choice {
            index: 0,
            message: Message {
                role: "assistant",
                content: &ask.messages.get()[..16],
            },
            finish_reason: "stop",
        }],
        usage: Usage {
            prompt_tokens: 1,
            completion_tokens: 1,
            total_tokens: 2,
        },
    };
    serde_json::to_vec(&answer).unwrap().into()
}

/// Chunks that are flushed one by one: pending once before each. Then the end, if there is one.
pub(crate) struct Chunks {
    left: usize,
    yielded: bool,
    end: &'static [u8],
}

impl Chunks {
    pub(crate) const fn new(left: usize, end: &'static [u8]) -> Self {
        Self {
            left,
            yielded: false,
            end,
        }
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            let end = std::mem::take(&mut self.end);
            let frame = (!end.is_empty()).then(|| Ok(Frame::data(Bytes::from_static(end))));
            return Poll::Ready(frame);
        }
        self.yielded = !self.yielded;
        if self.yielded {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.left -= 1;
        let chunk = format!(
            "data: {{\"id\":\"chatcmpl_00000000-0000-4000-8000-000000000000\",\"object\":\
             \"chat.completion.chunk\",\"created\":1790000000,\"model\":\"openclaw\",\"choices\":\
             [{{\"index\":0,\"delta\":{{\"content\":\"w{} \"}},\"finish_reason\":null}}]}}\n\n",
            self.left
        );
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(chunk)))))
    }
}
