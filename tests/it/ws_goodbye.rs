//! The goodbye of a gateway comes behind everything there is to tell.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::Served;
use crate::support::ws::{Heard, Ws, backend};

const RUNS: usize = 12;

fn named(values: &[Value], name: &dyn Fn(&Value) -> Value) -> BTreeSet<String> {
    let names = values.iter().map(name);
    names
        .filter_map(|it| Some(it.as_str()?.to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_end_during_the_drain_are_told_and_answered_before_the_goodbye() {
    // None may end before all are asked for, on a busy machine either.
    let model = "sim/lorem?tokens=20&tps=5";
    let served = Served::start(json!({ "agents": { "list": [{ "id": "main", "model": model }] } }));
    let served = served.await;
    let mut ws = Ws::connect(served.addr(), backend()).await;
    ws.done("sessions.subscribe", json!({})).await;
    let mut asked = BTreeSet::new();
    for number in 0..RUNS {
        let key = format!("agent:main:goodbye-{number}");
        ws.done("sessions.messages.subscribe", json!({ "key": key }))
            .await;
        let params = json!({
            "sessionKey": key, "message": "go", "idempotencyKey": format!("run-{number}"),
        });
        let id = ws.ask("agent", params).await;
        assert_eq!(ws.response(&id).await["payload"]["status"], "accepted");
        asked.insert(id);
    }
    served.gateway.shutdown();

    let mut told = ws.take_events();
    let mut answers = Vec::new();
    let closed = loop {
        match ws.hear().await {
            Heard::Json(frame) if frame["type"] == "event" => told.push(frame),
            Heard::Json(frame) => answers.push(frame),
            Heard::Ping(_) => {}
            other => break other,
        }
    };
    assert_eq!(closed, Heard::Close(1012, "service restart".to_owned()));
    let goodbye = told.pop().unwrap();
    assert_eq!(goodbye["event"], "shutdown", "the last event");
    let of = |name: &str, is_it: &dyn Fn(&Value) -> bool| {
        let payloads = told.iter().filter(|it| it["event"] == name);
        let payloads = payloads.map(|it| it["payload"].clone());
        payloads.filter(|it| is_it(it)).collect::<Vec<_>>()
    };
    let finals = of("chat", &|it| it["state"] == "final");
    let runs = (0..RUNS).map(|number| format!("run-{number}")).collect();
    assert_eq!(named(&finals, &|it| it["runId"].clone()), runs);
    let kept = of("session.message", &|it| {
        it["message"]["role"] == "assistant"
    });
    assert_eq!(named(&kept, &|it| it["sessionKey"].clone()).len(), RUNS);
    let changed = of("sessions.changed", &|it| it["phase"] == "end");
    assert_eq!(named(&changed, &|it| it["sessionKey"].clone()).len(), RUNS);
    assert_eq!(named(&answers, &|it| it["id"].clone()), asked);
    assert!(answers.iter().all(|it| it["payload"]["status"] == "ok"));
}
