//! Deterministic simulation: a whole gateway over a simulated network and the ledger in memory,
//! with clients, callers and a model server that misbehave as a seed says, and an oracle that
//! looks at everything that happened.
//!
//! `CLAWPORT_SIM_SEED=7` runs one seed, `CLAWPORT_SIM_SEEDS=10000` that many; a failure prints its
//! seed. The same seed does the same again, event for event.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::string_slice,
    clippy::indexing_slicing,
    reason = "tests fail by panicking and may use what production code may not"
)]

mod gateway;
mod http;
mod ledger;
mod mutants;
mod native;
mod net;
mod oracle;
mod plan;
mod trace;
mod upstream;
mod world;

use oracle::complaints;
use plan::Plan;
use world::World;

/// Seeds of one run of the tests, unless the environment says otherwise.
const SEEDS: u64 = 60;

/// Seeds that are run twice, unless the environment says otherwise.
const TWICE: u64 = 10;

/// Runs one seed and fails with what the oracle has to say.
fn check(seed: u64) {
    let happened = World::new(Plan::of(seed)).run();
    let found = complaints(&happened);
    assert!(
        found.is_empty(),
        "seed {seed} (CLAWPORT_SIM_SEED={seed} runs it alone):\n  {}\n{}",
        found.join("\n  "),
        happened.story(),
    );
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

#[test]
fn every_promise_holds_whatever_the_network_and_the_model_do() {
    if let Some(seed) = number("CLAWPORT_SIM_SEED") {
        return check(seed);
    }
    let first = number("CLAWPORT_SIM_FIRST").unwrap_or(0);
    let count = number("CLAWPORT_SIM_SEEDS").unwrap_or(SEEDS);
    for seed in first..first + count {
        check(seed);
        if (seed + 1) % 1000 == 0 {
            eprintln!("seeds up to {seed} hold");
        }
    }
}

#[test]
fn the_same_seed_does_the_same_again() {
    let count = number("CLAWPORT_SIM_TWICE").unwrap_or(TWICE);
    for seed in 0..count {
        let first = World::new(Plan::of(seed)).run();
        let second = World::new(Plan::of(seed)).run();
        assert!(
            first.facts.len() > 20,
            "too little happens: {}",
            first.story()
        );
        if let Some((one, other)) = first.first_difference(&second) {
            panic!("seed {seed} does not repeat:\n  {one}\n  {other}");
        }
        assert_eq!(first.hash(), second.hash());
    }
}

#[test]
fn another_seed_does_something_else() {
    let hashes: std::collections::HashSet<_> = (0..5)
        .map(|seed| World::new(Plan::of(seed)).run().hash())
        .collect();
    assert_eq!(hashes.len(), 5);
}
