//! What a client sees of messages for a busy session, and how a reader catches up, over a real
//! socket.

use serde_json::{Value, json};

use crate::support::{Native, Puppet, PuppetRun, Served, Setup};

async fn moved(settings: Value) -> (Served, Puppet) {
    let (agent, puppet) = Puppet::new();
    (Setup::new(settings).agent(agent).start().await, puppet)
}

async fn queued(native: &Native, run: &str, mode: &str) -> Value {
    let params = json!({"sessionKey": "main", "idempotencyKey": run, "queueMode": mode,
        "message": format!("ask {run}")});
    native.call("chat.send", params).await
}

/// The state of a run's input, as `chat.history` tells it.
async fn receipt(native: &Native, run: &str) -> Value {
    let params = json!({"sessionKey": "main", "inputRunIds": [run]});
    let history = native.call("chat.history", params).await;
    let receipt = history["inputReceipts"][0].clone();
    let is_consumed = receipt["state"] == "consumed";
    let consumptions = history["inputConsumptions"].as_array().unwrap();
    assert_eq!(consumptions.len(), usize::from(is_consumed), "{history}");
    receipt
}

async fn answers(run: &PuppetRun, text: &str) {
    run.says(text).await;
    run.ends().await;
}

/// Runs and texts of the inputs that wait.
async fn pending(native: &Native) -> Vec<(String, String)> {
    let history = native
        .call("chat.history", json!({"sessionKey": "main"}))
        .await;
    let inputs = &history["pendingInputs"];
    let items = inputs["items"].as_array().unwrap();
    assert_eq!(inputs["total"], items.len(), "{inputs}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let items = items.iter().inspect(|item| {
        assert_eq!(item["state"], "queued");
        let message = &item["message"];
        assert_eq!(message["role"], "user");
        assert!(item["acceptedAt"].is_u64());
        assert_eq!(message["timestamp"], item["acceptedAt"]);
        let id = format!("pending:{}", text(&item["id"]));
        assert_eq!(message["__openclaw"], json!({ "id": id }));
    });
    items
        .map(|item| (text(&item["runId"]), text(&item["message"]["content"])))
        .collect()
}

fn pair(run: &str) -> (String, String) {
    (run.to_owned(), format!("ask {run}"))
}

#[tokio::test]
async fn messages_that_wait_are_shown_and_run_one_after_the_other() {
    let (served, mut puppet) = moved(json!({})).await;
    let mut native = served.native().await;
    for run in ["r1", "r2", "r3", "r4"] {
        let started = queued(&native, run, "followup").await;
        assert_eq!(started["status"], "started", "also when it waits");
    }
    let first = puppet.next().await;
    assert_eq!(pending(&native).await, ["r2", "r3", "r4"].map(pair));
    let wait = json!({"runId": "r2", "timeoutMs": 1});
    let waits = native.call("agent.wait", wait).await;
    assert_eq!(
        (&waits["status"], &waits["timeoutPhase"]),
        (&json!("pending"), &json!("queue"))
    );
    assert_eq!(receipt(&native, "r2").await["state"], "pending");
    let again = queued(&native, "r2", "followup").await;
    assert_eq!(again["status"], "in_flight");
    let taken_back = json!({"sessionKey": "main", "runId": "r3"});
    let taken_back = native.call("chat.abort", taken_back).await;
    assert_eq!(taken_back["runIds"], json!(["r3"]));
    assert_eq!(native.end("r3").await.state(), "aborted");
    assert_eq!(pending(&native).await, ["r2", "r4"].map(pair));
    answers(&first, "done").await;
    assert_eq!(native.end("r1").await.text(), "done");
    let second = puppet.next().await;
    assert_eq!(second.turn.turn.text(), "ask r2");
    answers(&second, "done").await;
    assert_eq!(native.end("r2").await.text(), "done");
    assert_eq!(receipt(&native, "r2").await["state"], "consumed");
    let last = puppet.next().await;
    assert_eq!(pending(&native).await, []);
    answers(&last, "done").await;
    native.end("r4").await;
}

#[tokio::test]
async fn a_steered_turn_reads_message_answer_message_answer() {
    let echo = json!({"agents": {"defaults": {"model": "sim/echo?tps=20"}}});
    let served = Served::start(echo.clone()).await;
    let mut native = served.native().await;
    queued(&native, "r1", "steer").await;
    native.delta("r1").await;
    queued(&native, "r2", "steer").await;
    assert_eq!(native.end("r1").await.text(), "ask r1\n\nask r2");
    let taken = native.end("r2").await;
    assert_eq!((taken.state(), &*taken.text()), ("final", ""));
    let said = |role: &str, text: &str| (role.to_owned(), text.to_owned());
    let expected = [
        said("user", "ask r1"),
        said("assistant", "ask r1"),
        said("user", "ask r2"),
        said("assistant", "ask r2"),
    ];
    assert_eq!(native.history("main").await, expected);
    drop(native);

    // The whole answer is known after a restart, too.
    let state = served.stop().await;
    let served = Setup::new(echo).over(state).start().await;
    let native = served.native().await;
    let run = native.call("runs.get", json!({"runId": "r1"})).await;
    assert_eq!(run["text"], "ask r1\n\nask r2", "{run}");
    assert_eq!(native.history("main").await, expected);
}

#[tokio::test]
async fn messages_that_wait_can_be_answered_together() {
    let (served, mut puppet) = moved(json!({"messages": {"queue": {"debounceMs": 10}}})).await;
    let mut native = served.native().await;
    for run in ["r1", "r2", "r3"] {
        queued(&native, run, "collect").await;
    }
    let first = puppet.next().await;
    answers(&first, "one").await;
    native.end("r1").await;
    let both = puppet.next().await;
    let asked = both.turn.turn.text();
    assert!(
        asked.contains("ask r2") && asked.contains("ask r3"),
        "{asked}"
    );
    answers(&both, "both").await;
    let mut texts = Vec::new();
    for _ in 0..2 {
        let end = native
            .event(|event| event.name == "chat" && event.is_terminal())
            .await;
        assert_eq!(end.state(), "final", "{end:?}");
        texts.push((end.run().to_owned(), end.text()));
    }
    texts.sort();
    let answered: Vec<_> = texts.iter().map(|(_run, text)| text.as_str()).collect();
    assert!(
        answered == ["both", ""] || answered == ["", "both"],
        "one answer, and an end without one for the other: {texts:?}"
    );
    for run in ["r2", "r3"] {
        let receipt = receipt(&native, run).await;
        assert_eq!(receipt["state"], "consumed", "{run}");
        assert!(receipt["consumedByEventId"].is_string());
    }
    assert!(puppet.is_idle());
}

#[tokio::test]
async fn a_message_can_take_the_place_of_the_active_run() {
    let (served, mut puppet) = moved(json!({})).await;
    let mut native = served.native().await;
    queued(&native, "r1", "followup").await;
    let first = puppet.next().await;
    first.says("half").await;
    native.delta("r1").await;
    let taken = queued(&native, "r2", "interrupt").await;
    assert_eq!(
        (&taken["status"], &taken["interruptedActiveRun"]),
        (&json!("started"), &json!(true))
    );
    let end = native.end("r1").await;
    assert_eq!((end.state(), &*end.text()), ("aborted", "half"));
    answers(&puppet.next().await, "whole").await;
    assert_eq!(native.end("r2").await.text(), "whole");
    let texts: Vec<_> = native.history("main").await;
    let texts: Vec<_> = texts.iter().map(|(_role, text)| text.as_str()).collect();
    assert_eq!(texts, ["ask r1", "half", "ask r2", "whole"]);
}

#[tokio::test]
async fn a_stop_takes_back_what_waits_too_and_keeps_what_was_said() {
    let (served, mut puppet) = moved(json!({})).await;
    let mut native = served.native().await;
    for run in ["r1", "r2"] {
        queued(&native, run, "followup").await;
    }
    let first = puppet.next().await;
    first.says("so far").await;
    native.delta("r1").await;
    let stopped = native.send("main", "s", " STOP ").await;
    assert_eq!(
        stopped,
        json!({"ok": true, "aborted": true, "runIds": ["r1", "r2"]})
    );
    first.given_up().await;
    for run in ["r2", "r1"] {
        let end = native.end(run).await;
        assert_eq!(
            (end.state(), &end.payload["stopReason"]),
            ("aborted", &json!("stop"))
        );
    }
    assert!(puppet.is_idle());
    let history = native
        .call("chat.history", json!({"sessionKey": "main"}))
        .await;
    let kept = history["messages"].to_string();
    assert!(
        kept.contains("so far") && kept.contains("stop-command"),
        "{kept}"
    );
}

#[tokio::test]
async fn a_reader_goes_on_from_where_it_was_or_is_told_to_begin_anew() {
    let served = Served::start(json!({"agents": {"defaults": {"model": "sim/echo"}}})).await;
    let native = served.native().await;
    let said = async |run: &str| {
        native.send("main", run, run).await;
        let wait = json!({"runId": run, "timeoutMs": 10_000});
        native.call("agent.wait", wait).await;
    };
    let read = async |cursor: &Value| {
        let params = json!({"sessionKey": "main", "cursor": cursor});
        native.call("chat.history", params).await
    };
    said("r1").await;
    let whole = native
        .call("chat.history", json!({"sessionKey": "main"}))
        .await;
    said("r2").await;
    let delta = read(&whole["deltaCursor"]).await;
    let seq = |message: &Value| message["__openclaw"]["seq"].as_u64().unwrap();
    let seqs: Vec<_> = delta["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(seq)
        .collect();
    assert_eq!((&delta["kind"], seqs), (&json!("delta"), vec![3, 4]));
    let nothing = read(&delta["deltaCursor"]).await;
    assert_eq!(nothing["messages"], json!([]));
    let anew = json!({"kind": "reset"});
    assert_eq!(read(&json!("garbage")).await, anew);
    for n in 0..201 {
        let note = json!({"sessionKey": "main", "message": n.to_string()});
        native.call("chat.inject", note).await;
    }
    assert_eq!(read(&delta["deltaCursor"]).await, anew, "too far behind");
    native.call("sessions.reset", json!({"key": "main"})).await;
    assert_eq!(
        read(&delta["deltaCursor"]).await,
        anew,
        "another transcript"
    );
}
