//! The least a gateway in front of a model server can do: typed JSON through, or the stream's bytes
//! as they come, one flush per chunk.

use std::borrow::Cow;
use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::net::TcpListener;

use crate::child::announce;
use crate::upstream::{LONG, SHORT};

use super::http::{Ask, BoxBody, accept};
use super::runtime;

pub(crate) fn serve(upstream: SocketAddr) {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        announce(listener.local_addr().unwrap());
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        accept(&listener, move |request| {
            answer(client.clone(), upstream, request)
        })
        .await;
    });
}

async fn answer(
    client: Client<HttpConnector, Full<Bytes>>,
    upstream: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<BoxBody>, Infallible> {
    let is_stream = request.uri().path() == "/sse";
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let ask: Ask<'_> = serde_json::from_slice(&body).unwrap();
    let asked = serde_json::to_vec(&Asked {
        model: if is_stream { LONG } else { SHORT },
        stream: is_stream,
        messages: ask.messages,
    });
    let request = Request::post(format!("http://{upstream}/v1/chat/completions"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(asked.unwrap())))
        .unwrap();
    let answer = client.request(request).await.unwrap().into_body();
    let body = if is_stream {
        answer.map_err(|error| panic!("{error}")).boxed_unsync()
    } else {
        let answer = answer.collect().await.unwrap().to_bytes();
        let answer: Answer<'_> = serde_json::from_slice(&answer).unwrap();
        let answer = serde_json::to_vec(&answer).unwrap();
        Full::new(Bytes::from(answer)).boxed_unsync()
    };
    Ok(Response::new(body))
}

#[derive(Serialize)]
struct Asked<'a> {
    model: &'a str,
    stream: bool,
    messages: &'a RawValue,
}

#[derive(Deserialize, Serialize)]
struct Answer<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    object: Cow<'a, str>,
    created: u64,
    #[serde(borrow)]
    model: Cow<'a, str>,
    #[serde(borrow)]
    choices: &'a RawValue,
    #[serde(borrow)]
    usage: &'a RawValue,
}
