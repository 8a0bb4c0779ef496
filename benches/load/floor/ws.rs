//! The least a WebSocket server can do: typed JSON in and out, 4 KiB buffers.

use std::borrow::Cow;

use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_tungstenite::accept_async_with_config;

use crate::child::announce;

use super::{runtime, small_buffers};

#[derive(Deserialize)]
struct Req<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    method: Cow<'a, str>,
}

#[derive(Serialize)]
struct Res<'a> {
    r#type: &'a str,
    id: &'a str,
    ok: bool,
    payload: &'a str,
}

pub(crate) fn serve() {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        announce(listener.local_addr().unwrap());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(async move {
                let Ok(mut socket) = accept_async_with_config(stream, Some(small_buffers())).await
                else {
                    return;
                };
                while let Some(Ok(message)) = socket.next().await {
                    let Ok(text) = message.to_text() else { return };
                    let Ok(req) = serde_json::from_str::<Req<'_>>(text) else {
                        return;
                    };
                    let res = Res {
                        r#type: "res",
                        id: &req.id,
                        ok: true,
                        payload: &req.method,
                    };
                    let res = serde_json::to_string(&res).unwrap();
                    if socket.send(res.into()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}
