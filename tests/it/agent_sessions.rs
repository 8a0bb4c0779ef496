//! Which session a call of `agent` belongs to, with the parameters official command lines send.

use clawport::run::Role;
use serde_json::{Value, json};

use crate::support::{Native, Puppet, Served, Setup};

async fn moved(settings: Value) -> (Served, Puppet) {
    let (agent, puppet) = Puppet::new();
    (Setup::new(settings).agent(agent).start().await, puppet)
}

/// What every command line sends beside the choice of a session.
fn call(run: &str, message: &str, chosen: &Value) -> Value {
    let mut params = json!({
        "message": message, "deliver": false, "timeout": 600, "idempotencyKey": run,
    });
    let members = chosen.as_object().unwrap().clone();
    params.as_object_mut().unwrap().extend(members);
    params
}

/// What the agent was told in one run.
struct Told {
    session: String,
    /// The transcript, as the last answer names it.
    session_id: String,
    /// What the user said before.
    before: Vec<String>,
}

async fn told(native: &Native, puppet: &mut Puppet, run: &str, chosen: &Value) -> Told {
    let params = call(run, &format!("say {run}"), chosen);
    let answer = native.call_final("agent", params);
    let answered = async {
        let run = puppet.next().await;
        run.says("fine").await;
        run.ends().await;
        let said = run.turn.session.iter();
        let said = said.filter(|message| message.role == Role::User);
        let before = said.map(|message| message.text.clone()).collect();
        (run.session.clone(), before)
    };
    let (answer, (session, before)) = tokio::join!(answer, answered);
    assert_eq!(answer["status"], "ok", "{answer}");
    let meta = &answer["result"]["meta"]["agentMeta"];
    Told {
        session,
        session_id: meta["sessionId"].as_str().unwrap().to_owned(),
        before,
    }
}

/// Two calls in a row: the second is told what was said in the first.
async fn check_remembers(chosen: Value, session: &str) {
    let (served, mut puppet) = moved(json!({})).await;
    let native = served.native().await;
    let first = told(&native, &mut puppet, "r1", &chosen).await;
    assert_eq!(first.session, session, "{chosen}");
    assert!(first.before.is_empty(), "{chosen}");
    let second = told(&native, &mut puppet, "r2", &chosen).await;
    assert_eq!(second.session, session, "{chosen}");
    assert_eq!(second.before, ["say r1"], "{chosen}");
    assert_eq!(second.session_id, first.session_id, "{chosen}");
}

#[tokio::test]
async fn every_command_line_is_remembered() {
    let main = "agent:main:main";
    let named = "agent:main:explicit:cli-sess-1";
    for (chosen, session) in [
        // 2026.9.6: the gateway is left to find the session.
        (json!({"agentId": "main"}), main),
        (json!({"agentId": "main", "sessionId": "cli-sess-1"}), named),
        (json!({"sessionId": "cli-sess-1"}), named),
        (json!({"to": "+15550100", "sessionKey": main}), main),
        (
            json!({"agentId": "main", "to": "+15550100", "channel": "telegram", "deliver": true}),
            main,
        ),
        // 2026.6.6 and 2026.7.35: they find it themselves.
        (json!({"agentId": "main", "sessionKey": main}), main),
        (
            json!({"sessionId": "cli-sess-1", "sessionKey": named,
                   "cleanupBundleMcpOnRunEnd": true}),
            named,
        ),
        // Members that are there and blank choose nothing.
        (
            json!({"agentId": "main", "sessionId": " ", "sessionKey": ""}),
            main,
        ),
        (json!({"to": "agent:main:work"}), "agent:main:work"),
    ] {
        check_remembers(chosen, session).await;
    }
}

#[tokio::test]
async fn the_main_session_of_an_agent_is_the_configured_one() {
    let (served, mut puppet) = moved(json!({"session": {"mainKey": "home"}})).await;
    let native = served.native().await;
    let chosen = json!({"agentId": "main"});
    let first = told(&native, &mut puppet, "r1", &chosen).await;
    assert_eq!(first.session, "agent:main:home");
}

#[tokio::test]
async fn only_a_call_that_names_nothing_is_a_session_of_its_own() {
    let (served, mut puppet) = moved(json!({})).await;
    let native = served.native().await;
    for chosen in [json!({}), json!({"to": "+15550100"})] {
        for run in ["r1", "r2"].map(|run| format!("{run}-{}", chosen.as_object().unwrap().len())) {
            let own = told(&native, &mut puppet, &run, &chosen).await;
            assert_eq!(own.session, format!("agent:main:explicit:{run}"));
            assert!(own.before.is_empty());
        }
    }
}

#[tokio::test]
async fn a_session_is_found_by_its_name_and_by_its_transcript() {
    let (served, mut puppet) = moved(json!({})).await;
    let native = served.native().await;
    let by = |id: &str| json!({"agentId": "main", "sessionId": id});
    let first = told(&native, &mut puppet, "r1", &by("Cli-Sess-1")).await;
    let second = told(&native, &mut puppet, "r2", &by(&first.session_id)).await;
    let third = told(&native, &mut puppet, "r3", &by("cli-sess-1")).await;
    assert_eq!(third.before, ["say r1", "say r2"]);
    assert_eq!(
        (&second.session, &third.session),
        (&first.session, &first.session)
    );
    // A transcript nobody knows is a name like any other.
    let unknown = "01890000-0000-7000-8000-000000000000";
    let fourth = told(&native, &mut puppet, "r4", &by(unknown)).await;
    assert_eq!(fourth.session, format!("agent:main:explicit:{unknown}"));
    let fifth = told(&native, &mut puppet, "r5", &by(unknown)).await;
    assert_eq!(fifth.before, ["say r4"]);
}

#[tokio::test]
async fn a_name_finds_the_session_of_another_agent_unless_one_is_named() {
    let served = Served::start(json!({"agents": {"list": [
        {"id": "main", "default": true, "model": "sim/echo"},
        {"id": "beta", "model": "sim/echo"},
    ]}}))
    .await;
    let native = served.native().await;
    let session = async |run: &str, chosen: Value| {
        let params = call(run, "hi", &chosen);
        let accepted = native.call("agent", params).await;
        let wait = json!({"runId": run, "timeoutMs": 10_000});
        native.call("agent.wait", wait).await;
        accepted["sessionKey"].as_str().unwrap().to_owned()
    };
    let beta = "agent:beta:explicit:x";
    let chosen = json!({"agentId": "beta", "sessionId": "x"});
    assert_eq!(session("r1", chosen).await, beta);
    assert_eq!(session("r2", json!({"sessionId": "x"})).await, beta);
    let chosen = json!({"agentId": "main", "sessionId": "x"});
    assert_eq!(session("r3", chosen).await, "agent:main:explicit:x");
    let chosen = json!({"sessionId": "y"});
    assert_eq!(session("r4", chosen).await, "agent:main:explicit:y");
}

#[tokio::test]
async fn two_first_calls_meet_in_one_session() {
    let served = Served::start(json!({"agents": {"defaults": {"model": "sim/echo"}}})).await;
    let chosen = json!({"agentId": "main", "sessionId": "race"});
    let natives = [served.native().await, served.native().await];
    let runs = ["a", "b"];
    let calls = natives
        .iter()
        .zip(runs)
        .map(|(native, run)| native.call_final("agent", call(run, run, &chosen)));
    let answers = futures_util::future::join_all(calls).await;
    let ids: Vec<_> = answers
        .iter()
        .map(|answer| answer["result"]["meta"]["agentMeta"]["sessionId"].clone())
        .collect();
    assert!(ids[0].is_string() && ids[0] == ids[1], "{ids:?}");
    let said = natives[0].history("agent:main:explicit:race").await;
    assert_eq!(said.len(), 4, "{said:?}");
}

#[tokio::test]
async fn a_session_that_cannot_be_or_is_not_there_is_refused() {
    let (served, mut puppet) = moved(json!({})).await;
    let native = served.native().await;
    let first = told(&native, &mut puppet, "r1", &json!({"agentId": "main"})).await;
    let long = "x".repeat(600);
    let unknown = "01890000-0000-7000-8000-000000000000";
    let changed = "Session \"agent:main:main\" changed while starting work. Retry.";
    for (n, (chosen, message)) in [
        (
            json!({"sessionId": "a\u{1}b"}),
            "invalid agent params: sessionId is longer than 512 bytes or holds control characters",
        ),
        (
            json!({"agentId": "main", "sessionId": long}),
            "invalid agent params: sessionId is longer than 512 bytes or holds control characters",
        ),
        (
            json!({"agentId": "ghost", "sessionId": "x"}),
            "invalid agent params: unknown agent id \"ghost\"",
        ),
        (
            json!({"agentId": "main", "expectedExistingSessionId": unknown}),
            changed,
        ),
        (
            json!({"sessionKey": "main", "expectedExistingSessionId": unknown}),
            changed,
        ),
        (
            json!({"sessionKey": "other", "expectedExistingSessionId": first.session_id}),
            "Session \"agent:main:other\" changed while starting work. Retry.",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let params = call(&format!("bad{n}"), "hi", &chosen);
        let error = native.refused("agent", params).await;
        assert_eq!(*error.message, *message, "{chosen}");
    }
    assert!(puppet.is_idle());
    let expected = json!({"expectedExistingSessionId": first.session_id});
    let second = told(&native, &mut puppet, "r2", &expected).await;
    assert_eq!(second.before, ["say r1"]);
}

#[tokio::test]
async fn a_reset_of_a_session_that_is_not_the_expected_one_resets_nothing() {
    let (served, mut puppet) = moved(json!({})).await;
    let native = served.native().await;
    let first = told(&native, &mut puppet, "r1", &json!({"agentId": "main"})).await;
    let unknown = "01890000-0000-7000-8000-000000000000";
    for (run, expected) in [("bad0", unknown), ("bad1", "no id at all")] {
        let chosen = json!({"sessionKey": "main", "expectedExistingSessionId": expected});
        native.refused("agent", call(run, "/new hi", &chosen)).await;
    }
    assert!(puppet.is_idle());
    // A blank member means nothing, and the right one lets the reset through.
    let blank = json!({"sessionKey": "main", "expectedExistingSessionId": " "});
    let second = told(&native, &mut puppet, "r2", &blank).await;
    assert_eq!(second.before, ["say r1"]);
    let expected = json!({"sessionKey": "main", "expectedExistingSessionId": first.session_id});
    let answer = native.call_final("agent", call("r3", "/reset hi", &expected));
    let answered = async {
        let run = puppet.next().await;
        assert_eq!(
            (run.turn.turn.text(), run.turn.session.iter().count()),
            ("hi".to_owned(), 0)
        );
        run.ends().await;
    };
    let (answer, ()) = tokio::join!(answer, answered);
    assert_eq!(answer["status"], "ok", "{answer}");
}
