//! Which agent and which model answer: aliases, the default agent, another model for one call; and
//! what an answer tells of itself.

use serde_json::{Value, json};

use crate::support::http::{chat, chat_with, frames, streamed_text};
use crate::support::upstream::{Part, Reply, Upstream};
use crate::support::{Puppet, Response, Rig, RigConfig, Served};

const HI: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;

async fn ask(served: &Served, headers: &[(&str, &str)], members: &str) -> Response {
    let body = HI.replacen('{', &format!("{{{members}"), 1);
    served.connect().await.ask(chat_with(headers, &body)).await
}

/// Two model servers' worth of models at one server, and simulated ones.
async fn served(upstream: &Upstream) -> Served {
    let models = json!([{"id": "small"}, {"id": "family/large"}]);
    let provider = json!({"baseUrl": format!("http://{}/v1", upstream.addr()),
        "api": "openai-completions", "models": models});
    Served::start(json!({
        "models": {"providers": {"mock": provider}, "aliases": {"gpt-4o": "beta"}},
        "agents": {
            "defaults": {"systemPrompt": "Be brief."},
            "list": [
                {"id": "beta", "model": "mock/small"},
                {"id": "main", "model": "sim/echo"},
            ],
        },
    }))
    .await
}

#[tokio::test]
async fn an_alias_stands_for_its_agent_and_is_echoed() {
    let upstream = Upstream::start().await;
    let served = served(&upstream).await;
    let response = ask(&served, &[], r#""model":"gpt-4o","#).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.json()["model"], "gpt-4o");
    assert_eq!(upstream.asked().last().unwrap().body["model"], "small");
    let other = ask(&served, &[], r#""model":"gpt-5","#).await;
    assert_eq!(other.status(), 400);
}

#[tokio::test]
async fn without_a_mark_main_is_the_default_agent() {
    let upstream = Upstream::start().await;
    let served = served(&upstream).await;
    for members in ["", r#""model":"openclaw","#, r#""model":null,"#] {
        assert_eq!(
            ask(&served, &[], members).await.content(),
            "hi",
            "{members}"
        );
    }
    assert_eq!(upstream.counts().asked, 0);
    let nobody = Served::start(json!({"agents": {"list": [{"id": "a"}, {"id": "b"}]}})).await;
    let refused = ask(&nobody, &[], "").await;
    assert_eq!(refused.status(), 400);
    assert!(
        refused
            .message()
            .starts_with("Multiple agents are configured, but ")
    );
}

#[tokio::test]
async fn any_configured_model_can_be_asked_for_by_any_agent() {
    let upstream = Upstream::start().await;
    let served = served(&upstream).await;
    let told = |upstream: &Upstream| {
        let asked = upstream.asked();
        let body = &asked.last().unwrap().body;
        (
            body["model"].clone(),
            body["messages"][0]["content"].clone(),
        )
    };
    // A simulated agent with a real model, and its own words to it.
    let override_with = |model| [("x-openclaw-model", model)];
    for (model, id) in [
        ("mock/small", "small"),
        ("mock/family/large", "family/large"),
        ("family/large", "family/large"),
        ("small", "small"),
    ] {
        let response = ask(&served, &override_with(model), "").await;
        assert_eq!(response.status(), 200, "{model}: {}", response.text());
        assert_eq!(told(&upstream), (json!(id), json!("Be brief.")), "{model}");
    }
    // An agent with a real model and another one, or the simulated one of another agent.
    let beta = r#""model":"openclaw:beta","#;
    ask(&served, &override_with("mock/family/large"), beta).await;
    assert_eq!(told(&upstream).0, "family/large");
    let before = upstream.counts().asked;
    let echoed = ask(&served, &override_with("sim/echo"), beta).await;
    assert_eq!(echoed.content(), "hi");
    assert_eq!(upstream.counts().asked, before);
    let unknown = ask(&served, &override_with("mock/none"), beta).await;
    assert_eq!(unknown.status(), 404);
    let broken = ask(&served, &override_with("mock/"), beta).await;
    assert_eq!(broken.status(), 400);
}

#[tokio::test]
async fn a_chat_of_open_webui_has_a_session_when_that_is_switched_on() {
    for (on, sessions) in [(true, 2), (false, 0)] {
        let served = Served::start(json!({
            "gateway": {"http": {"endpoints": {"chatCompletions": {"openWebUiChats": on}}}},
            "agents": {"defaults": {"model": "sim/echo"}},
        }))
        .await;
        let chat = [("X-OpenWebUI-Chat-Id", "c-1")];
        ask(&served, &chat, "").await;
        ask(&served, &chat, "").await;
        ask(&served, &[("X-OpenWebUI-Chat-Id", "c-2")], "").await;
        let native = served.native().await;
        let list = native.call("sessions.list", json!({})).await;
        let keys: Vec<_> = list["sessions"].as_array().unwrap().iter().collect();
        assert_eq!(keys.len(), sessions, "{list}");
        if on {
            assert!(list.to_string().contains("agent:main:openai-user:owui-c-1"));
            // A user and a key say more.
            ask(&served, &chat, r#""user":"u","#).await;
            let list = native.call("sessions.list", json!({})).await;
            assert!(list.to_string().contains("agent:main:openai-user:u"));
        }
    }
}

#[tokio::test]
async fn an_answer_tells_where_its_time_went() {
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig::with_agent(agent)).await;
    let mut connection = rig.connect().await;
    connection.send(chat(HI)).await;
    let run = puppet.next().await;
    run.says("x").await;
    run.ends().await;
    let response = connection.response().await;
    check_timing(response.header("server-timing").unwrap());
}

/// All three times are there, and none is before the one it follows.
fn check_timing(timing: &str) {
    let names: Vec<_> = timing
        .split(", ")
        .map(|entry| entry.split_once(";dur=").unwrap())
        .map(|(name, millis)| (name, millis.parse::<f64>().unwrap()))
        .collect();
    let [("queue", queue), ("ttft", first), ("total", total)] = names[..] else {
        panic!("{timing}");
    };
    assert!(queue <= first && first <= total, "{timing}");
}

#[tokio::test]
async fn a_stream_tells_where_its_time_went_to_whoever_reads_trailers() {
    const STREAM: &str = r#"{"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let (agent, mut puppet) = Puppet::new();
    let rig = Rig::start(RigConfig::with_agent(agent)).await;
    let mut connection = rig.connect().await;
    for takes_trailers in [true, false] {
        let te: &[(&str, &str)] = if takes_trailers {
            &[("te", "trailers")]
        } else {
            &[]
        };
        connection.send(chat_with(te, STREAM)).await;
        let run = puppet.next().await;
        run.says("x").await;
        run.ends().await;
        let head = connection.head().await;
        let announced = takes_trailers.then_some("server-timing");
        assert_eq!(head.header("trailer"), announced);
        let (stream, trailer) = connection.rest_and_trailer().await;
        assert!(stream.ends_with(b"data: [DONE]\n\n"));
        let timing = trailer.strip_prefix("server-timing: ").map(str::trim_end);
        assert_eq!(timing.is_some(), takes_trailers, "{trailer:?}");
        timing.into_iter().for_each(check_timing);
    }
}

#[tokio::test]
async fn usage_nobody_counted_is_not_made_up_in_a_stream() {
    let upstream = Upstream::start().await;
    let served = served(&upstream).await;
    let answer = |usage: Option<Part>| {
        let mut parts = vec![Part::text("a"), Part::finish("stop")];
        parts.extend(usage);
        parts.push(Part::done());
        Reply::events(parts)
    };
    upstream.replies([answer(None), answer(Some(Part::usage(5, 2))), answer(None)]);
    let members =
        r#""model":"openclaw:beta","stream":true,"stream_options":{"include_usage":true},"#;
    for expected in [None, Some(json!(7))] {
        let response = ask(&served, &[], members).await;
        assert_eq!(streamed_text(response.text()), "a");
        let chunks = frames(response.text());
        let chunks = chunks.iter().filter(|frame| *frame != "[DONE]");
        let chunks = chunks.map(|frame| serde_json::from_str::<Value>(frame).unwrap());
        let counted: Vec<_> = chunks
            .filter(|chunk| chunk.get("usage").is_some())
            .collect();
        let total = counted
            .first()
            .map(|chunk| chunk["usage"]["total_tokens"].clone());
        assert_eq!(
            (counted.len(), total),
            (usize::from(expected.is_some()), expected)
        );
    }
    // Where the clients' types need numbers there are zeros.
    let whole = ask(&served, &[], r#""model":"openclaw:beta","#).await;
    assert_eq!(whole.json()["usage"]["total_tokens"], 0);
}

#[tokio::test]
async fn an_image_by_url_is_fetched_only_when_allowed_and_never_from_inside() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for allowed in [false, true] {
        let images = json!({"allowUrl": allowed});
        let served = Served::start(json!({
            "gateway": {"http": {"endpoints": {"chatCompletions": {"images": images}}}},
        }))
        .await;
        let mut connection = served.connect().await;
        for host in [
            "127.0.0.1",
            "localhost",
            "[::ffff:127.0.0.1]",
            "2130706433",
            "0x7f.1",
        ] {
            let url = format!("http://{host}:{port}/x.png");
            let body = json!({"messages": [{"role": "user", "content": [
                {"type": "text", "text": "see"},
                {"type": "image_url", "image_url": {"url": url}},
            ]}]});
            let response = connection.ask(chat(&body.to_string())).await;
            assert_eq!(response.status(), 400, "{allowed} {host}");
            assert_eq!(
                response.message(),
                "Invalid image_url content in `messages`."
            );
        }
        let whole = json!({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": "data:;base64,R0lGODlhAA=="},
        ]}]});
        assert_eq!(connection.ask(chat(&whole.to_string())).await.status(), 200);
    }
    let nobody = tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
    assert!(nobody.is_err(), "the gateway connected to itself");
}
