//! An echo on the product's own WebSocket path, for the fuzzing client of the Autobahn suite:
//! `cargo run --example echo -- 127.0.0.1:19001`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a peer for a test suite stops at the first surprise"
)]

use clawport::internals::shutdown::Tasks;
use clawport::internals::transport::ws::echo;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() {
    let address = std::env::args()
        .nth(1)
        .unwrap_or("127.0.0.1:19001".to_owned());
    let listener = TcpListener::bind(&address).await.unwrap();
    eprintln!("echo on {address}");
    let tasks = Tasks::new();
    loop {
        let (stream, _peer) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(echo::serve(stream, tasks.clone()));
    }
}
