//! The model agent against a scripted model server: everything a server can do wrong, repeats,
//! fallbacks, time limits and cancellation.

use std::time::{Duration, Instant};

use bytes::Bytes;
use clawport::agent::Agent;
use clawport::agent::model::{ApiKey, BaseUrl, ModelAgent, Timeouts};
use clawport::error::ErrorCode;
use clawport::run::{Event, FinishReason};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::support::model::{Room, agent_at, agent_of, ask, endpoint, read, room, told, turn};
use crate::support::soon;
use crate::support::upstream::{Mute, Part, Reply, Upstream};

// What a server can do wrong once its answer has begun.

async fn check_failure(parts: Vec<Part>, said: &str, code: ErrorCode, message: &str) {
    let shown = format!("{parts:?}");
    let shown: String = shown.chars().take(200).collect();
    let (answer, upstream) = told(parts).await;
    assert_eq!(answer.text(), said, "{shown}");
    assert_eq!(
        (answer.code(), answer.message()),
        (Some(code), message),
        "{shown}"
    );
    assert_eq!(answer.finish, None, "{shown}");
    upstream.until(|counts| counts.active == 0).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_complete() {
    let truncated = "the model server ended its answer early";
    let broken = "the connection to the model server broke in the middle of its answer";
    let failed = ErrorCode::UpstreamFailed;
    check_failure(vec![Part::text("part")], "part", failed, truncated).await;
    check_failure(vec![Part::raw("data: {\"cho")], "", failed, truncated).await;
    check_failure(
        vec![Part::raw("hello, I am no stream\n")],
        "",
        failed,
        truncated,
    )
    .await;
    check_failure(vec![Part::done()], "", failed, truncated).await;
    for reset in [false, true] {
        let cut = vec![Part::text("part"), Part::Cut { reset }];
        check_failure(cut, "part", failed, broken).await;
        // Even when only the role has come: the server has begun to work.
        let begun = vec![
            Part::delta(&json!({"role": "assistant"})),
            Part::Cut { reset },
        ];
        check_failure(begun, "", failed, broken).await;
    }
}

#[tokio::test]
async fn nonsense_in_an_answer_fails_it() {
    let failed = ErrorCode::UpstreamFailed;
    check_failure(
        vec![
            Part::text("a"),
            Part::raw("data: {broken\n\n"),
            Part::text("b"),
            Part::done(),
        ],
        "a",
        failed,
        "the model server sent an event that is not valid JSON",
    )
    .await;
    let huge = vec![b'x'; 2 << 20];
    check_failure(
        vec![Part::text("a"), Part::raw(huge), Part::Stall],
        "a",
        failed,
        "the model server sent a malformed stream",
    )
    .await;
    let many: Vec<_> = (0..200)
        .map(|n| json!({"index": n, "function": {"name": "f"}}))
        .collect();
    let (answer, _) = told([Part::delta(&json!({"tool_calls": many})), Part::done()]).await;
    assert_eq!(answer.code(), Some(failed));
    assert_eq!(
        answer.message(),
        "the model server sent more tool calls than can be handled"
    );
}

#[tokio::test]
async fn failures_told_inside_the_stream_are_passed_on() {
    let error = |error: Value| Part::event(&json!({ "error": error }));
    check_failure(
        vec![
            Part::text("a"),
            error(json!({"message": "no more", "code": 429})),
            Part::done(),
        ],
        "a",
        ErrorCode::UpstreamRateLimit,
        "no more",
    )
    .await;
    check_failure(
        vec![error(json!("it burns"))],
        "",
        ErrorCode::UpstreamFailed,
        "it burns",
    )
    .await;
    check_failure(
        vec![
            Part::text("a"),
            Part::finish("content_filter"),
            Part::done(),
        ],
        "a",
        ErrorCode::UpstreamRequest,
        "the content filter of the model server stopped the answer",
    )
    .await;
    check_failure(
        vec![Part::text("a"), Part::finish("error")],
        "a",
        ErrorCode::UpstreamFailed,
        "the model server reported a failure in the middle of its answer",
    )
    .await;
}

#[tokio::test]
async fn a_complete_answer_is_never_a_failure() {
    let complete: [Vec<Part>; 5] = [
        // Without the last event.
        vec![Part::text("a"), Part::finish("stop")],
        // Without a finish reason.
        vec![Part::text("a"), Part::done()],
        // Broken or silent after its end.
        vec![
            Part::text("a"),
            Part::finish("stop"),
            Part::Cut { reset: false },
        ],
        vec![Part::text("a"), Part::finish("stop"), Part::Stall],
        vec![
            Part::text("a"),
            Part::finish("stop"),
            Part::done(),
            Part::Stall,
        ],
    ];
    for parts in complete {
        let shown = format!("{parts:?}");
        let (answer, _) = told(parts).await;
        assert_eq!(answer.text(), "a", "{shown}");
        assert_eq!(answer.finish, Some(FinishReason::Stop), "{shown}");
    }
}

#[tokio::test]
async fn a_trickle_flows_through() {
    let mut bytes = Vec::new();
    for part in [
        Part::raw(": hello\r\n\r\n"),
        Part::text("grüß "),
        Part::text("dich"),
        Part::usage(1, 2),
        Part::finish("stop"),
        Part::done(),
    ] {
        let Part::Data(data) = part else {
            unreachable!()
        };
        bytes.extend(
            data.iter()
                .map(|byte| Part::raw(Bytes::copy_from_slice(&[*byte]))),
        );
    }
    let (answer, _) = told(bytes).await;
    assert_eq!(answer.chunks, ["grüß ", "dich"]);
    assert_eq!(answer.usage.unwrap().output, 2);
    assert_eq!(answer.finish, Some(FinishReason::Stop));
}

#[tokio::test]
async fn a_connection_that_went_wrong_is_not_used_again() {
    let upstream = Upstream::start().await;
    let agent = agent_at(&upstream);
    upstream.replies([Reply::events([Part::raw("data: {broken\n\n"), Part::Stall])]);
    assert!(ask(&agent, turn("hi")).await.error.is_some());
    upstream.until(|counts| counts.closed == 1).await;
    assert_eq!(ask(&agent, turn("hi")).await.error, None);
    let connections: Vec<_> = upstream
        .asked()
        .iter()
        .map(|call| call.connection)
        .collect();
    assert_eq!(connections, [0, 1]);
}

// Repeats and fallbacks.

#[tokio::test]
async fn what_passes_is_repeated_until_it_works() {
    let upstream = Upstream::start().await;
    upstream.replies([Reply::refusal(500, "x"), Reply::refusal(429, "x")]);
    let (agent, metrics) = agent_of(vec![endpoint(upstream.base_url())], 2);
    let answer = ask(&agent, turn("hi [[mock tokens=1]]")).await;
    assert_eq!((answer.text().as_str(), answer.error), ("w0 ", None));
    assert_eq!(upstream.counts().asked, 3);
    let counted = (
        metrics.upstream_calls.get(),
        metrics.upstream_retries.get(),
        metrics.upstream_failures.get(),
    );
    assert_eq!(counted, (3, 2, 2));
}

#[tokio::test]
async fn calls_are_repeated_no_more_often_than_configured() {
    for retries in [0, 2] {
        let upstream = Upstream::start().await;
        let (agent, _) = agent_of(vec![endpoint(upstream.base_url())], retries);
        let answer = ask(&agent, turn("hi [[mock status=503]]")).await;
        assert_eq!(answer.code(), Some(ErrorCode::UpstreamOverloaded));
        assert_eq!(answer.message(), "503 mock upstream error 503");
        assert_eq!(upstream.counts().asked, retries as usize + 1);
    }
}

#[tokio::test]
async fn what_does_not_pass_is_asked_once() {
    for (status, code) in [
        (400, ErrorCode::UpstreamRequest),
        (401, ErrorCode::UpstreamAuth),
        (402, ErrorCode::UpstreamBilling),
        (403, ErrorCode::UpstreamPermission),
        (404, ErrorCode::UpstreamModel),
        (413, ErrorCode::ContextOverflow),
        (418, ErrorCode::UpstreamRequest),
    ] {
        let upstream = Upstream::start().await;
        let text = format!("hi [[mock status={status}]]");
        let answer = ask(&agent_at(&upstream), turn(&text)).await;
        assert_eq!(answer.code(), Some(code), "{status}");
        assert_eq!(upstream.counts().asked, 1, "{status}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_before_an_answer_is_tried_again() {
    for first in [
        Reply::Hangup { reset: false },
        Reply::Hangup { reset: true },
        Reply::events([]),
        Reply::events([Part::Cut { reset: false }]),
    ] {
        let upstream = Upstream::start().await;
        upstream.replies([first.clone()]);
        let answer = ask(&agent_at(&upstream), turn("hi [[mock tokens=1]]")).await;
        assert_eq!(
            (answer.text().as_str(), &answer.error),
            ("w0 ", &None),
            "{first:?}"
        );
        assert_eq!(upstream.counts().asked, 2, "{first:?}");
    }
}

#[tokio::test]
async fn the_wait_a_server_asks_for_is_kept_up_to_a_limit() {
    let upstream = Upstream::start().await;
    upstream.replies([Reply::refusal(429, "x").with_header("retry-after-ms", "700")]);
    let begun = Instant::now();
    let answer = ask(&agent_at(&upstream), turn("hi")).await;
    assert_eq!(answer.finish, Some(FinishReason::Stop));
    assert!(begun.elapsed() >= Duration::from_millis(700));

    upstream.replies([Reply::refusal(429, "x").with_header("retry-after", "31")]);
    let answer = ask(&agent_at(&upstream), turn("hi")).await;
    assert_eq!(answer.code(), Some(ErrorCode::UpstreamRateLimit));
    assert_eq!(upstream.counts().asked, 3);
}

#[tokio::test]
async fn a_repeat_that_would_miss_the_deadline_is_not_waited_for() {
    let upstream = Upstream::start().await;
    upstream.replies([Reply::refusal(429, "x").with_header("retry-after", "20")]);
    let mut context = room().context;
    context.deadline = Some(tokio::time::Instant::now() + Duration::from_secs(10));
    let answer = read(agent_at(&upstream).run(turn("hi"), context)).await;
    assert_eq!(answer.code(), Some(ErrorCode::UpstreamRateLimit));
    assert_eq!(upstream.counts().asked, 1);
}

#[tokio::test]
async fn fallbacks_are_asked_in_order_and_the_first_failure_counts() {
    let first = Upstream::start().await;
    let second = Upstream::start().await;
    let endpoints = || vec![endpoint(first.base_url()), endpoint(second.base_url())];
    first.replies([Reply::refusal(401, "x")]);
    let answer = ask(&agent_of(endpoints(), 0).0, turn("hi [[mock text=second]]")).await;
    assert_eq!((answer.text().as_str(), answer.error), ("second", None));

    first.replies([Reply::refusal(404, "no such model")]);
    second.replies([Reply::refusal(500, "x")]);
    let answer = ask(&agent_of(endpoints(), 0).0, turn("hi")).await;
    assert_eq!(answer.code(), Some(ErrorCode::UpstreamModel));
    assert_eq!(answer.message(), "404 no such model");
    assert_eq!((first.counts().asked, second.counts().asked), (2, 2));

    // After the first byte nobody else is asked.
    first.replies([Reply::events([
        Part::text("part"),
        Part::Cut { reset: false },
    ])]);
    let answer = ask(&agent_of(endpoints(), 2).0, turn("hi")).await;
    assert_eq!(answer.code(), Some(ErrorCode::UpstreamFailed));
    assert_eq!((first.counts().asked, second.counts().asked), (3, 2));
}

#[tokio::test]
async fn a_turn_that_names_a_model_is_answered_by_that_model_alone() {
    let first = Upstream::start().await;
    let second = Upstream::start().await;
    let mut other = endpoint(second.base_url());
    other.model.model = "other/model:7b".into();
    let (agent, _) = agent_of(vec![endpoint(first.base_url()), other], 0);
    let naming = |model: &str| {
        let mut turn = turn("hi");
        turn.turn.model = Some(model.to_owned());
        turn
    };
    let answer = ask(&agent, naming("mock/other/model:7b")).await;
    assert_eq!(answer.finish, Some(FinishReason::Stop));
    assert_eq!(second.asked()[0].body["model"], "other/model:7b");
    first.replies([Reply::refusal(404, "x")]);
    let answer = ask(&agent, naming("mock/mock-model")).await;
    assert_eq!(answer.code(), Some(ErrorCode::UpstreamModel));
    let answer = ask(&agent, naming("mock/unknown")).await;
    assert_eq!(answer.message(), "the agent has no model mock/unknown");
    assert_eq!((first.counts().asked, second.counts().asked), (1, 1));
}

#[tokio::test]
async fn a_server_that_is_not_there_cannot_be_connected_to() {
    let gone = Upstream::start().await;
    let url = gone.base_url();
    drop(gone);
    tokio::task::yield_now().await;
    let answer = ask(&agent_of(vec![endpoint(url)], 1).0, turn("hi")).await;
    assert_eq!(answer.code(), Some(ErrorCode::UpstreamConnect));
    assert_eq!(answer.message(), "no connection to the model server");
    let unknown = BaseUrl::parse("http://no-such-host.invalid/v1").unwrap();
    let answer = ask(&agent_of(vec![endpoint(unknown)], 0).0, turn("hi")).await;
    assert_eq!(answer.code(), Some(ErrorCode::UpstreamConnect));
}

#[tokio::test]
async fn what_is_no_http_fails() {
    let mute = Mute::start(b"SSH-2.0-OpenSSH_9.2p1\r\n").await;
    let url = BaseUrl::parse(&format!("http://{}/v1", mute.addr())).unwrap();
    let answer = ask(&agent_of(vec![endpoint(url)], 0).0, turn("hi")).await;
    assert_eq!(answer.code(), Some(ErrorCode::UpstreamFailed));
    mute.until(1, 1).await;
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let other = Upstream::start().await;
    let upstream = Upstream::start().await;
    let target = format!("http://{}/v1/chat/completions", other.addr());
    let redirect = Reply::Status(307, Vec::new(), String::new()).with_header("location", &target);
    upstream.replies([redirect]);
    let answer = ask(&agent_at(&upstream), turn("hi")).await;
    assert_eq!(answer.code(), Some(ErrorCode::UpstreamFailed));
    assert!(
        answer.message().contains("redirects"),
        "{}",
        answer.message()
    );
    assert_eq!(
        (upstream.counts().asked, other.counts().connections),
        (1, 0)
    );
}

#[tokio::test]
async fn no_secret_comes_back() {
    let upstream = Upstream::start().await;
    let mut asked = endpoint(upstream.base_url());
    asked.api_key = Some(ApiKey::parse("very-secret-key").unwrap());
    let quoted = "bad request with Bearer very-secret-key in it";
    upstream.replies([
        Reply::refusal(400, quoted),
        Reply::refusal(401, quoted),
        Reply::events([Part::event(&json!({"error": {"message": quoted}}))]),
    ]);
    let (agent, _) = agent_of(vec![asked], 0);
    for _ in 0..3 {
        let answer = ask(&agent, turn("hi")).await;
        let shown = format!("{answer:?}");
        assert!(
            answer.error.is_some() && !shown.contains("very-secret"),
            "{shown}"
        );
    }
}

// Time limits.

fn impatient(base_url: BaseUrl, timeouts: Timeouts) -> ModelAgent {
    let mut endpoint = endpoint(base_url);
    endpoint.timeouts = timeouts;
    agent_of(vec![endpoint], 2).0
}

const PATIENT: Duration = Duration::from_mins(1);
const IMPATIENT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_server_that_does_not_finish_connecting_is_given_up() {
    let mute = Mute::start(b"").await;
    // TLS begins and is never answered.
    let url = BaseUrl::parse(&format!("https://localhost:{}/v1", mute.addr().port())).unwrap();
    let mut endpoint = endpoint(url);
    endpoint.timeouts = Timeouts {
        connect: IMPATIENT,
        first_byte: PATIENT,
        idle: PATIENT,
    };
    let answer = ask(&agent_of(vec![endpoint], 0).0, turn("hi")).await;
    assert_eq!(answer.code(), Some(ErrorCode::UpstreamConnect));
    mute.until(1, 1).await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up_after_one_call() {
    let timeouts = Timeouts {
        connect: PATIENT,
        first_byte: IMPATIENT,
        idle: PATIENT,
    };
    for silence in [Reply::Silence, Reply::events([Part::Stall])] {
        let upstream = Upstream::start().await;
        upstream.replies([silence]);
        let answer = ask(&impatient(upstream.base_url(), timeouts), turn("hi")).await;
        assert_eq!(answer.code(), Some(ErrorCode::UpstreamTimeout));
        assert_eq!(upstream.counts().asked, 1);
        upstream.until(|counts| counts.closed == 1).await;
    }
}

#[tokio::test]
async fn a_silent_answer_is_given_up_and_comments_are_not_silence() {
    let timeouts = Timeouts {
        connect: PATIENT,
        first_byte: PATIENT,
        idle: IMPATIENT,
    };
    let upstream = Upstream::start().await;
    upstream.replies([Reply::events([Part::text("a"), Part::Stall])]);
    let agent = impatient(upstream.base_url(), timeouts);
    let answer = ask(&agent, turn("hi")).await;
    assert_eq!(answer.code(), Some(ErrorCode::UpstreamTimeout));
    assert_eq!(answer.text(), "a");
    upstream.until(|counts| counts.closed == 1).await;

    let mut thinking = vec![Part::text("a")];
    for _ in 0..8 {
        thinking.extend([Part::Wait(40), Part::raw(": thinking\n\n")]);
    }
    thinking.extend([Part::text("b"), Part::done()]);
    upstream.replies([Reply::events(thinking)]);
    let answer = ask(&agent, turn("hi")).await;
    assert_eq!((answer.text().as_str(), answer.error), ("ab", None));
}

// Cancellation.

/// How a run is given up.
#[derive(Clone, Copy, Debug)]
enum GiveUp {
    Cancel,
    Drop,
}

/// How long it takes until the other side sees a run given up, once `is_there`; the best of some
/// tries, since the machine may be busy.
async fn time_to_close(reply: Reply, first: Option<&str>, how: GiveUp) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let upstream = Upstream::start().await;
        upstream.replies([reply.clone()]);
        let Room {
            context, cancel, ..
        } = room();
        let mut stream = agent_at(&upstream).run(turn("hi"), context);
        if let Some(first) = first {
            let text = soon(stream.next()).await.unwrap().unwrap();
            assert_eq!(text, Event::Text(first.to_owned()));
        }
        let running = tokio::spawn(async move {
            let ended = stream.next().await;
            assert_eq!(ended, None);
        });
        upstream.until(|counts| counts.active == 1).await;
        let begun = Instant::now();
        match how {
            GiveUp::Cancel => cancel.cancel(),
            GiveUp::Drop => running.abort(),
        }
        upstream
            .until(|counts| counts.closed == 1 && counts.active == 0)
            .await;
        best = best.min(begun.elapsed());
    }
    best
}

#[tokio::test]
async fn giving_a_run_up_closes_its_connection_within_100_ms() {
    for how in [GiveUp::Cancel, GiveUp::Drop] {
        for (reply, first) in [
            (Reply::Silence, None),
            (Reply::events([Part::Stall]), None),
            (Reply::events([Part::text("a"), Part::Stall]), Some("a")),
        ] {
            let took = time_to_close(reply.clone(), first, how).await;
            assert!(
                took < Duration::from_millis(100),
                "{how:?} {reply:?}: {took:?}"
            );
        }
    }
}

#[tokio::test]
async fn giving_a_run_up_stops_connecting() {
    for how in [GiveUp::Cancel, GiveUp::Drop] {
        let mute = Mute::start(b"").await;
        let url = format!("https://localhost:{}/v1", mute.addr().port());
        let (agent, _) = agent_of(vec![endpoint(BaseUrl::parse(&url).unwrap())], 2);
        let Room {
            context, cancel, ..
        } = room();
        let mut stream = agent.run(turn("hi"), context);
        let running = tokio::spawn(async move { stream.next().await });
        mute.until(1, 0).await;
        match how {
            GiveUp::Cancel => cancel.cancel(),
            GiveUp::Drop => running.abort(),
        }
        mute.until(1, 1).await;
    }
}

#[tokio::test]
async fn giving_a_run_up_stops_waiting_for_a_repeat() {
    let upstream = Upstream::start().await;
    upstream.replies([Reply::refusal(503, "x").with_header("retry-after", "30")]);
    let Room {
        context, cancel, ..
    } = room();
    let mut stream = agent_at(&upstream).run(turn("hi"), context);
    let running = tokio::spawn(async move { stream.next().await });
    upstream.until(|counts| counts.finished == 1).await;
    cancel.cancel();
    assert_eq!(soon(running).await.unwrap(), None);
    assert_eq!(upstream.counts().asked, 1);
}
