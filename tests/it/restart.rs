//! What a gateway still knows after a restart, and what it never knew.

use std::fs;
use std::path::Path;

use clawport::run::{Event, Usage};
use serde_json::{Value, json};

use crate::support::http::chat;
use crate::support::{Puppet, PuppetRun, Served, Setup};

/// The texts of the conversation a run was given.
fn before(run: &PuppetRun) -> Vec<&str> {
    run.turn.session.iter().map(|it| &*it.text).collect()
}

/// Lets the next run say something and count tokens.
async fn answer(puppet: &mut Puppet, text: &str) -> PuppetRun {
    let run = puppet.next().await;
    run.says(text).await;
    let usage = Usage {
        input: 100,
        output: 7,
        ..Usage::default()
    };
    run.yields(Event::Usage(usage)).await;
    run.ends().await;
    run
}

fn row<'a>(list: &'a Value, key: &str) -> &'a Value {
    let rows = list["sessions"].as_array().unwrap();
    let row = rows.iter().find(|row| row["key"] == key);
    row.unwrap_or_else(|| panic!("{key} is not in {list}"))
}

#[tokio::test]
async fn a_session_goes_on_after_a_restart() {
    let session = "agent:main:kept";
    let (agent, mut puppet) = Puppet::new();
    let served = Setup::new(json!({})).agent(agent).start().await;
    let mut native = served.native().await;
    for (run, message, said) in [("1", "one", "first"), ("2", "two", "second")] {
        native.send(session, run, message).await;
        answer(&mut puppet, said).await;
        native.end(run).await;
    }
    let patch = json!({"key": session, "label": "A label that stays"});
    native.call("sessions.patch", patch).await;
    let list = native.call("sessions.list", json!({})).await;
    let row_before = row(&list, session).clone();
    assert_eq!(row_before["label"], "A label that stays");
    assert!(
        row_before["totalTokens"].as_u64().unwrap() > 0,
        "{row_before}"
    );
    let history_before = native.history(session).await;
    drop(native);
    let state = served.stop().await;

    let (agent, mut puppet) = Puppet::new();
    let served = Setup::new(json!({})).agent(agent).over(state).start().await;
    let mut native = served.native().await;
    assert_eq!(native.history(session).await, history_before);
    let list = native.call("sessions.list", json!({})).await;
    for member in [
        "label",
        "totalTokens",
        "inputTokens",
        "outputTokens",
        "sessionId",
    ] {
        assert_eq!(row(&list, session)[member], row_before[member], "{member}");
    }
    native.send(session, "3", "three").await;
    let run = answer(&mut puppet, "third").await;
    assert_eq!(before(&run), ["one", "first", "two", "second"]);
    assert_eq!(native.end("3").await.text(), "third");
    let by_label = json!({"label": "A label that stays"});
    let resolved = native.call("sessions.resolve", by_label).await;
    assert_eq!(resolved["key"], session);
}

/// Whether a text stands anywhere in the files of a directory.
fn holds(dir: &Path, text: &str) -> bool {
    let mut files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files.any(|path| {
        path.is_file() && memchr::memmem::find(&fs::read(path).unwrap(), text.as_bytes()).is_some()
    })
}

/// A call with neither user nor session key, streamed and not.
async fn call_without_a_session(served: &Served, marker: &str) {
    for stream in [false, true] {
        let messages = json!([{"role": "user", "content": marker}]);
        let body = json!({"stream": stream, "messages": messages}).to_string();
        let response = served.connect().await.ask(chat(&body)).await;
        assert_eq!(response.status(), 200);
        assert!(response.text().contains(marker), "{}", response.text());
    }
    served.quiet().await;
}

#[tokio::test]
async fn a_call_without_a_session_leaves_nothing() {
    let marker = "seven-purple-herons";
    let echo = json!({"agents": {"defaults": {"model": "sim/echo"}}});
    let served = Served::start(echo.clone()).await;
    call_without_a_session(&served, marker).await;
    let native = served.native().await;
    let list = native.call("sessions.list", json!({})).await;
    assert_eq!(list["sessions"], json!([]));
    drop(native);
    let state = served.stop().await;
    assert!(!holds(state.path(), marker));

    let served = Setup::new(echo).over(state).start().await;
    let list = served.native().await.call("sessions.list", json!({})).await;
    assert_eq!(list["sessions"], json!([]));
}

#[tokio::test]
async fn a_call_without_a_session_is_kept_where_the_configuration_says_so() {
    let marker = "seven-purple-herons";
    let settings = json!({"agents": {"defaults": {"model": "sim/echo"}},
        "gateway": {"http": {"endpoints": {"chatCompletions": {"storeStateless": true}}}}});
    let served = Served::start(settings).await;
    call_without_a_session(&served, marker).await;
    let list = served.native().await.call("sessions.list", json!({})).await;
    assert_eq!(list["sessions"].as_array().unwrap().len(), 2);
    let state = served.stop().await;
    assert!(holds(state.path(), marker));
}
