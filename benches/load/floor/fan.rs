//! The least a server can do to tell everybody: each frame encoded once, one queue per connection,
//! all that waits in one flush.

use std::sync::{Arc, Mutex};

use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config};

use crate::child::announce;
use crate::fan::floor_frames;

use super::{runtime, small_buffers};

const QUEUE: usize = 1024;

type Everybody = Arc<Mutex<Vec<mpsc::Sender<Utf8Bytes>>>>;

pub(crate) fn serve() {
    runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        announce(listener.local_addr().unwrap());
        let everybody = Everybody::default();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(connection(stream, Arc::clone(&everybody)));
        }
    });
}

async fn connection(stream: TcpStream, everybody: Everybody) {
    let socket = accept_async_with_config(stream, Some(small_buffers())).await;
    let Ok(socket) = socket else { return };
    let (sink, mut stream) = socket.split();
    let (sender, queue) = mpsc::channel(QUEUE);
    everybody.lock().unwrap().push(sender.clone());
    tokio::spawn(write(sink, queue));
    while let Some(Ok(message)) = stream.next().await {
        let Ok(text) = message.to_text() else { return };
        let Some(id) = text
            .split(r#""id":""#)
            .nth(1)
            .and_then(|rest| rest.split('"').next())
        else {
            continue;
        };
        let word = if text.contains("burst-last") {
            "burst-last"
        } else {
            "burst-more"
        };
        for frame in floor_frames(word) {
            let frame = Utf8Bytes::from(&*frame);
            let all = everybody.lock().unwrap().clone();
            for one in all {
                one.send(frame.clone()).await.ok();
            }
        }
        everybody.lock().unwrap().retain(|one| !one.is_closed());
        let answer = format!(r#"{{"type":"res","id":"{id}","ok":true}}"#);
        sender.send(answer.into()).await.ok();
    }
}

async fn write(
    mut sink: SplitSink<WebSocketStream<TcpStream>, Message>,
    mut queue: mpsc::Receiver<Utf8Bytes>,
) {
    let mut ready = Vec::new();
    while queue.recv_many(&mut ready, QUEUE).await > 0 {
        for frame in ready.drain(..) {
            if sink.feed(Message::Text(frame)).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
}
