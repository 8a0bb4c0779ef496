//! What a user interface asks when it opens a session, over a real socket: the transcript with all
//! that goes with it, its pages, one message whole, and what a message can be.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{Native, Served};

async fn served() -> Served {
    Served::start(json!({"agents": {"list": [
        {"id": "main", "default": true, "model": "sim/echo"},
        {"id": "beta", "model": "sim/demo"},
    ]}}))
    .await
}

/// Has the agent say the message again.
async fn ran(native: &Native, session: &str, run: &str, message: &str) {
    native.send(session, run, message).await;
    let wait = json!({"runId": run, "timeoutMs": 10_000});
    let waited = native.call("agent.wait", wait).await;
    assert_eq!(waited["status"], "ok", "{waited}");
}

async fn check_refused(native: &Native, method: &str, params: Value, message: &str) {
    let error = native.refused(method, params).await;
    assert_eq!(*error.message, *message, "{method}");
}

/// Positions of the messages of a page.
fn positions(page: &Value) -> Vec<u64> {
    let messages = page["messages"].as_array().unwrap();
    let seq = |message: &Value| message["__openclaw"]["seq"].as_u64().unwrap();
    messages.iter().map(seq).collect()
}

#[tokio::test]
async fn a_session_is_opened_with_one_request() {
    let served = served().await;
    let native = served.native().await;
    ran(&native, "main", "r1", "hello").await;
    let params = json!({"sessionKey": "agent:main:main", "limit": 80, "maxBytes": 262_144});
    let opened = native.call("chat.startup", params.clone()).await;
    let history = native.call("chat.history", params).await;
    for (member, value) in history.as_object().unwrap() {
        assert_eq!(opened[member], *value, "{member}");
    }
    assert_eq!(positions(&opened), [1, 2]);
    let metadata = native
        .call("chat.metadata", json!({"sessionKey": "main"}))
        .await;
    assert_eq!(opened["metadata"], metadata);
    let models = native.call("models.list", json!({})).await;
    assert_eq!(metadata["models"], models["models"]);
    let agents = native.call("agents.list", json!({})).await;
    assert_eq!(opened["agentsList"], agents);

    let id = history["sessionId"].as_str().unwrap().replace('-', "");
    let short = json!({"shortId": &id[..12], "slugHint": "hello", "agentId": "main"});
    let found = native.call("chat.startup", short).await;
    assert_eq!(found["messages"], history["messages"]);
    assert_eq!(found["sessionKey"], "agent:main:main");
    let cursor = json!({"sessionKey": "main", "cursor": opened["deltaCursor"]});
    let delta = native.call("chat.startup", cursor).await;
    assert_eq!(
        (&delta["kind"], &delta["messages"]),
        (&json!("delta"), &json!([]))
    );

    for (params, message) in [
        (
            json!({}),
            "invalid chat.startup params: must have required property 'sessionKey'",
        ),
        (
            json!({"shortId": "0123456789abcdef"}),
            "No session found: 0123456789abcdef",
        ),
        (
            json!({"shortId": "xyz"}),
            "shortId must be 8-32 hexadecimal characters",
        ),
        (
            json!({"sessionKey": "main", "offset": 1, "messageId": "m"}),
            "offset and messageId cannot be used together",
        ),
        (
            json!({"sessionKey": "main", "limit": "x", "newer": 1}),
            "invalid chat.startup params: at /limit: must be integer",
        ),
    ] {
        check_refused(&native, "chat.startup", params, message).await;
    }
    let nobody = Native::scoped(served.addr(), &[]).await;
    let main = json!({"sessionKey": "main"});
    check_refused(
        &nobody,
        "chat.startup",
        main,
        "missing scope: operator.read",
    )
    .await;
}

#[tokio::test]
async fn a_transcript_is_read_page_by_page_and_around_a_message() {
    let served = served().await;
    let native = served.native().await;
    for n in 1..=4 {
        ran(&native, "main", &format!("r{n}"), &format!("m{n}")).await;
    }
    let read = async |mut params: Value| {
        params["sessionKey"] = json!("main");
        native.call("chat.history", params).await
    };
    let page = read(json!({"limit": 3})).await;
    assert_eq!(positions(&page), [6, 7, 8]);
    assert_eq!(
        (
            &page["nextOffset"],
            &page["hasMore"],
            &page["totalMessages"]
        ),
        (&json!(3), &json!(true), &json!(8))
    );
    let older = read(json!({"limit": 3, "offset": page["nextOffset"]})).await;
    assert_eq!(positions(&older), [3, 4, 5]);
    let oldest = read(json!({"limit": 3, "offset": older["nextOffset"]})).await;
    assert_eq!(positions(&oldest), [1, 2]);
    assert_eq!(
        (&oldest["hasMore"], oldest.get("nextOffset")),
        (&json!(false), None)
    );
    assert_eq!(
        oldest["completeSnapshot"],
        json!(false),
        "it is one of several pages"
    );

    let third = older["messages"][0]["__openclaw"]["id"].clone();
    let around = read(json!({"limit": 3, "messageId": third})).await;
    assert_eq!(positions(&around), [2, 3, 4]);
    assert_eq!(around["offset"], json!(4));
    let other = json!({"limit": 2, "messageId": third, "sessionId": served.addr().to_string()});
    assert_eq!(
        positions(&read(other).await),
        [7, 8],
        "of another transcript"
    );
    let unknown = read(json!({"limit": 2, "messageId": "nothing"})).await;
    assert_eq!(positions(&unknown), [7, 8]);
}

#[tokio::test]
async fn a_message_that_was_cut_can_be_read_whole() {
    let served = served().await;
    let native = served.native().await;
    let text = "long ".repeat(4_000);
    ran(&native, "main", "r1", text.trim()).await;
    let history = native
        .call("chat.history", json!({"sessionKey": "main"}))
        .await;
    let shown = &history["messages"][1];
    let shown_text = shown["content"][0]["text"].as_str().unwrap();
    assert!(shown_text.ends_with("...(truncated)..."));
    let id = &shown["__openclaw"]["id"];
    let get = async |params| native.call("chat.message.get", params).await;
    let whole = get(json!({"sessionKey": "main", "messageId": id})).await;
    assert_eq!(whole["ok"], true);
    assert_eq!(whole["message"]["content"][0]["text"], text.trim());
    assert_eq!(whole["message"]["__openclaw"], shown["__openclaw"]);
    let cut = get(json!({"sessionKey": "main", "messageId": id, "maxChars": 4})).await;
    assert_eq!(
        cut["message"]["content"][0]["text"],
        "long\n...(truncated)..."
    );
    let missing = json!({"ok": false, "unavailableReason": "not_found"});
    let session = history["sessionId"].clone();
    for params in [
        json!({"sessionKey": "main", "messageId": "nothing"}),
        json!({"sessionKey": "main", "messageId": session}),
        json!({"sessionKey": "other", "messageId": id}),
        json!({"sessionKey": "main", "messageId": id, "sessionId": id}),
    ] {
        assert_eq!(get(params.clone()).await, missing, "{params}");
    }
    check_refused(
        &native,
        "chat.message.get",
        json!({"sessionKey": "main"}),
        "invalid chat.message.get params: must have required property 'messageId'",
    )
    .await;
}

#[tokio::test]
async fn an_image_is_named_in_histories_and_handed_out_when_asked_for() {
    let served = served().await;
    let mut native = served.native().await;
    let bytes = b"\x89PNG\r\n\x1a\n and more";
    let data = STANDARD.encode(bytes);
    let image =
        json!({"type": "image", "mimeType": "image/png", "fileName": "a.png", "content": data});
    let sent = json!({"sessionKey": "main", "message": "look", "idempotencyKey": "r1",
                      "attachments": [image]});
    native
        .call("sessions.messages.subscribe", json!({"key": "main"}))
        .await;
    native.call("chat.send", sent).await;
    native.end("r1").await;
    let history = native
        .call("chat.history", json!({"sessionKey": "main"}))
        .await;
    let block = &history["messages"][0]["content"][1];
    let id = &block["artifactId"];
    assert_eq!(
        *block,
        json!({"type": "image", "mimeType": "image/png", "omitted": true,
               "bytes": bytes.len(), "artifactId": id})
    );
    let get = json!({"sessionKey": "main", "artifactId": id, "transport": "http"});
    let got = native.call("artifacts.download", get).await;
    assert_eq!(
        (&got["encoding"], &got["data"]),
        (&json!("base64"), &json!(data))
    );
    assert_eq!(got["artifact"]["mimeType"], "image/png");
    assert_eq!(got["artifact"]["sizeBytes"], bytes.len());
    assert_eq!(got["artifact"]["download"], json!({"mode": "bytes"}));
    let list = json!({"sessionKey": "main", "type": "image", "limit": 4});
    let listed = native.call("artifacts.list", list).await;
    assert_eq!(listed, json!({"artifacts": [got["artifact"]]}));
    let files = json!({"sessionKey": "main", "type": "file"});
    let files = native.call("artifacts.list", files).await;
    assert_eq!(files, json!({"artifacts": []}));
    check_refused(
        &native,
        "artifacts.list",
        json!({}),
        "artifacts.list needs sessionKey",
    )
    .await;
    let text = id.as_str().unwrap();
    let second = format!("{}_1", text.strip_suffix("_0").unwrap());
    for (session, artifact) in [
        ("main", "artifact_transcript_image_x_0"),
        ("main", "artifact_managed_image_1"),
        ("main", second.as_str()),
        ("other", text),
        ("agent:beta:main", text),
    ] {
        let get = json!({"sessionKey": session, "artifactId": artifact});
        let error = native.refused("artifacts.download", get).await;
        assert_eq!(
            &*error.message, "artifact not found",
            "{session} {artifact}"
        );
        let details = json!({"type": "artifact_not_found", "artifactId": artifact});
        assert_eq!(error.details, Some(details));
    }
    check_refused(
        &native,
        "artifacts.download",
        json!({"artifactId": id}),
        "artifacts.download needs sessionKey",
    )
    .await;
}

#[tokio::test]
async fn the_commands_that_are_listed_work() {
    let served = served().await;
    let native = served.native().await;
    let listed = native.call("commands.list", json!({})).await;
    let commands = listed["commands"].as_array().unwrap();
    assert!(commands.len() >= 4, "{listed}");
    for (n, command) in commands.iter().enumerate() {
        for alias in command["textAliases"].as_array().unwrap() {
            let session = format!("s{n}");
            ran(&native, &session, &format!("{session}-a"), "before").await;
            let run = format!("{session}{alias}");
            let answer = native.send(&session, &run, alias.as_str().unwrap()).await;
            if answer["ok"] != true {
                assert_eq!(answer["status"], "started", "{answer}");
                let wait = json!({"runId": run, "timeoutMs": 10_000});
                native.call("agent.wait", wait).await;
            }
            let said = native.history(&session).await;
            let is_echo =
                |(role, text): &(String, String)| role == "assistant" && alias == text.as_str();
            assert!(
                !said.iter().any(is_echo),
                "{alias} went to the agent: {said:?}"
            );
        }
    }
    let bare = json!({"agentId": "main", "scope": "text", "includeArgs": false});
    let bare = native.call("commands.list", bare).await;
    for command in bare["commands"].as_array().unwrap() {
        assert_eq!(command.get("args"), None, "{command}");
    }
    let native_only = native
        .call("commands.list", json!({"scope": "native"}))
        .await;
    assert_eq!(native_only, json!({"commands": []}));
    for method in ["commands.list", "chat.metadata"] {
        check_refused(
            &native,
            method,
            json!({"agentId": "ghost"}),
            "unknown agent id \"ghost\"",
        )
        .await;
        check_refused(
            &native,
            method,
            json!({"sessionKey": "agent:main:x", "agentId": "beta"}),
            "agentId \"beta\" does not match session key \"agent:main:x\"",
        )
        .await;
    }
}

#[tokio::test]
async fn a_session_begins_anew_by_text_for_those_who_may_reset_it() {
    let served = served().await;
    let native = served.native().await;
    ran(&native, "main", "r1", "before").await;
    let before = native
        .call("chat.history", json!({"sessionKey": "main"}))
        .await;
    let writer = Native::scoped(served.addr(), &["operator.write"]).await;
    let new = json!({"sessionKey": "main", "idempotencyKey": "w", "message": "/new after"});
    check_refused(&writer, "chat.send", new, "missing scope: operator.admin").await;
    assert_eq!(writer.history("main").await.len(), 2, "nothing was lost");

    let params = json!({
        "sessionKey": "main", "idempotencyKey": "r2", "message": "/NEW  after all",
        "sessionId": before["sessionId"],
    });
    let sent = native.call("chat.send", params.clone()).await;
    assert_eq!(
        (&sent["status"], &sent["messageSeq"]),
        (&json!("started"), &json!(1))
    );
    let wait = json!({"runId": "r2", "timeoutMs": 10_000});
    native.call("agent.wait", wait).await;
    let pair = |role: &str, text: &str| (role.to_owned(), text.to_owned());
    let said = [pair("user", "after all"), pair("assistant", "after all")];
    assert_eq!(native.history("main").await, said);
    let again = native.call("chat.send", params).await;
    assert_eq!(again["status"], "ok", "the same key resets nothing");
    assert_eq!(native.history("main").await, said);

    let stale = json!({
        "sessionKey": "main", "idempotencyKey": "r3", "message": "/reset",
        "sessionId": before["sessionId"],
    });
    let error = native.refused("chat.send", stale).await;
    assert!(
        error.to_string().contains("changed while starting work"),
        "{error}"
    );
    assert_eq!(native.history("main").await, said);
    ran(&native, "main", "r4", "/reset").await;
    let greeted = native.history("main").await;
    assert!(greeted[0].1.contains("Greet the user"), "{greeted:?}");
}
