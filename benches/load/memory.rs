//! What an idle connection costs the gateway in resident memory (T9, T10).

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::child::Child;
use crate::native;

const WARM_UP: usize = 50;
const CONNECTIONS: usize = 1000;

pub(crate) fn idle(gateway: &Child, token: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    println!("\nidle memory, resident bytes per connection ({CONNECTIONS} connections)");
    let sockets = runtime.block_on(async {
        let mut sockets = Vec::new();
        let mut before = 0;
        for n in 0..WARM_UP + CONNECTIONS {
            if n == WARM_UP {
                before = gateway.resident();
            }
            let mut socket = native::open(gateway.addr).await;
            native::hello(&mut socket, token).await;
            sockets.push(socket);
        }
        println!(
            "  T9  authenticated WebSocket   {:>7}",
            per_connection(gateway, before)
        );
        sockets
    });
    drop(sockets);
    runtime.block_on(async {
        let mut streams = Vec::new();
        let mut before = 0;
        for n in 0..WARM_UP + CONNECTIONS {
            if n == WARM_UP {
                before = gateway.resident();
            }
            let mut stream = TcpStream::connect(gateway.addr).await.unwrap();
            stream
                .write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                .await
                .unwrap();
            let mut buffer = [0; 2048];
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
            streams.push(stream);
        }
        println!(
            "  T10 keep-alive HTTP           {:>7}",
            per_connection(gateway, before)
        );
    });
}

fn per_connection(gateway: &Child, before: u64) -> u64 {
    gateway.resident().saturating_sub(before) / CONNECTIONS as u64
}
