//! Micro-benches, each beside the least that could be done: the report prints both.
//!
//! Guarded: frame decode and encode, chat request parse, SSE encode, lane admission.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench stops at the first surprise"
)]

use std::hint::black_box;
use std::time::Duration;

use bytes::BytesMut;
use clawport::ids::{AgentId, RunId, SessionKey};
use clawport::internals::openai::{Draft, ReplyHead, Stream, StreamOptions};
use clawport::internals::protocol::{EncodedEvent, Reply, RequestFrame};
use clawport::internals::scheduler::lanes::{Caps, Lanes, Standing, Submission};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

fn frames(c: &mut Criterion) {
    let request = json!({
        "type": "req", "id": "5f0c1e3a-7f2b-4c55-9a5e-2d6f6f3d9a11", "method": "chat.send",
        "params": {
            "sessionKey": "agent:main:main",
            "sessionId": "11111111-1111-4111-8111-111111111111",
            "message": "hello there, how are you today?", "deliver": false,
            "idempotencyKey": "0a8c5b64-65a8-4a12-9a0e-3d2f5a6b7c8d",
        },
    });
    let request = request.to_string();
    let text = request.as_str();
    let mut group = c.benchmark_group("frame decode");
    group.throughput(Throughput::Bytes(u64::try_from(text.len()).unwrap()));
    group.bench_function("ours", |b| {
        b.iter(|| RequestFrame::decode(black_box(text)).unwrap());
    });
    group.bench_function("floor: serde_json::Value", |b| {
        b.iter(|| serde_json::from_str::<Value>(black_box(text)).unwrap());
    });
    group.finish();

    let payload = json!({
        "runId": "r1", "sessionKey": "agent:main:main", "seq": 41, "state": "delta",
        "deltaText": "hello ",
        "message": {"role": "assistant", "content": [{"type": "text", "text": "oh, hello "}]},
    });
    let event = EncodedEvent::new("chat", &payload).unwrap();
    let mut group = c.benchmark_group("frame encode");
    group.bench_function("event, encoded once, one connection more", |b| {
        b.iter(|| black_box(&event).frame(black_box(4711)));
    });
    group.bench_function("floor: serde_json per connection", |b| {
        b.iter(|| {
            let payload = black_box(&payload);
            let frame = json!({"type": "event", "event": "chat", "payload": payload, "seq": 4711});
            serde_json::to_string(&frame).unwrap()
        });
    });
    group.bench_function("response", |b| {
        b.iter(|| Reply::ok("id-1", black_box(&payload)));
    });
    group.finish();
}

fn chat_requests(c: &mut Criterion) {
    let small = chat_body(200);
    let large = chat_body(1_000_000);
    let mut group = c.benchmark_group("chat request parse");
    for (name, body) in [("300 B", &small), ("1 MB", &large)] {
        group.throughput(Throughput::Bytes(u64::try_from(body.len()).unwrap()));
        group.bench_function(format!("ours, {name}"), |b| {
            b.iter(|| {
                Draft::read(black_box(body))
                    .unwrap()
                    .check()
                    .unwrap()
                    .into_turn()
                    .unwrap()
            });
        });
        group.bench_function(format!("floor: memcpy and UTF-8 check, {name}"), |b| {
            b.iter(|| {
                let copy = black_box(body).clone();
                simdutf8::basic::from_utf8(&copy).unwrap().len()
            });
        });
    }
    group.finish();
}

fn chat_body(bytes: usize) -> Vec<u8> {
    let body = json!({
        "model": "openclaw:main", "stream": true, "temperature": 0.7,
        "messages": [
            {"role": "system", "content": "You are terse."},
            {"role": "user", "content": "lorem ipsum ".repeat(bytes / 12)},
        ],
    });
    serde_json::to_vec(&body).unwrap()
}

fn sse(c: &mut Criterion) {
    let head = || ReplyHead {
        id: "chatcmpl_00000000-0000-4000-8000-000000000000".to_owned(),
        created: 1_790_000_000,
        model: "openclaw".to_owned(),
    };
    let mut group = c.benchmark_group("SSE content chunk");
    let mut stream = Stream::new(&head(), StreamOptions::default());
    let mut out = BytesMut::with_capacity(4096);
    group.bench_function("ours", |b| {
        b.iter(|| {
            out.clear();
            stream.push_text(&mut out, black_box("hello "));
            out.len()
        });
    });
    group.bench_function("floor: serde_json per chunk", |b| {
        b.iter(|| {
            let chunk = json!({
                "id": "chatcmpl_00000000-0000-4000-8000-000000000000",
                "object": "chat.completion.chunk", "created": 1_790_000_000, "model": "openclaw",
                "choices": [{
                    "index": 0, "delta": {"content": black_box("hello ")}, "finish_reason": null,
                }],
            });
            format!("data: {chunk}\n\n")
        });
    });
    group.finish();
}

fn lanes(c: &mut Criterion) {
    let mut group = c.benchmark_group("lane: admit, start, end");
    for sessions in [1_000_u64, 100_000, 1_000_000] {
        group.bench_function(format!("{sessions} sessions taking turns"), |b| {
            b.iter_batched_ref(
                || (Lanes::new(CAPS), 0_u64, Instant::now()),
                |(lanes, n, now)| {
                    for _ in 0..1_000 {
                        *n += 7919;
                        let run = submission(*n, *n % sessions);
                        let id = run.run;
                        assert_eq!(lanes.submit(run, *now), Ok(Standing::Active));
                        lanes.finished(id, *now);
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

const CAPS: Caps = Caps {
    active_max: 256,
    waiting_max: 10_000,
    lane_waiting_max: 20,
    credential_waiting_max: 10_000,
    party_waiting_max: 10_000,
    wait: Duration::from_mins(10),
};

fn submission(n: u64, session: u64) -> Submission {
    Submission {
        run: RunId::from_uuid(Uuid::from_u64_pair(1, n)),
        lane: SessionKey::from_canonical(format!("agent:main:{session}")),
        agent: AgentId::parse("main").unwrap(),
        agent_active_max: 256,
        agent_weight: 1,
        credential: "token".into(),
        party: "bench".into(),
        hold: None,
        grace: Duration::from_secs(2),
        is_expendable: false,
    }
}

criterion_group!(benches, frames, chat_requests, sse, lanes);
criterion_main!(benches);
