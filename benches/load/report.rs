//! Prints what was measured: medians, the spread, and ratios to the first case of a group.

use crate::http;
use crate::measure::{Plan, Windows, interleaved};

pub(crate) fn header(plan: &Plan) {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "clawport {} · {} rounds of {:?} · load average {}",
        env!("CARGO_PKG_VERSION"),
        plan.rounds,
        plan.window,
        load.split(' ').next().unwrap_or("?"),
    );
    println!("server CPU per operation; ratio > 1 means cheaper than the floor of the same round");
}

pub(crate) fn group(name: &str, results: &[Windows]) {
    println!("\n{name}");
    let Some(floor) = results.first() else { return };
    for case in results {
        let ratios: Vec<f64> = floor
            .cpu_us_per_op
            .iter()
            .zip(&case.cpu_us_per_op)
            .map(|(floor, ours)| floor / ours)
            .collect();
        println!(
            "  {:<28} {:>9.1} µs   ratio {:>5.2} [{:.2}–{:.2}]   {:>8.0}/s   p99 {:>8.0} µs",
            case.name,
            median(&case.cpu_us_per_op),
            median(&ratios),
            least(&ratios),
            most(&ratios),
            median(&case.ops_per_second),
            median(&case.p99_us),
        );
    }
}

/// Another gateway: only what can be seen from outside.
pub(crate) fn foreign(plan: &Plan, url: &str, token: &str) {
    let authority = url
        .trim_start_matches("http://")
        .split('/')
        .next()
        .unwrap_or_default();
    let addr = authority
        .parse()
        .unwrap_or_else(|_| panic!("--url http://127.0.0.1:PORT"));
    let cases = [false, true].map(|stream| http::foreign_chat(addr, token, stream));
    for case in interleaved(plan, &cases) {
        println!(
            "  {:<40} {:>8.0}/s",
            case.name,
            median(&case.ops_per_second)
        );
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn least(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}
