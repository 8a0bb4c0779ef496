//! Lists of sessions by their filters, and messages found by what they say, over a real socket.

use serde_json::{Value, json};

use crate::support::{Native, Puppet, Served, Setup};

async fn served() -> Served {
    Served::start(json!({"agents": {"list": [
        {"id": "main", "default": true, "model": "sim/echo"},
        {"id": "beta", "model": "sim/echo"},
    ]}}))
    .await
}

async fn say(native: &mut Native, session: &str, run: &str, text: &str) {
    native.send(session, run, text).await;
    native.end(run).await;
}

fn members(list: &Value, of: &str, name: &str) -> Vec<String> {
    let items = list[of].as_array().unwrap().iter();
    items
        .map(|item| item[name].as_str().unwrap().to_owned())
        .collect()
}

/// Checks which sessions a list has.
async fn check(native: &Native, params: Value, expected: &[&str]) {
    let list = native.call("sessions.list", params.clone()).await;
    assert_eq!(members(&list, "sessions", "key"), expected, "{params}");
    assert_eq!(list["totalCount"], expected.len(), "{params}");
}

#[tokio::test]
async fn lists_are_what_their_filters_say() {
    let served = served().await;
    let mut native = served.native().await;
    for (run, key) in ["main", "old", "first", "agent:beta:main"]
        .iter()
        .enumerate()
    {
        say(&mut native, key, &format!("r{run}"), "hello").await;
    }
    for (key, change) in [
        ("old", json!({"archived": true})),
        ("first", json!({"pinned": true})),
    ] {
        let mut patch = change;
        patch["key"] = key.into();
        native.call("sessions.patch", patch).await;
    }
    let [main, old, first, beta] = [
        "agent:main:main",
        "agent:main:old",
        "agent:main:first",
        "agent:beta:main",
    ];
    check(&native, json!({}), &[first, beta, main]).await;
    check(&native, json!({"archived": false}), &[first, beta, main]).await;
    check(&native, json!({"archived": true}), &[old]).await;
    check(
        &native,
        json!({"archived": "all"}),
        &[first, old, beta, main],
    )
    .await;
    check(&native, json!({"pinned": true}), &[first]).await;
    check(
        &native,
        json!({"pinned": false, "agentId": "main"}),
        &[main],
    )
    .await;
    check(&native, json!({"search": "OL", "archived": "all"}), &[old]).await;
    for nothing in [
        json!({"hasBoard": true}),
        json!({"boardFace": "dashboard"}),
        json!({"spawnedBy": main}),
        json!({"projectId": "p"}),
        json!({"activeOnly": true}),
    ] {
        check(&native, nothing, &[]).await;
    }
    let asked = json!({
        "excludeSubagents": true, "excludeCron": true, "excludeSystem": true, "sortBy": "activity",
        "includeActivitySummary": true, "hasBoard": false, "limit": 2, "newer": {"x": 1},
    });
    let page = native.call("sessions.list", asked).await;
    assert_eq!(members(&page, "sessions", "key"), [first, beta]);
    assert_eq!(
        (&page["hasMore"], &page["nextOffset"]),
        (&json!(true), &json!(2))
    );
    // An archived session, and no other, may go at the request of who may only write.
    let writer = Native::scoped(served.addr(), &["operator.write"]).await;
    for (key, gone) in [(first, false), (old, true)] {
        let asked = json!({"key": key, "archivedOnly": true});
        let answer = writer.call("sessions.delete", asked).await;
        assert_eq!(answer["deleted"], gone, "{answer}");
    }
    check(&native, json!({"archived": true}), &[]).await;
}

#[tokio::test]
async fn sessions_whose_runs_are_active_are_listed_by_themselves() {
    let (agent, mut puppet) = Puppet::new();
    let served = Setup::new(json!({})).agent(agent).start().await;
    let mut native = served.native().await;
    native.send("busy", "r1", "hello").await;
    let run = puppet.next().await;
    let busy = "agent:main:busy";
    let patch = json!({"key": "busy", "pinned": true, "label": "work"});
    native.call("sessions.patch", patch).await;
    for (filter, expected) in [
        (json!({}), &[busy][..]),
        (
            json!({"pinned": true, "archived": false, "label": "work"}),
            &[busy],
        ),
        (
            json!({"search": "BUS", "agentId": "main", "activeMinutes": 5}),
            &[busy],
        ),
        (json!({"pinned": false}), &[]),
        (json!({"archived": true}), &[]),
        (json!({"label": "play"}), &[]),
        (json!({"search": "idle"}), &[]),
    ] {
        let mut asked = filter;
        asked["activeOnly"] = true.into();
        check(&native, asked, expected).await;
    }
    run.says("done").await;
    run.ends().await;
    native.end("r1").await;
    check(&native, json!({"activeOnly": true}), &[]).await;
    check(&native, json!({}), &["agent:main:busy"]).await;
}

/// A gateway where three sessions were talked to, two of them about a lighthouse.
async fn talked() -> (Served, Native) {
    let served = served().await;
    let mut native = served.native().await;
    for (run, session, text) in [
        ("r1", "one", "Where is the Lighthouse?"),
        ("r2", "two", "nothing of the kind"),
        ("r3", "agent:beta:main", "a lighthouse, a lighthouse"),
    ] {
        say(&mut native, session, run, text).await;
    }
    (served, native)
}

const BETA: &str = "agent:beta:main";
const ONE: &str = "agent:main:one";

#[tokio::test]
async fn messages_are_found_by_what_they_say() {
    let (_served, native) = talked().await;
    let find = async |params: Value| native.call("sessions.search", params).await;
    // An echo says everything twice: once as the user, once as the agent.
    let found = find(json!({"query": "lightHOUSE"})).await;
    assert_eq!(
        members(&found, "results", "sessionKey"),
        [BETA, BETA, ONE, ONE]
    );
    assert_eq!(members(&found, "sessions", "key"), [BETA, ONE]);
    assert_eq!(found["truncated"], false);
    let hit = &found["results"][3];
    assert_eq!(hit["role"], "user");
    assert_eq!(hit["snippet"], "Where is the Lighthouse?");
    assert_eq!(found["results"][1]["score"], 2);
    // The message is the one `chat.message.get` reads.
    let message = json!({"sessionKey": ONE, "messageId": hit["messageId"]});
    let message = native.call("chat.message.get", message).await;
    assert!(
        message.to_string().contains("Where is the Lighthouse?"),
        "{message}"
    );
    assert_eq!(
        find(json!({"query": "lighthouse", "limit": 1})).await["truncated"],
        true
    );
}

#[tokio::test]
async fn a_search_is_narrowed_by_what_it_names() {
    let (_served, native) = talked().await;
    for (params, expected) in [
        (json!({"query": "lighthouse", "limit": 1}), &[BETA][..]),
        (
            json!({"query": "lighthouse", "agentId": "main"}),
            &[ONE, ONE],
        ),
        (
            json!({"query": "lighthouse", "scope": {"agentId": "beta"}}),
            &[BETA, BETA],
        ),
        (
            json!({"query": "lighthouse", "sessionKeys": [ONE]}),
            &[ONE, ONE],
        ),
        (
            json!({"query": "lighthouse", "sessionKeys": ["one", "agent:main:gone", "a\u{1}"]}),
            &[ONE, ONE],
        ),
        (
            json!({"query": "lighthouse", "sessionKeys": [BETA], "agentId": "main"}),
            &[],
        ),
        (
            json!({"query": "lighthouse", "sessionKeys": [ONE], "scope": {"activeOnly": true}}),
            &[],
        ),
        (
            json!({"query": "lighthouse", "scope": {"search": "ON"}}),
            &[ONE, ONE],
        ),
        (
            json!({"query": "lighthouse", "agentId": "main", "scope": {"agentId": "beta"}}),
            &[],
        ),
        (
            json!({"query": "lighthouse", "scope": {"archived": true}}),
            &[],
        ),
        (
            json!({"query": "lighthouse", "scope": {"hasBoard": true}}),
            &[],
        ),
        (json!({"query": "no such words"}), &[]),
    ] {
        let found = native.call("sessions.search", params.clone()).await;
        assert_eq!(
            members(&found, "results", "sessionKey"),
            expected,
            "{params}"
        );
    }
}
