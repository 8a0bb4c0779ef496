//! Load bench: the gateway beside the least a server can do, in the same run.
//!
//! `cargo bench --bench load` starts floor servers and the gateway as child processes on loopback,
//! drives them in turn (A B A B …) and prints server CPU per operation and its ratio to the floor.
//! `-- --quick` runs one short round, `-- --only T2` the cases whose name begins so, and
//! `-- --url URL --token T` drives another gateway with the same load. Every loop is bounded in
//! count and time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::as_conversions,
    clippy::string_slice,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::exit,
    clippy::struct_field_names,
    missing_docs,
    reason = "a bench stops at the first surprise and prints what it measures"
)]

mod child;
mod floor;
mod gateway;
mod http;
mod measure;
mod memory;
mod native;
mod report;

use std::time::Duration;

use child::Child;
use measure::{Case, Plan};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--serve-floor-http") => floor::serve_http(),
        Some("--serve-floor-ws") => floor::serve_ws(),
        Some("--serve-gateway") => gateway::serve(),
        _ => bench(&args),
    }
}

fn bench(args: &[String]) {
    // A client that fails must not leave the others waiting for it.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        hook(info);
        std::process::exit(1);
    }));
    let quick = args.iter().any(|arg| arg == "--quick");
    let plan = if quick {
        Plan {
            rounds: 1,
            warm_up: Duration::from_millis(50),
            window: Duration::from_millis(200),
        }
    } else {
        Plan {
            rounds: 7,
            warm_up: Duration::from_millis(250),
            window: Duration::from_secs(1),
        }
    };
    report::header(&plan);
    match value_of(args, "--url") {
        Some(url) => report::foreign(&plan, &url, &value_of(args, "--token").unwrap_or_default()),
        None => ours(&plan, &value_of(args, "--only").unwrap_or_default()),
    }
}

fn ours(plan: &Plan, only: &str) {
    let floor_http = Child::start("--serve-floor-http");
    let floor_twin = Child::start("--serve-floor-http");
    let floor_ws = Child::start("--serve-floor-ws");
    let gateway = Child::start("--serve-gateway");
    let token = gateway::TOKEN;
    let chat =
        |agent: &str, stream: bool, user: bool| http::chat(&gateway, token, agent, stream, user);
    let mut groups: Vec<(&str, Vec<Case<'_>>)> = vec![
        (
            "A/A: typed floor against itself, 64 clients",
            vec![
                http::post("floor", &floor_http, "/typed", 64),
                http::post("floor again", &floor_twin, "/typed", 64),
            ],
        ),
        (
            "T1 chat, stateless, 64 clients",
            vec![
                http::post("typed floor", &floor_http, "/typed", 64),
                chat("main", false, false),
            ],
        ),
        (
            "T2 chat on a `user` session, durable, 64 clients",
            vec![
                http::post("typed floor", &floor_http, "/typed", 64),
                chat("main", false, true),
            ],
        ),
        (
            "T3 /healthz, 64 clients",
            vec![
                http::get("bare floor", &floor_http, "/bare", 64),
                http::get("healthz", &gateway, "/healthz", 64),
            ],
        ),
        (
            "T4 SSE, 200 tokens, one yield each, 16 clients",
            vec![
                http::get("flush per chunk floor", &floor_http, "/sse", 16),
                chat("yield", true, false),
                http::rich_chat(&gateway, token, "yield"),
            ],
        ),
        (
            "T5 SSE, 200 tokens at once, 16 clients",
            vec![
                http::get("flush per chunk floor", &floor_http, "/sse", 16),
                chat("ready", true, false),
                http::rich_chat(&gateway, token, "ready"),
            ],
        ),
    ];
    groups.extend(native_groups(&floor_ws, &gateway));
    groups.retain(|(name, _)| name.starts_with(only));
    for (name, cases) in groups {
        let results = measure::interleaved(plan, &cases);
        report::group(name, &results);
    }
    if "T9 T10 memory".contains(only) {
        memory::idle(token);
    }
}

fn native_groups<'a>(floor: &'a Child, gateway: &'a Child) -> [(&'static str, Vec<Case<'a>>); 2] {
    [
        (
            "T6 native request (health), 64 connections",
            vec![
                native::echo("tungstenite 4 KiB echo", floor, 64),
                native::health("health", gateway, gateway::TOKEN, 64),
            ],
        ),
        (
            "native runs (agent, two responses), durable, 64 connections",
            vec![
                native::echo("tungstenite 4 KiB echo", floor, 64),
                native::agent_runs("agent", gateway, gateway::TOKEN, 64),
            ],
        ),
    ]
}

fn value_of(args: &[String], name: &str) -> Option<String> {
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1).cloned()
}
