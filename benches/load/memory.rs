//! What an idle connection costs the gateway in resident memory (T9, T10).

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::child::Child;
use crate::gateway::TOKEN;
use crate::native;

const WARM_UP: usize = 50;
const CONNECTIONS: usize = 1000;

/// Measures each kind at a gateway of its own: what an earlier case has freed would hide what a
/// connection takes.
pub(crate) fn idle() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    println!("\nidle memory, resident bytes per connection ({CONNECTIONS} connections)");
    let native = runtime.block_on(cost(async |gateway| {
        let mut socket = native::open(gateway.addr).await;
        native::hello(&mut socket, TOKEN).await;
        socket
    }));
    println!("  T9  authenticated WebSocket   {native:>7}");
    let http = runtime.block_on(cost(async |gateway| {
        let mut stream = TcpStream::connect(gateway.addr).await.unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            .await
            .unwrap();
        let mut buffer = [0; 2048];
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        stream
    }));
    println!("  T10 keep-alive HTTP           {http:>7}");
}

/// Resident bytes a connection takes at a fresh gateway.
async fn cost<T>(connect: impl AsyncFn(&Child) -> T) -> u64 {
    let gateway = Child::start("--serve-gateway");
    let mut connections = Vec::new();
    let mut before = 0;
    for n in 0..WARM_UP + CONNECTIONS {
        if n == WARM_UP {
            before = gateway.resident();
        }
        connections.push(connect(&gateway).await);
    }
    gateway.resident().saturating_sub(before) / CONNECTIONS as u64
}
