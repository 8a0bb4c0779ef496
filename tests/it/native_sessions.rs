//! Sessions made, written to, stopped and looked at through `sessions.*`, over a real socket.

use serde_json::{Value, json};

use crate::support::{Native, Puppet, Served, Setup};

async fn served() -> Served {
    Served::start(json!({"agents": {"list": [
        {"id": "main", "default": true, "model": "sim/echo"},
        {"id": "beta", "model": "sim/demo"},
    ]}}))
    .await
}

async fn moved() -> (Served, Puppet) {
    let (agent, puppet) = Puppet::new();
    (Setup::new(json!({})).agent(agent).start().await, puppet)
}

async fn waited(native: &Native, run: &str) -> Value {
    let wait = json!({"runId": run, "timeoutMs": 10_000});
    native.call("agent.wait", wait).await
}

async fn check_refused(native: &Native, method: &str, params: Value, message: &str) {
    let error = native.refused(method, params).await;
    assert_eq!(*error.message, *message, "{method}");
}

/// The reason of the next `sessions.changed` that has one.
async fn next_reason(native: &mut Native) -> String {
    let event = native
        .event(|event| event.name == "sessions.changed" && event.payload["reason"].is_string())
        .await;
    event.payload["reason"].as_str().unwrap().to_owned()
}

fn said(role: &str, text: &str) -> (String, String) {
    (role.to_owned(), text.to_owned())
}

#[tokio::test]
async fn a_session_is_made_with_what_it_is_given() {
    let served = served().await;
    let mut native = served.native().await;
    native.call("sessions.subscribe", json!({})).await;
    let given = json!({
        "agentId": "beta", "label": "Work", "displayName": "The work", "thinkingLevel": "low",
        "model": "sim/demo", "parentSessionKey": "main", "worktree": false,
    });
    let made = native.call("sessions.create", given).await;
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("agent:beta:dashboard:"), "{made}");
    assert_eq!(made["runStarted"], false);
    assert_eq!(made["sessionId"], made["entry"]["sessionId"]);
    assert_eq!(
        made["resolved"],
        json!({"modelProvider": "sim", "model": "demo"})
    );
    let entry = &made["entry"];
    assert_eq!(
        (&entry["label"], &entry["thinkingLevel"]),
        (&json!("Work"), &json!("low"))
    );
    assert_eq!(next_reason(&mut native).await, "create");
    let row = native.call("sessions.describe", json!({"key": key})).await;
    assert_eq!(row["session"]["displayName"], "The work", "{row}");
    assert_eq!(row["session"]["sessionId"], made["sessionId"]);

    let named = native
        .call("sessions.create", json!({"key": "Mine", "agentId": "main"}))
        .await;
    assert_eq!(named["key"], "agent:main:mine");
    let once = json!({"idempotencyKey": "once"});
    let first = native.call("sessions.create", once.clone()).await;
    let again = native.call("sessions.create", once).await;
    assert_eq!(
        (&first["key"], &first["sessionId"]),
        (&again["key"], &again["sessionId"])
    );
    let other = native.call("sessions.create", json!({})).await;
    assert_ne!(first["key"], other["key"]);
}

#[tokio::test]
async fn a_session_that_cannot_be_had_is_not_made() {
    let served = served().await;
    let native = served.native().await;
    let label = json!({"label": "Work"});
    native.call("sessions.create", label.clone()).await;
    for (params, message) in [
        (label, "label already in use: Work"),
        (json!({"agentId": "ghost"}), "unknown agent id \"ghost\""),
        (
            json!({"key": "agent:main:x", "agentId": "beta"}),
            "agentId \"beta\" does not match session key \"agent:main:x\"",
        ),
        (
            json!({"parentSessionKey": "nobody"}),
            "unknown parent session: nobody",
        ),
        (json!({"model": "no/model"}), "model not allowed: no/model"),
        (
            json!({"fork": true}),
            "fork is not supported by this gateway",
        ),
        (
            json!({"label": ""}),
            "invalid sessions.create params: at /label: must not have fewer than 1 characters",
        ),
    ] {
        check_refused(&native, "sessions.create", params, message).await;
    }
    let writer = Native::scoped(served.addr(), &["operator.write"]).await;
    for strict in [
        json!({"permissionMode": "full"}),
        json!({"toolOverrides": {}}),
        json!({"execNode": "n"}),
        json!({"incognito": true}),
    ] {
        check_refused(
            &writer,
            "sessions.create",
            strict,
            "missing scope: operator.admin",
        )
        .await;
    }
    let guarded = json!({"permissionMode": "guarded", "incognito": false});
    let made = writer.call("sessions.create", guarded).await;
    assert_eq!(made["entry"]["permissionMode"], "guarded", "{made}");
    let list = native.call("sessions.list", json!({})).await;
    assert_eq!(list["count"], 2, "{list}");
}

#[tokio::test]
async fn a_session_begins_with_its_first_message() {
    let served = served().await;
    let mut native = served.native().await;
    let given = json!({"idempotencyKey": "c1", "message": "hello", "label": "Talk"});
    let made = native.call("sessions.create", given.clone()).await;
    let key = made["key"].as_str().unwrap();
    let shown = [&made["runStarted"], &made["runId"], &made["status"]];
    assert_eq!(shown, [&json!(true), &json!("c1"), &json!("started")]);
    assert_eq!(made["messageSeq"], 1);
    let end = native.end("c1").await;
    assert_eq!(end.payload["sessionKey"], key);
    let talk = [said("user", "hello"), said("assistant", "hello")];
    assert_eq!(native.history(key).await, talk);
    let again = native.call("sessions.create", given).await;
    let shown = [&again["key"], &again["runId"], &again["status"]];
    assert_eq!(shown, [&json!(key), &json!("c1"), &json!("ok")]);
    assert_eq!(native.history(key).await, talk, "nothing is said twice");

    let unnamed = json!({"task": "first", "message": "second"});
    let unnamed = native.call("sessions.create", unnamed).await;
    let run = unnamed["runId"].as_str().unwrap();
    assert_eq!(waited(&native, run).await["status"], "ok");
    let key = unnamed["key"].as_str().unwrap();
    assert_eq!(native.history(key).await[0], said("user", "first"));

    let refused = json!({"message": "a\u{0}b", "key": "refused"});
    let refused = native.call("sessions.create", refused).await;
    assert_eq!(
        (&refused["ok"], &refused["runStarted"], refused.get("runId")),
        (&json!(true), &json!(false), None)
    );
    assert_eq!(
        refused["runError"],
        json!({"code": "INVALID_REQUEST", "message": "message must not contain null bytes"})
    );
    assert_eq!(native.history("refused").await, []);
}

#[tokio::test]
async fn a_message_is_sent_to_a_session_that_is_there() {
    let served = served().await;
    let native = served.native().await;
    let main = json!({"key": "main", "message": "hello", "idempotencyKey": "m1"});
    let sent = native.call("sessions.send", main.clone()).await;
    assert_eq!(
        sent,
        json!({"runId": "m1", "status": "started", "messageSeq": 1})
    );
    assert_eq!(waited(&native, "m1").await["status"], "ok");
    let again = native.call("sessions.send", main).await;
    assert_eq!(again, json!({"runId": "m1", "status": "ok"}));
    let same = native.send("main", "m1", "hello").await;
    assert_eq!(same, again, "one table of keys for both methods");
    let unnamed = json!({"key": "main", "message": "more"});
    let unnamed = native.call("sessions.send", unnamed).await;
    let run = unnamed["runId"].as_str().unwrap();
    assert_eq!(waited(&native, run).await["status"], "ok");
    for method in ["sessions.send", "sessions.steer"] {
        check_refused(
            &native,
            method,
            json!({"key": "agent:main:nobody", "message": "x"}),
            "session not found: agent:main:nobody",
        )
        .await;
        check_refused(
            &native,
            method,
            json!({"key": "main", "message": " "}),
            "message or attachment required",
        )
        .await;
        check_refused(
            &native,
            method,
            json!({"key": "main"}),
            &format!("invalid {method} params: must have required property 'message'"),
        )
        .await;
    }
    let stop = json!({"key": "main", "message": "/stop"});
    let stopped = native.call("sessions.send", stop).await;
    assert_eq!(stopped, json!({"ok": true, "aborted": false, "runIds": []}));
}

#[tokio::test]
async fn a_steered_message_takes_the_place_of_the_active_run() {
    let (served, mut puppet) = moved().await;
    let mut native = served.native().await;
    native.send("main", "old", "begin").await;
    let old = puppet.next().await;
    old.says("half an").await;
    native.delta("old").await;
    let steer = json!({"key": "main", "message": "no, this", "idempotencyKey": "new"});
    let steered = native.call("sessions.steer", steer).await;
    assert_eq!(
        (&steered["status"], &steered["interruptedActiveRun"]),
        (&json!("started"), &json!(true))
    );
    let end = native.end("old").await;
    assert_eq!((end.state(), &*end.text()), ("aborted", "half an"));
    let new = puppet.next().await;
    new.says("done").await;
    new.ends().await;
    assert_eq!(native.end("new").await.state(), "final");
    let talk = [
        said("user", "begin"),
        said("assistant", "half an"),
        said("user", "no, this"),
        said("assistant", "done"),
    ];
    assert_eq!(native.history("main").await, talk);
    let idle = json!({"key": "main", "message": "again", "idempotencyKey": "idle"});
    let idle = native.call("sessions.steer", idle).await;
    assert_eq!(idle.get("interruptedActiveRun"), None, "{idle}");
    // Its start would take the place of what the watcher is to be told.
    let _idle = puppet.next().await;

    let mut watcher = served.native().await;
    watcher.call("sessions.subscribe", json!({})).await;
    let behind = json!({"key": "main", "message": "x", "idempotencyKey": "behind"});
    native.call("sessions.send", behind).await;
    assert_eq!(next_reason(&mut watcher).await, "send");
    let steer = json!({"key": "main", "message": "x", "idempotencyKey": "watched"});
    native.call("sessions.steer", steer).await;
    assert_eq!(next_reason(&mut watcher).await, "steer");
}

#[tokio::test]
async fn the_active_run_of_a_session_is_stopped_and_what_waits_only_when_asked() {
    let (served, mut puppet) = moved().await;
    let mut native = served.native().await;
    let queued = |run: &str| {
        json!({"sessionKey": "main", "idempotencyKey": run, "message": run,
            "queueMode": "followup"})
    };
    for run in ["r1", "r2", "r3", "r4"] {
        native.call("chat.send", queued(run)).await;
    }
    let first = puppet.next().await;
    first.says("partial").await;
    native.delta("r1").await;
    let aborted = native.call("sessions.abort", json!({"key": "main"})).await;
    assert_eq!(
        aborted,
        json!({"ok": true, "abortedRunId": "r1", "status": "aborted"})
    );
    let end = native.end("r1").await;
    assert_eq!((end.state(), &*end.text()), ("aborted", "partial"));
    assert_eq!(end.payload["stopReason"], "rpc");
    let second = puppet.next().await;
    let one = json!({"runId": "r3"});
    let aborted = native.call("sessions.abort", one).await;
    assert_eq!(aborted["abortedRunId"], "r3", "one that waits, by its id");
    let all = json!({"key": "agent:main:main", "clearQueued": true});
    let aborted = native.call("sessions.abort", all).await;
    assert_eq!(aborted["abortedRunId"], "r2", "{aborted}");
    second.given_up().await;
    assert_eq!(native.end("r4").await.state(), "aborted");
    assert!(puppet.is_idle(), "what waited has not run");
    let none = json!({"ok": true, "abortedRunId": null, "status": "no-active-run"});
    for nothing in [
        json!({"key": "main"}),
        json!({"key": "main", "runId": "r1"}),
        json!({"runId": "nobody"}),
        json!({"key": "nobody", "clearQueued": true}),
    ] {
        assert_eq!(native.call("sessions.abort", nothing).await, none);
    }
}

#[tokio::test]
async fn who_may_not_stop_a_run_is_told_so() {
    let (served, mut puppet) = moved().await;
    let native = served.native().await;
    native.send("main", "mine", "begin").await;
    let run = puppet.next().await;
    for (params, message) in [
        (json!({}), "key required"),
        (
            json!({"key": "other", "runId": "mine"}),
            "runId does not match session",
        ),
        (
            json!({"key": "main", "agentId": "ghost"}),
            "agent \"ghost\" not found",
        ),
        (
            json!({"key": ""}),
            "invalid sessions.abort params: at /key: must not have fewer than 1 characters",
        ),
    ] {
        check_refused(&native, "sessions.abort", params, message).await;
    }
    let writer = Native::scoped(served.addr(), &["operator.write"]).await;
    for params in [json!({"key": "main"}), json!({"runId": "mine"})] {
        check_refused(&writer, "sessions.abort", params, "unauthorized").await;
    }
    assert!(!run.cancel.is_cancelled());
    let mine = json!({"sessionKey": "main", "idempotencyKey": "w", "message": "x"});
    writer.call("chat.send", mine).await;
    let aborted = writer.call("sessions.abort", json!({"runId": "w"})).await;
    assert_eq!(aborted["abortedRunId"], "w", "its own");
    run.ends().await;
    assert_eq!(waited(&native, "mine").await["status"], "ok");
}

#[tokio::test]
async fn an_agent_that_is_not_the_sessions_stops_nothing() {
    let served = served().await;
    let native = served.native().await;
    check_refused(
        &native,
        "sessions.abort",
        json!({"key": "agent:main:x", "agentId": "beta"}),
        "session key agent does not match agentId",
    )
    .await;
}

#[tokio::test]
async fn what_was_said_is_read_and_previewed() {
    let served = served().await;
    let native = served.native().await;
    let long = "word ".repeat(100);
    for (run, message) in [("p1", "hello"), ("p2", long.trim())] {
        native.send("main", run, message).await;
        assert_eq!(waited(&native, run).await["status"], "ok");
    }
    native
        .call("sessions.create", json!({"key": "empty"}))
        .await;
    let read = native.call("sessions.get", json!({"key": "main"})).await;
    let history = native
        .call("chat.history", json!({"sessionKey": "main"}))
        .await;
    assert_eq!(read, json!({"messages": history["messages"]}));
    let last = json!({"sessionKey": "agent:main:main", "limit": 1});
    let last = native.call("sessions.get", last).await;
    assert_eq!(last["messages"][0], history["messages"][3]);
    let nobody = native.call("sessions.get", json!({"key": "nobody"})).await;
    assert_eq!(nobody, json!({"messages": []}));
    check_refused(&native, "sessions.get", json!({}), "key required").await;

    let keys = json!(["main", "empty", "nobody", "agent:", "main"]);
    let asked = json!({"keys": keys, "limit": 2, "maxChars": 20});
    let shown = native.call("sessions.preview", asked).await;
    assert!(shown["ts"].is_u64());
    let cut = "word word word wo...";
    assert_eq!(
        shown["previews"],
        json!([
            {"key": "main", "status": "ok", "items": [
                {"role": "user", "text": cut}, {"role": "assistant", "text": cut}]},
            {"key": "empty", "status": "empty", "items": []},
            {"key": "nobody", "status": "missing", "items": []},
            {"key": "agent:", "status": "missing", "items": []},
        ])
    );
    check_refused(
        &native,
        "sessions.preview",
        json!({"keys": []}),
        "invalid sessions.preview params: at /keys: must not have fewer than 1 items",
    )
    .await;
}
