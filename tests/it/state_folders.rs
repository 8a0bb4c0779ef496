//! State folders that earlier versions left are opened, brought up to date, and lose nothing.

use std::fs;
use std::path::PathBuf;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Native, Served, Setup};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/state")
}

/// A copy of the folder a version left, in a directory of its own.
fn copy_of(version: &str) -> TempDir {
    let state = TempDir::new().unwrap();
    for file in fs::read_dir(root().join(version)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), state.path().join(file.file_name())).unwrap();
    }
    state
}

async fn served(state: TempDir) -> Served {
    let agents = json!({"agents": {"list": [
        {"id": "main", "model": "sim/echo", "default": true},
        {"id": "slow", "model": "sim/echo"},
    ]}});
    Setup::new(agents).over(state).start().await
}

async fn check_sessions(native: &Native) {
    let said = |role: &str, text: &str| (role.to_owned(), text.to_owned());
    let main = native.history("agent:main:main").await;
    let turns = ["hello", "again"].map(|text| [said("user", text), said("assistant", text)]);
    assert_eq!(main[..4], turns.concat());
    assert!(main[4].1.contains("put in"), "{main:?}");
    assert_eq!(
        native.history("agent:main:openai-user:anna").await,
        [said("user", "over http"), said("assistant", "over http")]
    );
    let list = native.call("sessions.list", json!({})).await;
    let rows = list["sessions"].as_array().unwrap();
    assert_eq!(rows.len(), 3, "{list}");
    let labels: Vec<_> = rows
        .iter()
        .filter_map(|row| row["label"].as_str())
        .collect();
    assert_eq!(labels, ["A label"]);
}

async fn check_runs(native: &Native) {
    let wait = |run: &str| json!({"runId": run, "timeoutMs": 10_000});
    let long = native.call("agent.wait", wait("r-long")).await;
    assert_eq!(
        (&long["status"], &long["stopReason"]),
        (&json!("timeout"), &json!("restart"))
    );
    let waits = native.call("agent.wait", wait("r-waits")).await;
    assert_eq!(waits["status"], "ok", "{waits}");
    let slow = native.history("agent:slow:main").await;
    let texts: Vec<_> = slow.iter().map(|(_role, text)| text.as_str()).collect();
    assert_eq!(texts.first(), Some(&"long"));
    assert_eq!(texts[texts.len() - 2..], ["waits", "waits"]);
}

#[tokio::test]
async fn a_folder_of_the_first_version_is_taken_over_whole() {
    let served = served(copy_of("0.1.0")).await;
    let native = served.native().await;
    check_runs(&native).await;
    check_sessions(&native).await;
    // Its runs go on from there, with the conversation that was stored.
    let before = native.history("agent:main:main").await.len();
    native.send("main", "new", "a new one").await;
    let wait = json!({"runId": "new", "timeoutMs": 10_000});
    assert_eq!(native.call("agent.wait", wait).await["status"], "ok");
    let after = native.history("agent:main:main").await;
    assert_eq!(after.len(), before + 2);
    drop(native);

    // What was brought up to date opens again.
    let served = self::served(served.stop().await).await;
    let native = served.native().await;
    assert_eq!(native.history("agent:main:main").await, after);
    check_sessions(&native).await;
}

#[tokio::test]
async fn a_folder_of_the_second_version_is_taken_over_whole() {
    let served = served(copy_of("0.2.0")).await;
    let native = served.native().await;
    let wait = |run: &str| json!({"runId": run, "timeoutMs": 10_000});
    let long = native.call("agent.wait", wait("r-long")).await;
    assert_eq!(long["stopReason"], "restart", "{long}");
    for run in ["r-waits", "r-last", "m2"] {
        let waited = native.call("agent.wait", wait(run)).await;
        assert_eq!(waited["status"], "ok", "{run}: {waited}");
    }
    let texts = async |session: &str| {
        let said = native.history(session).await;
        let texts = said.into_iter().map(|(_role, text)| text);
        texts.collect::<Vec<_>>()
    };
    let main = texts("agent:main:main").await;
    assert_eq!(main[..5], ["hello", "hello", "again", "again", "/whoami"]);
    assert_eq!(main.len(), 6, "{main:?}");
    let slow = texts("agent:slow:main").await;
    assert_eq!(slow[slow.len() - 4..], ["waits", "waits", "last", "last"]);
    let archived = json!({"archived": true});
    let list = native.call("sessions.list", archived).await;
    assert_eq!(list["sessions"][0]["key"], "agent:main:old", "{list}");
}

#[test]
fn every_folder_has_a_test() {
    let names = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap());
    let folders = names.filter(|entry| entry.file_type().unwrap().is_dir());
    let mut versions: Vec<_> = folders
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    versions.sort();
    assert_eq!(versions, ["0.1.0", "0.2.0"]);
}
