//! The oracle can fail: gateways that break a promise, and stories that were tampered with, are
//! found out.

use std::time::Duration;

use crate::oracle::complaints;
use crate::plan::Plan;
use crate::trace::{Fact, Happened};
use crate::world::World;

/// What a gateway does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Nothing.
    None,
    /// Its ledger says that a run's end is stored, and does not store it.
    LosesEnds,
    /// Its ledger does not know an idempotency key again.
    ForgetsKeys,
    /// Its agent says every word twice.
    SaysTwice,
}

/// Seeds a mutant may need before it shows.
const SEEDS: u64 = 40;

fn check_found(mutant: Mutant, complaint: &str) {
    let mut others = Vec::new();
    for seed in 0..SEEDS {
        let found = complaints(&World::with(Plan::of(seed), mutant).run());
        if found.iter().any(|it| it.contains(complaint)) {
            return;
        }
        others.extend(found);
    }
    panic!("{mutant:?} was not found out: {others:#?}");
}

#[test]
fn a_gateway_that_loses_ends_is_found_out() {
    check_found(Mutant::LosesEnds, "has no end in the ledger");
}

#[test]
fn a_gateway_that_forgets_keys_is_found_out() {
    check_found(Mutant::ForgetsKeys, "runs for one key");
}

#[test]
fn a_gateway_that_says_words_twice_is_found_out() {
    check_found(Mutant::SaysTwice, "ended ok with");
}

/// A story in which nothing is wrong, with a run, its text and its end as one reader was told them.
fn told() -> Happened {
    let happened = World::new(Plan::of(5)).run();
    assert_eq!(complaints(&happened), Vec::<String>::new());
    happened
}

/// Where in the story the first fact stands that `is_it`.
fn first(happened: &Happened, is_it: impl Fn(&Fact) -> bool) -> usize {
    happened.facts().position(is_it).unwrap()
}

fn check_tampered(tamper: impl FnOnce(&mut Happened), complaint: &str) {
    let mut happened = told();
    tamper(&mut happened);
    let found = complaints(&happened);
    let is_found = found.iter().any(|it| it.contains(complaint));
    assert!(is_found, "{complaint} is not in {found:#?}");
}

#[test]
fn a_second_end_of_a_run_is_found() {
    let again = |happened: &mut Happened| {
        let at = first(happened, |it| matches!(it, Fact::Ended { .. }));
        happened.facts.insert(at, happened.facts[at].clone());
    };
    check_tampered(again, "ended twice");
}

#[test]
fn a_second_end_that_a_reader_is_told_is_found() {
    let again = |happened: &mut Happened| {
        let at = first(happened, |it| matches!(it, Fact::Told { .. }));
        happened.facts.insert(at, happened.facts[at].clone());
    };
    check_tampered(again, "was told the end");
}

#[test]
fn a_run_without_an_end_is_found() {
    let lose = |happened: &mut Happened| {
        let at = first(happened, |it| matches!(it, Fact::Ended { .. }));
        happened.facts.remove(at);
    };
    check_tampered(lose, "had no end when its process ended");
}

#[test]
fn two_active_runs_of_a_session_are_found() {
    let overlap = |happened: &mut Happened| {
        let session = |run: &str| {
            happened.facts().find_map(|it| match it {
                Fact::Accepted {
                    run: other,
                    session,
                    ..
                } if other == run => Some(session.clone()),
                _ => None,
            })
        };
        // The end of a run moves behind the start of the next one in its session.
        let starts: Vec<_> = happened
            .facts()
            .enumerate()
            .filter_map(|(at, it)| match it {
                Fact::Started { run } => Some((at, run.clone(), session(run))),
                _ => None,
            })
            .collect();
        let pair = starts.iter().enumerate().find_map(|(n, (_, run, of))| {
            let mut later = starts[n + 1..].iter();
            later
                .find(|(_, _, other)| other == of)
                .map(|it| (run.clone(), it.0))
        });
        let (run, start) = pair.unwrap();
        let end = first(
            happened,
            |it| matches!(it, Fact::Ended { run: it, .. } if *it == run),
        );
        let end = happened.facts.remove(end);
        happened.facts.insert(start, end);
    };
    check_tampered(overlap, "are active in");
}

#[test]
fn text_that_is_lost_or_doubled_is_found() {
    /// A piece of text that goes on, and is gone on from.
    fn delta(happened: &Happened) -> usize {
        let of = |it: &Fact| match it {
            Fact::Delta {
                connection, wire, ..
            } => Some((connection.clone(), wire.clone())),
            _ => None,
        };
        let all: Vec<_> = happened.facts().map(of).collect();
        let middle = (0..all.len()).find(|&at| {
            let same = |it: &&Option<_>| it.is_some() && **it == all[at];
            all[..at].iter().any(|it| same(&it)) && all[at + 1..].iter().any(|it| same(&it))
        });
        middle.unwrap()
    }
    let double = |happened: &mut Happened| {
        let at = delta(happened);
        happened.facts.insert(at, happened.facts[at].clone());
    };
    check_tampered(double, "goes on from");
    let lose = |happened: &mut Happened| {
        let at = delta(happened);
        happened.facts.remove(at);
    };
    check_tampered(lose, "goes on from");
}

#[test]
fn an_acknowledged_message_that_is_gone_is_found() {
    let lose = |happened: &mut Happened| {
        happened
            .facts
            .retain(|(_, it)| !matches!(it, Fact::Row { .. }));
    };
    check_tampered(lose, "was acknowledged and is not in the ledger");
}

#[test]
fn a_lane_that_is_left_is_found() {
    let leave = |happened: &mut Happened| {
        for (_, fact) in &mut happened.facts {
            if let Fact::Rest { lanes, .. } = fact {
                *lanes = 1;
            }
        }
    };
    check_tampered(leave, "something is left");
}

#[test]
fn a_drain_that_takes_too_long_is_found() {
    let late = |happened: &mut Happened| {
        for (_, fact) in &mut happened.facts {
            if let Fact::Drained { took } = fact {
                *took += Duration::from_secs(10);
            }
        }
    };
    check_tampered(late, "a drain with a budget of");
}

#[test]
fn a_run_that_is_never_told_to_end_is_found() {
    let silence = |happened: &mut Happened| {
        happened
            .facts
            .retain(|(_, it)| !matches!(it, Fact::Told { .. }));
    };
    check_tampered(silence, "was never told that");
}

#[test]
fn a_failed_call_that_looks_complete_is_found() {
    let fail = |happened: &mut Happened| {
        for (_, fact) in &mut happened.facts {
            if let Fact::Answered { error, .. } = fact {
                *error = true;
            }
        }
    };
    check_tampered(fail, "failed and looks complete");
}
