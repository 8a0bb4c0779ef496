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
mod crowd;
mod fan;
mod floor;
mod gateway;
mod groups;
mod http;
mod measure;
mod memory;
mod native;
mod report;
mod upstream;

use std::net::SocketAddr;
use std::time::Duration;

use groups::Servers;
use measure::Plan;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--serve-floor-http") => floor::http::serve(),
        Some("--serve-floor-ws") => floor::ws::serve(),
        Some("--serve-floor-fan") => floor::fan::serve(),
        Some("--serve-floor-proxy") => floor::proxy::serve(upstream(&args).unwrap()),
        Some("--serve-model") => upstream::serve(),
        Some("--serve-gateway") => gateway::serve(upstream(&args)),
        _ => bench(&args),
    }
}

fn upstream(args: &[String]) -> Option<SocketAddr> {
    args.get(1).map(|addr| addr.parse().unwrap())
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
            crowd: 200,
        }
    } else {
        Plan {
            rounds: 7,
            warm_up: Duration::from_millis(250),
            window: Duration::from_secs(1),
            crowd: 1000,
        }
    };
    report::header(&plan);
    match value_of(args, "--url") {
        Some(url) => report::foreign(&plan, &url, &value_of(args, "--token").unwrap_or_default()),
        None => ours(&plan, &value_of(args, "--only").unwrap_or_default()),
    }
}

fn ours(plan: &Plan, only: &str) {
    let servers = Servers::start();
    for (name, cases) in groups::all(&servers, plan) {
        if name.starts_with(only) {
            let results = measure::interleaved(plan, &cases);
            report::group(name, &results);
        }
    }
    drop(servers);
    if "T9 T10 memory".contains(only) {
        memory::idle();
    }
    if "T12 growth".contains(only) {
        crowd::growth(plan);
    }
    if "T19 crowd".contains(only) {
        crowd::latency(plan);
    }
}

fn value_of(args: &[String], name: &str) -> Option<String> {
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1).cloned()
}
