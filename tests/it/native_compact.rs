//! Sessions that are summed up, over a real socket: who sums up, what an agent gets afterwards, and
//! that nothing is lost.

use clawport::client::ClientOptions;
use clawport::error::ErrorCode;
use clawport::run::RunError;
use serde_json::{Value, json};

use crate::support::{Native, Puppet, PuppetRun, Served, Setup, native};

async fn moved() -> (Served, Puppet) {
    let (agent, puppet) = Puppet::new();
    (Setup::new(json!({})).agent(agent).start().await, puppet)
}

/// One turn of a conversation.
async fn talked(native: &mut Native, puppet: &mut Puppet, run: &str) -> PuppetRun {
    native.send("main", run, &format!("ask {run}")).await;
    let moved = puppet.next().await;
    moved.says(&format!("say {run}")).await;
    moved.ends().await;
    native.end(run).await;
    moved
}

/// The texts of the conversation a run was given.
fn before(run: &PuppetRun) -> Vec<&str> {
    run.turn.session.iter().map(|it| &*it.text).collect()
}

/// Asks for a summary, which the agent gives in a run of its own.
async fn summed_up(native: &Native, puppet: &mut Puppet, summary: &str) -> (Value, PuppetRun) {
    let compact = native.call("sessions.compact", json!({"key": "main"}));
    let answered = async {
        let run = puppet.next().await;
        run.says(summary).await;
        run.ends().await;
        run
    };
    tokio::join!(compact, answered)
}

const SUMMED: &str = "Summary of the conversation so far:\n\nthe gist";

#[tokio::test]
async fn the_agent_sums_its_session_up_and_goes_on_from_the_summary() {
    let (served, mut puppet) = moved().await;
    let mut native = served.native().await;
    for run in ["1", "2"] {
        talked(&mut native, &mut puppet, run).await;
    }
    let mut watcher = served.native().await;
    watcher.call("sessions.subscribe", json!({})).await;
    let (compacted, run) = summed_up(&native, &mut puppet, " the gist\n").await;
    let history: Vec<_> = run.turn.turn.history.iter().map(|it| &*it.text).collect();
    assert_eq!(history, ["ask 1", "say 1", "ask 2", "say 2"]);
    assert!(run.turn.turn.text().starts_with("Sum up"), "{compacted}");
    let result = &compacted["result"];
    assert_eq!(
        (
            &compacted["compacted"],
            &compacted["kept"],
            &result["summary"]
        ),
        (&json!(true), &json!(0), &json!("the gist"))
    );
    assert_eq!(result["tokensBefore"], 5, "20 bytes: {compacted}");
    assert!(result["tokensAfter"].is_u64());

    let is_operation = |event: &native::Event| event.name == "session.operation";
    let start = watcher.event(is_operation).await.payload;
    assert_eq!(
        (&start["operation"], &start["phase"], &start["sessionKey"]),
        (
            &json!("compact"),
            &json!("start"),
            &json!("agent:main:main")
        )
    );
    let mark = watcher.event(|event| event.name == "session.message").await;
    assert_eq!(mark.payload["message"]["role"], "system");
    assert_eq!(mark.payload["message"]["__openclaw"]["kind"], "compaction");
    let is_compact = |event: &native::Event| event.payload["reason"] == "compact";
    let changed = watcher.event(is_compact).await.payload;
    assert_eq!(changed["sessionKey"], "agent:main:main");
    let end = watcher.event(is_operation).await.payload;
    assert_eq!(
        (&end["phase"], &end["completed"], &end["operationId"]),
        (&json!("end"), &json!(true), &start["operationId"])
    );

    let history = native.history("main").await;
    assert_eq!(history.len(), 5, "everything is still there: {history:?}");
    assert_eq!(history[4], ("system".to_owned(), "the gist".to_owned()));
    let third = talked(&mut native, &mut puppet, "3").await;
    assert_eq!(before(&third), [SUMMED]);
    let fourth = talked(&mut native, &mut puppet, "4").await;
    assert_eq!(before(&fourth), [SUMMED, "ask 3", "say 3"]);
    let patched = native
        .call("sessions.patch", json!({"key": "main", "pinned": true}))
        .await;
    assert_eq!(patched["entry"]["compactionCount"], 1, "{patched}");
    assert_eq!(patched["entry"].get("compaction"), None, "{patched}");
    let list = native.call("sessions.list", json!({})).await;
    assert_eq!(list["count"], 1, "the summary has no session: {list}");
}

#[tokio::test]
async fn a_summary_outlives_a_restart_and_not_a_reset() {
    let (served, mut puppet) = moved().await;
    let mut native = served.native().await;
    talked(&mut native, &mut puppet, "1").await;
    summed_up(&native, &mut puppet, "the gist").await;
    drop(native);
    let state = served.stop().await;

    let (agent, mut puppet) = Puppet::new();
    let served = Setup::new(json!({})).agent(agent).over(state).start().await;
    let mut native = served.native().await;
    let second = talked(&mut native, &mut puppet, "2").await;
    assert_eq!(before(&second), [SUMMED]);
    summed_up(&native, &mut puppet, "more").await;
    let patch = json!({"key": "main", "pinned": true});
    let patched = native.call("sessions.patch", patch).await;
    assert_eq!(patched["entry"]["compactionCount"], 2, "{patched}");
    let reset = native.call("sessions.reset", json!({"key": "main"})).await;
    assert_eq!(reset["entry"]["compactionCount"], 0, "{reset}");
    let third = talked(&mut native, &mut puppet, "3").await;
    assert_eq!(before(&third), [""; 0]);
}

#[tokio::test]
async fn what_is_said_meanwhile_is_kept_word_for_word() {
    let (served, mut puppet) = moved().await;
    let mut native = served.native().await;
    talked(&mut native, &mut puppet, "1").await;
    let other = served.native().await;
    let compact =
        tokio::spawn(async move { other.call("sessions.compact", json!({"key": "main"})).await });
    let summary = puppet.next().await;
    assert!(summary.session.starts_with("agent:main:compact:"));
    talked(&mut native, &mut puppet, "2").await;
    let error = native
        .refused("sessions.compact", json!({"key": "main"}))
        .await;
    assert_eq!(&*error.code, "UNAVAILABLE", "one at a time");
    assert!(error.to_string().contains("is still active"), "{error}");
    summary.says("the gist").await;
    summary.ends().await;
    assert_eq!(compact.await.unwrap()["compacted"], true);
    let third = talked(&mut native, &mut puppet, "3").await;
    assert_eq!(before(&third), [SUMMED, "ask 2", "say 2"]);
}

#[tokio::test]
async fn without_a_summary_the_newest_messages_are_kept() {
    let (served, mut puppet) = moved().await;
    let mut native = served.native().await;
    talked(&mut native, &mut puppet, "1").await;
    let (short, _run) = summed_up(&native, &mut puppet, " ").await;
    assert_eq!(
        (&short["compacted"], &short["reason"], &short["kept"]),
        (&json!(false), &json!("no summary"), &json!(2))
    );
    for run in 2..=15 {
        talked(&mut native, &mut puppet, &run.to_string()).await;
    }
    let compact = native.call("sessions.compact", json!({"key": "main"}));
    let failed = async {
        let run = puppet.next().await;
        run.fails(RunError::new(ErrorCode::UpstreamFailed, "no model"))
            .await;
    };
    let (compacted, ()) = tokio::join!(compact, failed);
    assert_eq!(
        (&compacted["compacted"], &compacted["kept"]),
        (&json!(true), &json!(20))
    );
    assert_eq!(compacted["result"].get("summary"), None, "{compacted}");
    let next = talked(&mut native, &mut puppet, "16").await;
    let given = before(&next);
    assert_eq!((given.len(), given[0]), (20, "ask 6"));
    let stopped = native.call("sessions.compact", json!({"key": "main"}));
    let stops = async {
        let run = puppet.next().await;
        let admin = served.native().await;
        let key = json!({"key": run.session});
        let aborted = admin.call("sessions.abort", key).await;
        assert_eq!(aborted["status"], "aborted", "it is a run like any other");
    };
    let (stopped, ()) = tokio::join!(stopped, stops);
    assert_eq!(
        (&stopped["compacted"], &stopped["reason"]),
        (&json!(false), &json!("aborted"))
    );
}

#[tokio::test]
async fn only_so_many_entries_are_kept_when_that_is_asked() {
    let (served, mut puppet) = moved().await;
    let mut native = served.native().await;
    for run in ["1", "2", "3"] {
        talked(&mut native, &mut puppet, run).await;
    }
    let lines = |lines| json!({"key": "main", "maxLines": lines});
    let all = native.call("sessions.compact", lines(6)).await;
    let unchanged = json!({"ok": true, "key": "agent:main:main", "compacted": false, "kept": 6});
    assert_eq!(all, unchanged);
    let some = native.call("sessions.compact", lines(3)).await;
    let kept = json!({"ok": true, "key": "agent:main:main", "compacted": true, "kept": 2});
    assert_eq!(some, kept, "from a message of the user on");
    assert!(puppet.is_idle(), "nobody was asked");
    let fourth = talked(&mut native, &mut puppet, "4").await;
    assert_eq!(before(&fourth), ["ask 3", "say 3"]);

    let mut old = Native::with(ClientOptions {
        protocols: 3..=3,
        ..native::options(served.addr())
    })
    .await;
    let main = json!({"key": "main"});
    let unasked = old.call("sessions.compact", main).await;
    let kept = json!({"ok": true, "key": "agent:main:main", "compacted": false, "kept": 4});
    assert_eq!(unasked, kept, "there are no summaries on protocol 3");
    talked(&mut old, &mut puppet, "5").await;
}

#[tokio::test]
async fn there_may_be_nothing_to_sum_up_and_not_everybody_may() {
    let (served, mut puppet) = moved().await;
    let mut native = served.native().await;
    let key = |key: &str| json!({ "key": key });
    let none = native.call("sessions.compact", key("nobody")).await;
    assert_eq!(
        none,
        json!({"ok": true, "key": "agent:main:nobody", "compacted": false,
            "reason": "no sessionId"})
    );
    native.call("sessions.create", key("empty")).await;
    let empty = native.call("sessions.compact", key("empty")).await;
    assert_eq!(empty["reason"], "no transcript", "{empty}");
    for (params, message) in [
        (
            json!({"key": "main", "maxLines": 0}),
            "invalid sessions.compact params: at /maxLines: must be >= 1",
        ),
        (
            json!({"key": "main", "agentId": "ghost"}),
            "unknown agent id \"ghost\"",
        ),
    ] {
        let error = native.refused("sessions.compact", params).await;
        assert_eq!(&*error.message, message);
    }
    talked(&mut native, &mut puppet, "1").await;
    let writer = Native::scoped(served.addr(), &["operator.write"]).await;
    let error = writer.refused("sessions.compact", key("main")).await;
    assert_eq!(&*error.message, "missing scope: operator.admin");
    let text = json!({"sessionKey": "main", "idempotencyKey": "w", "message": "/compact"});
    let error = writer.refused("chat.send", text).await;
    assert_eq!(&*error.message, "missing scope: operator.admin");
    assert!(puppet.is_idle());
}

#[tokio::test]
async fn a_session_is_summed_up_by_text() {
    let (served, mut puppet) = moved().await;
    let mut native = served.native().await;
    talked(&mut native, &mut puppet, "1").await;
    let sent = native.send("main", "c", "/compact heed the names");
    let answered = async {
        let run = puppet.next().await;
        assert!(run.turn.turn.text().ends_with("heed the names"));
        run.says("the gist").await;
        run.ends().await;
    };
    let (sent, ()) = tokio::join!(sent, answered);
    assert_eq!(sent["status"], "started");
    let end = native.end("c").await;
    assert!(end.text().contains("was summed up"), "{end:?}");
    let next = talked(&mut native, &mut puppet, "2").await;
    assert_eq!(before(&next), [SUMMED]);
}
