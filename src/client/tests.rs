//! Tests of the client against a scripted gateway.

#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::future::Future;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::*;

/// The gateway's side of a connection, scripted.
struct Gateway(WebSocketStream<DuplexStream>);

impl Gateway {
    async fn accept(stream: DuplexStream) -> Self {
        Self(accept_async(stream).await.unwrap())
    }

    async fn say(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next request of the client.
    async fn request(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.0.next().await.unwrap().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    async fn greet(stream: DuplexStream) -> Self {
        let mut gateway = Self::accept(stream).await;
        gateway.say(challenge_event()).await;
        let request = gateway.request().await;
        assert_eq!(request["method"], "connect");
        gateway.say(hello_response()).await;
        gateway
    }
}

fn challenge_event() -> Value {
    json!({"type": "event", "event": "connect.challenge", "payload": {"nonce": "n", "ts": 1}})
}

fn hello_response() -> Value {
    json!({"type": "res", "id": "connect", "ok": true, "payload": {
        "type": "hello-ok", "protocol": 4, "server": {"version": "1", "connId": "c"},
        "features": {"methods": ["health"], "events": ["tick"]},
        "auth": {"method": "token", "role": "operator", "scopes": ["operator.admin"]},
        "policy": {"maxPayload": 1, "maxBufferedBytes": 1, "tickIntervalMs": 1000}}})
}

fn options() -> ClientOptions {
    ClientOptions {
        events_max: 4,
        ..ClientOptions::new("ws://gateway").with_token("secret-token")
    }
}

/// Runs a scripted gateway beside a client that is connected to it.
async fn with<G, C, R>(
    gateway: impl FnOnce(DuplexStream) -> G,
    client: impl FnOnce(Result<Connected<DuplexStream>, ConnectError>) -> C,
) -> R
where
    G: Future<Output = ()>,
    C: Future<Output = R>,
{
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let options = options();
    let connected = async { client(connect_over(ours, &options).await).await };
    let (result, ()) = tokio::join!(connected, gateway(theirs));
    result
}

#[tokio::test]
async fn the_handshake_offers_what_the_options_say() {
    let hello = with(
        |stream| async {
            let mut gateway = Gateway::accept(stream).await;
            gateway.say(challenge_event()).await;
            let request = gateway.request().await;
            let params = &request["params"];
            assert_eq!(params["minProtocol"], 3);
            assert_eq!(params["maxProtocol"], 4);
            assert_eq!(params["client"]["id"], "cli");
            assert_eq!(params["client"]["mode"], "cli");
            assert_eq!(params["auth"], json!({"token": "secret-token"}));
            assert_eq!(params["scopes"], json!(["operator.admin"]));
            gateway
                .say(json!({"type": "event", "event": "presence"}))
                .await;
            gateway.say(hello_response()).await;
        },
        |connected| async { connected.unwrap().client.hello },
    )
    .await;
    assert_eq!(hello.protocol, 4);
    assert_eq!(&*hello.server.conn_id, "c");
    assert_eq!(hello.features.methods.len(), 1);
    assert_eq!(hello.auth.as_ref().unwrap().scopes.len(), 1);
    assert!(hello.raw.as_ref().unwrap().get().contains("hello-ok"));
}

#[tokio::test]
async fn a_refusal_is_told_with_its_code_and_details() {
    let error = with(
        |stream| async {
            let mut gateway = Gateway::accept(stream).await;
            gateway.say(challenge_event()).await;
            gateway.request().await;
            let error = json!({"code": "INVALID_REQUEST", "message": "unauthorized: x",
                "details": {"code": "AUTH_TOKEN_MISMATCH"}, "retryable": true, "retryAfterMs": 7});
            gateway
                .say(json!({"type": "res", "id": "connect", "ok": false, "error": error}))
                .await;
        },
        |connected| async { connected.map(|_| ()).unwrap_err() },
    )
    .await;
    let ConnectError::Refused(refusal) = error else {
        panic!("{error:?}");
    };
    assert_eq!(refusal.to_string(), "unauthorized: x (INVALID_REQUEST)");
    assert_eq!(
        refusal.details.as_ref().unwrap()["code"],
        "AUTH_TOKEN_MISMATCH"
    );
    assert_eq!(refusal.retry_after(), Some(Duration::from_millis(7)));
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_goes_wrong_says_how() {
    let close = |code, reason: &'static str| {
        move |stream| async move {
            let mut gateway = Gateway::accept(stream).await;
            let frame = CloseFrame {
                code: CloseCode::from(code),
                reason: reason.into(),
            };
            gateway.0.close(Some(frame)).await.unwrap();
        }
    };
    let shown = |connected: Result<Connected<DuplexStream>, ConnectError>| async {
        connected.map(|_| ()).unwrap_err().to_string()
    };
    let closed = with(close(1013, "gateway starting"), shown).await;
    assert_eq!(
        closed,
        "the gateway closed the connection: closed by the gateway (1013): gateway starting"
    );
    let odd = |stream| async {
        let mut gateway = Gateway::accept(stream).await;
        gateway.say(json!({"type": "event", "event": "tick"})).await;
    };
    assert_eq!(
        with(odd, shown).await,
        "the gateway does not speak the protocol: no challenge"
    );
    let nothing = |stream: DuplexStream| async {
        let gateway = Gateway::accept(stream).await;
        tokio::time::sleep(Duration::from_mins(1)).await;
        drop(gateway);
    };
    assert_eq!(
        with(nothing, shown).await,
        "the gateway did not answer in time"
    );
    let gone = |stream: DuplexStream| async { drop(stream) };
    assert!(
        with(gone, shown)
            .await
            .starts_with("the gateway closed the connection")
    );
    let web = |mut stream: DuplexStream| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut head = [0; 512];
        assert!(stream.read(&mut head).await.unwrap() > 0);
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    };
    assert_eq!(
        with(web, shown).await,
        "the answer to the upgrade was HTTP 404"
    );
}

#[tokio::test]
async fn responses_reach_their_requests_in_any_order() {
    with(
        |stream| async {
            let mut gateway = Gateway::greet(stream).await;
            let first = gateway.request().await;
            let second = gateway.request().await;
            for request in [second, first] {
                let payload = json!({"method": request["method"], "params": request["params"]});
                gateway
                    .say(
                        json!({"type": "res", "id": request["id"], "ok": true, "payload": payload}),
                    )
                    .await;
            }
            gateway.0.next().await;
        },
        |connected| async {
            let Connected {
                client,
                driver,
                events,
            } = connected.unwrap();
            let work = async move {
                let (one, two) = (json!({"n": 1}), json!({"n": 2}));
                let (a, b) = tokio::join!(client.request("a", &one), client.request("b", &two));
                assert_eq!(a.unwrap().get(), r#"{"method":"a","params":{"n":1}}"#);
                assert_eq!(b.unwrap().get(), r#"{"method":"b","params":{"n":2}}"#);
            };
            let ((), end) = tokio::join!(work, driver.run());
            assert!(matches!(end, Disconnect::Ours), "{end:?}");
            drop(events);
        },
    )
    .await;
}

#[tokio::test]
async fn a_final_request_passes_over_the_acceptance() {
    with(
        |stream| async {
            let mut gateway = Gateway::greet(stream).await;
            for method in ["agent", "agent", "chat.send"] {
                let request = gateway.request().await;
                assert_eq!(request["method"], method);
                let id = &request["id"];
                gateway.say(json!({"type": "res", "id": id, "ok": true, "payload": {"status": "accepted"}})).await;
                if request["params"] == json!("fails") {
                    let error = json!({"code": "UNAVAILABLE", "message": "it broke"});
                    gateway.say(json!({"type": "res", "id": id, "ok": false, "error": error, "payload": {"status": "error"}})).await;
                } else {
                    gateway.say(json!({"type": "res", "id": id, "ok": true, "payload": {"status": "ok"}})).await;
                }
            }
            gateway.0.next().await;
        },
        |connected| async {
            let connected = connected.unwrap();
            let client = connected.client;
            let work = async move {
                let ended = client.request_final("agent", &"works").await.unwrap();
                assert_eq!(ended.get(), r#"{"status":"ok"}"#);
                let RequestError::Remote(error) = client.request_final("agent", &"fails").await.unwrap_err() else {
                    panic!("not an error of the gateway");
                };
                assert_eq!(error.to_string(), "it broke (UNAVAILABLE)");
                assert_eq!(error.payload.unwrap().get(), r#"{"status":"error"}"#);
                let first = client.request("chat.send", &"works").await.unwrap();
                assert_eq!(first.get(), r#"{"status":"accepted"}"#);
            };
            tokio::join!(work, connected.driver.run());
        },
    )
    .await;
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_how_much_it_lost() {
    with(
        |stream| async {
            let mut gateway = Gateway::greet(stream).await;
            for seq in 1..=10 {
                gateway.say(json!({"type": "event", "event": "tick", "payload": {"n": seq}, "seq": seq})).await;
            }
            gateway.0.close(None).await.unwrap();
        },
        |connected| async {
            let Connected { client, mut events, driver } = connected.unwrap();
            let end = driver.run().await;
            assert_eq!(end.to_string(), "closed by the gateway (1005)");
            let mut seen = Vec::new();
            while let Some(received) = events.next().await {
                seen.push(match received {
                    Received::Event(event) => format!("{:?}", event.seq),
                    Received::Lagged(lost) => format!("lost {lost}"),
                });
            }
            assert_eq!(seen, ["lost 6", "Some(7)", "Some(8)", "Some(9)", "Some(10)"]);
            let late = client.request("health", &json!({})).await.unwrap_err();
            assert_eq!(late.to_string(), "closed by the gateway (1005)");
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn silence_ends_the_connection_and_a_ping_is_no_silence() {
    let started = tokio::time::Instant::now();
    let end = with(
        |stream| async {
            let mut gateway = Gateway::greet(stream).await;
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_millis(1500)).await;
                gateway.0.send(Message::Ping(vec![1].into())).await.unwrap();
                let pong = gateway.0.next().await.unwrap().unwrap();
                assert!(matches!(pong, Message::Pong(_)), "{pong:?}");
            }
            tokio::time::sleep(Duration::from_mins(1)).await;
            drop(gateway);
        },
        |connected| async {
            let connected = connected.unwrap();
            let end = connected.driver.run().await;
            assert!(
                started.elapsed() < Duration::from_secs(9),
                "{:?}",
                started.elapsed()
            );
            drop(connected.client);
            end
        },
    )
    .await;
    assert!(matches!(end, Disconnect::Silent), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_answer_ends_in_time_and_one_whose_connection_ends_at_once() {
    with(
        |stream| async {
            let mut gateway = Gateway::greet(stream).await;
            gateway.request().await;
            for _ in 0..31 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                gateway.say(json!({"type": "event", "event": "tick"})).await;
            }
            gateway.request().await;
        },
        |connected| async {
            let connected = connected.unwrap();
            let client = connected.client;
            let work = async move {
                let slow = client.request("slow", &json!({})).await.unwrap_err();
                assert_eq!(slow.to_string(), "no response in time");
                let cut = client.request_final("cut", &json!({})).await.unwrap_err();
                assert_eq!(cut.to_string(), "closed by the gateway (1006)");
            };
            tokio::join!(work, connected.driver.run());
        },
    )
    .await;
}

#[tokio::test]
async fn urls_are_read_as_people_write_them() {
    let unreachable = |url: &'static str| async move {
        connect(&ClientOptions::new(url))
            .await
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    // Port 9 of the discard service is never ours to talk to.
    for url in ["ws://127.0.0.1:9", "http://127.0.0.1:9/x?y", "127.0.0.1:9"] {
        assert_eq!(unreachable(url).await, "cannot connect to 127.0.0.1:9");
    }
    assert_eq!(unreachable("ws://[::1]:9").await, "cannot connect to ::1:9");
    assert!(unreachable("wss://h").await.contains("not supported"));
    assert!(unreachable("ftp://h").await.contains("not a gateway URL"));
    assert!(unreachable("ws://").await.contains("not a gateway URL"));
}
