//! Bounds of what one peer, one model server or one session can take.

use std::net::SocketAddr;

use clawport::run::{Event, FinishReason, ToolCallDelta};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::http::{chat, request};
use crate::support::{Connection, Native, Puppet, Served, Setup, soon};

/// A connection from another address of this machine.
async fn from_elsewhere(addr: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    soon(socket.connect(addr)).await.unwrap()
}

fn health() -> String {
    request("GET", "/health", &[], "")
}

async fn sharing(idle_per_address: u32) -> Served {
    Served::start(json!({"gateway": {"limits": {"idlePerAddress": idle_per_address}}})).await
}

#[tokio::test]
async fn silent_sockets_of_one_address_leave_room_for_others() {
    let served = sharing(4).await;
    let addr = served.addr();
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(Connection::over(from_elsewhere(addr).await));
    }
    let mut over = Connection::over(from_elsewhere(addr).await);
    let refused = over.response().await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.text(), "Too many idle connections of this address");
    over.closed().await;
    assert_eq!(served.gateway.metrics().connections_refused.get(), 1);
    let mut other = served.connect().await;
    assert_eq!(other.ask(health()).await.status(), 200);
    // Who goes makes room.
    silent.pop();
    loop {
        let mut again = Connection::over(from_elsewhere(addr).await);
        if let Some(answer) = again.try_ask(health()).await
            && answer.status() == 200
        {
            return;
        }
    }
}

#[tokio::test]
async fn sockets_that_idle_after_a_request_leave_room_for_new_ones() {
    let served = sharing(4).await;
    let mut kept = Vec::new();
    for n in 0..6 {
        let mut connection = served.connect().await;
        let answer = connection.ask(health()).await;
        assert_eq!(answer.status(), 200);
        let closes = answer.header("connection") == Some("close");
        assert_eq!(closes, n >= 2, "{n}");
        if closes {
            connection.closed().await;
        } else {
            kept.push(connection);
        }
    }
    // One that is kept goes on.
    assert_eq!(kept[0].ask(health()).await.status(), 200);
}

#[tokio::test]
async fn proxies_have_no_share() {
    let limits = json!({"idlePerAddress": 1});
    let gateway = json!({"limits": limits, "trustedProxies": ["127.0.0.2"]});
    let served = Served::start(json!({"gateway": gateway})).await;
    let mut sockets = Vec::new();
    for _ in 0..4 {
        sockets.push(Connection::over(from_elsewhere(served.addr()).await));
    }
    for socket in &mut sockets {
        let answer = socket.ask(health()).await;
        assert_eq!((answer.status(), answer.header("connection")), (200, None));
    }
}

/// One piece of a call of a client's tool.
fn piece(index: u32, id: Option<String>, arguments: &str) -> Event {
    Event::ToolCall(ToolCallDelta {
        index,
        name: id.as_ref().map(|_| "f".to_owned()),
        id,
        arguments: arguments.to_owned(),
    })
}

#[tokio::test]
async fn ids_of_tool_calls_count_as_output() {
    let (agent, mut puppet) = Puppet::new();
    let served = Setup::new(json!({"events": {"outputBytes": 65_536}}))
        .agent(agent)
        .start()
        .await;
    let mut connection = served.connect().await;
    let body = json!({"model": "openclaw", "messages": [{"role": "user", "content": "hi"}]});
    connection.send(chat(&body.to_string())).await;
    let run = puppet.next().await;
    for index in 0..3 {
        run.yields(piece(index, Some("i".repeat(30_000)), "")).await;
    }
    let answer = connection.response().await;
    assert!(answer.text().contains("output limit"), "{}", answer.text());
}

#[tokio::test]
async fn arguments_that_come_byte_by_byte_arrive_whole() {
    let (agent, mut puppet) = Puppet::new();
    let served = Setup::new(json!({})).agent(agent).start().await;
    let mut connection = served.connect().await;
    let body = json!({"model": "openclaw", "messages": [{"role": "user", "content": "hi"}]});
    connection.send(chat(&body.to_string())).await;
    let run = puppet.next().await;
    run.yields(piece(0, Some("a".to_owned()), "")).await;
    run.yields(piece(1, Some("b".to_owned()), "")).await;
    let expected = ["x".repeat(2_000), "y".repeat(200)];
    for n in 0..2_000 {
        run.yields(piece(0, None, "x")).await;
        if n % 10 == 0 {
            run.yields(piece(1, None, "y")).await;
        }
    }
    run.yields(Event::Finished(FinishReason::ToolCalls)).await;
    let answer = connection.response().await.json();
    let calls = &answer["choices"][0]["message"]["tool_calls"];
    for (call, expected) in [0, 1].into_iter().zip(expected) {
        assert_eq!(calls[call]["function"]["arguments"], json!(expected));
    }
}

#[tokio::test]
async fn settings_have_a_largest_value() {
    let served = Served::start(json!({})).await;
    let native = served.native().await;
    let patch = |value: Value| json!({"key": "agent:main:s", "toolOverrides": value});
    let allowed = patch(json!({"a": "x".repeat(4_000)}));
    native.call("sessions.patch", allowed).await;
    let params = patch(json!({"a": "x".repeat(5_000)}));
    let error = native.refused("sessions.patch", params).await;
    let said = error.to_string();
    assert!(
        said.contains("toolOverrides too large (max 4096 bytes of JSON)"),
        "{said}"
    );
    assert!(said.contains("INVALID_REQUEST"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_wait_for_their_share_and_all_come() {
    // So little that only one answer of a connection, and one of all, is in the making.
    let limits = json!({"answerBytes": 1_048_576, "answerBytesPerConnection": 1_048_576});
    let served = Served::start(json!({
        "gateway": {"limits": limits},
        "agents": {"defaults": {"model": "sim/echo"}},
    }))
    .await;
    let native = served.native().await;
    let run = json!({"message": "m ".repeat(50_000), "idempotencyKey": "r",
        "sessionKey": "agent:main:s"});
    native.call_final("agent", run).await;
    let readers = [served.native().await, served.native().await];
    let asked = json!({"sessionKey": "agent:main:s", "maxChars": 500_000});
    let calls = readers
        .iter()
        .flat_map(|reader: &Native| (0..40).map(|_| reader.call("chat.history", asked.clone())));
    for answer in soon(futures_util::future::join_all(calls)).await {
        assert_eq!(answer["messages"].as_array().unwrap().len(), 2);
    }
}
