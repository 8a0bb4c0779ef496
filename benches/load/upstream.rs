//! A model server that costs as little as it can, as a server role of the bench.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::net::TcpListener;

use crate::child::announce;
use crate::floor::http::{BoxBody, CHUNKS, Chunks, accept};
use crate::floor::runtime;

/// Says one token, and `CHUNKS` tokens one by one.
pub(crate) const SHORT: &str = "short";
pub(crate) const LONG: &str = "long";

/// Says 20 tokens, the usual size in comparisons of gateways.
pub(crate) const TWENTY: &str = "twenty";

pub(crate) fn serve() {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        announce(listener.local_addr().unwrap());
        accept(&listener, answer).await;
    });
}

const END: &[u8] = concat!(
    r#"data: {"id":"chatcmpl_0","object":"chat.completion.chunk","created":1790000000,"#,
    r#""model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    "\n\ndata: [DONE]\n\n"
)
.as_bytes();

const WHOLE: &[u8] = concat!(
    r#"{"id":"chatcmpl_0","object":"chat.completion","created":1790000000,"model":"m","#,
    r#""choices":[{"index":0,"message":{"role":"assistant","content":"w0 "},"#,
    r#""finish_reason":"stop"}],"#,
    r#""usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#
)
.as_bytes();

async fn answer(request: Request<Incoming>) -> Result<Response<BoxBody>, Infallible> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let asked = std::str::from_utf8(&body).unwrap();
    let says = |model: &str| asked.contains(&format!("\"model\":\"{model}\""));
    let (kind, body) = if asked.contains("\"stream\":true") {
        let chunks = if says(LONG) {
            CHUNKS
        } else if says(TWENTY) {
            20
        } else {
            1
        };
        ("text/event-stream", Chunks::new(chunks, END).boxed_unsync())
    } else {
        let body = Full::new(Bytes::from_static(WHOLE));
        ("application/json", body.boxed_unsync())
    };
    let response = Response::builder().header("content-type", kind);
    Ok(response.body(body).unwrap())
}
