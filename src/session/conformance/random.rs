//! Random steps, done on both ledgers: every answer and every state must be the same.

use proptest::prelude::*;
use serde_json::json;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Begin {
        session: u8,
        waits: bool,
        key: Option<(u8, u8)>,
        expected: Option<u8>,
        inputs: u8,
    },
    Start(u8),
    Restart(u8),
    Answer(u8),
    End {
        run: u8,
        answers: u8,
        interrupted: bool,
    },
    Patch {
        session: u8,
        label: Option<Option<u8>>,
        setting: u8,
    },
    Reset(u8),
    Delete(u8),
    Append(u8),
    Prune {
        days: u32,
        sessions_max: u64,
        runs_max: u64,
    },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let session = 0..4_u8;
    prop_oneof![
        6 => (
            session.clone(),
            any::<bool>(),
            proptest::option::weighted(0.5, (0..3_u8, 0..2_u8)),
            proptest::option::weighted(0.1, 0..9_u8),
            0..3_u8,
        )
            .prop_map(|(session, waits, key, expected, inputs)| Step::Begin {
                session,
                waits,
                key,
                expected,
                inputs,
            }),
        4 => (0..20_u8).prop_map(Step::Start),
        2 => (0..20_u8).prop_map(Step::Restart),
        3 => (0..20_u8).prop_map(Step::Answer),
        6 => (0..20_u8, 0..3_u8, any::<bool>()).prop_map(|(run, answers, interrupted)| {
            Step::End { run, answers, interrupted }
        }),
        2 => (session.clone(), proptest::option::of(proptest::option::of(0..2_u8)), 0..3_u8)
            .prop_map(|(session, label, setting)| Step::Patch { session, label, setting }),
        1 => session.clone().prop_map(Step::Reset),
        1 => session.clone().prop_map(Step::Delete),
        2 => session.prop_map(Step::Append),
        2 => (0..3_u32, 0..5_u64, 0..5_u64).prop_map(|(days, sessions_max, runs_max)| {
            Step::Prune { days, sessions_max, runs_max }
        }),
        2 => (0..200_000_000_u64).prop_map(Step::Wait),
    ]
}

/// Does the steps one by one. Ids and times depend only on the steps.
struct Player<'a> {
    ledger: &'a dyn Ledger,
    count: u32,
    now_ms: u64,
}

fn settings(setting: u8) -> serde_json::Map<String, serde_json::Value> {
    let value = match setting {
        0 => json!({ "s": null }),
        1 => json!({ "s": 1 }),
        _ => json!({ "s": { "t": "x" } }),
    };
    serde_json::from_value(value).unwrap()
}

fn name(session: u8) -> String {
    format!("s{session}")
}

impl Player<'_> {
    /// What the step answered, as text that is the same for every ledger.
    async fn play(&mut self, step: &Step, is_stale: bool) -> String {
        self.count += 1;
        let number = self.count;
        self.now_ms += 1;
        let lease = if is_stale {
            Lease { epoch: 0 }
        } else {
            self.ledger.lease()
        };
        let ledger = self.ledger;
        match step {
            Step::Begin { .. } => told(ledger.begin_run(self.begin(step, lease)).await),
            Step::Start(run) => told(
                ledger
                    .start_run(lease, run_id(u32::from(*run)), self.now_ms)
                    .await,
            ),
            Step::Restart(run) => told(
                ledger
                    .restart_run(lease, run_id(u32::from(*run)), self.now_ms)
                    .await,
            ),
            Step::Answer(run) => {
                let text = format!("part {number}");
                let answer = AppendAnswer {
                    lease,
                    at_ms: self.now_ms,
                    ..answer(ledger, u32::from(*run), &[&text])
                };
                told(ledger.append_answer(answer).await)
            }
            Step::End {
                run,
                answers,
                interrupted,
            } => {
                let outcome = if *interrupted {
                    Outcome::Interrupted
                } else {
                    failed_run()
                };
                let answer: Vec<_> = (0..*answers).map(|n| format!("{number}.{n}")).collect();
                let answer: Vec<_> = answer.iter().map(String::as_str).collect();
                let mut end = end(ledger, u32::from(*run), "any", &answer);
                end.lease = lease;
                end.terminal = terminal(outcome, self.now_ms);
                end.terminal.usage = (*answers == 1).then(|| usage(1, 2));
                end.terminal.started_at_ms = (*answers == 2).then_some(self.now_ms);
                told(ledger.end_run(end).await)
            }
            Step::Patch {
                session,
                label,
                setting,
            } => {
                let patch = SessionPatch {
                    label: label.map(|label| label.map(|label| format!("L{label}"))),
                    settings: settings(*setting),
                };
                told(
                    ledger
                        .patch_session(self.target(*session, lease), patch)
                        .await,
                )
            }
            Step::Reset(session) => told(ledger.reset_session(self.target(*session, lease)).await),
            Step::Delete(session) => told(
                ledger
                    .delete_session(lease, key(&name(*session)), None)
                    .await,
            ),
            Step::Append(session) => {
                let entry = user(&format!("append {number}"), self.now_ms);
                told(ledger.append(lease, key(&name(*session)), entry).await)
            }
            Step::Prune {
                days,
                sessions_max,
                runs_max,
            } => {
                let limits = Retention {
                    days: *days,
                    sessions_max: *sessions_max,
                    runs_max: *runs_max,
                };
                told(ledger.prune(limits, self.now_ms).await)
            }
            Step::Wait(ms) => {
                self.now_ms += ms;
                String::new()
            }
        }
    }

    fn target(&self, session: u8, lease: Lease) -> SessionTarget {
        SessionTarget {
            lease,
            at_ms: self.now_ms,
            ..target(self.ledger, &name(session), self.count)
        }
    }

    fn begin(&self, step: &Step, lease: Lease) -> BeginRun {
        let Step::Begin {
            session,
            waits,
            key,
            expected,
            inputs,
        } = step
        else {
            panic!("{step:?}");
        };
        let number = self.count;
        let mut begin = begin(self.ledger, number, &name(*session), "");
        begin.lease = lease;
        begin.run.wire_id = wire(&format!("w{}", number % 5));
        begin.run.accepted_at_ms = self.now_ms;
        begin.run.started_at_ms = (!waits).then_some(self.now_ms);
        begin.run.resume = waits.then(|| "{}".to_owned());
        begin.run.idempotency = key.map(|(key, input)| scope(&key_name(key), input));
        begin.input = (0..*inputs)
            .map(|n| user(&format!("in {number}.{n}"), self.now_ms))
            .collect();
        begin.expected_session_id = expected.map(|n| session_id(u32::from(n)));
        begin
    }

    /// Everything there is to read, as text.
    async fn state(&self) -> String {
        let ledger = self.ledger;
        let query = SessionQuery {
            limit: 99,
            ..SessionQuery::default()
        };
        let mut state = told(ledger.list_sessions(query).await);
        for session in 0..4 {
            let range = EntryRange::After { n: 0, limit: 999 };
            state += &told(ledger.entries(key(&name(session)), range).await);
            state += &told(ledger.list_runs(Some(key(&name(session))), 999).await);
        }
        state += &told(ledger.list_runs(None, 999).await);
        state += &told(ledger.open_runs(999).await);
        for number in 0..5 {
            state += &told(ledger.find_run(wire(&format!("w{number}")), None).await);
        }
        for number in 0..=self.count {
            state += &told(ledger.run_entries(run_id(number)).await);
        }
        for input in 0..3 {
            let known = ledger.idempotent(scope(&key_name(input), 1), self.now_ms);
            state += &told(known.await);
        }
        state
    }
}

/// Two keys of their own and one that is sometimes the wire id of its run, as with most callers.
fn key_name(key: u8) -> String {
    match key {
        0 => "w0".to_owned(),
        other => format!("k{other}"),
    }
}

fn told<T: std::fmt::Debug>(outcome: Result<T, LedgerError>) -> String {
    match outcome {
        Ok(value) => format!("{value:#?}\n"),
        // Each store has its own words for the reason.
        Err(LedgerError::Failed { fault, .. }) => format!("{fault:?}\n"),
        Err(error) => format!("{error:?}\n"),
    }
}

async fn compare(steps: &[(Step, bool)]) {
    let memory = Memory::new();
    let sqlite = Sqlite::new().await;
    let player = |ledger| Player {
        ledger,
        count: 0,
        now_ms: 1_000_000_000,
    };
    let (memory, sqlite) = (memory.ledger(), sqlite.ledger());
    let (mut model, mut real) = (player(&*memory), player(&*sqlite));
    for (at, (step, is_stale)) in steps.iter().enumerate() {
        let expected = model.play(step, *is_stale).await;
        let answer = real.play(step, *is_stale).await;
        assert_eq!(answer, expected, "step {at}: {step:?}");
        assert_eq!(
            real.state().await,
            model.state().await,
            "after step {at}: {step:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        option_env!("CLAWPORT_PROPTEST_CASES").map_or(32, |n| n.parse().unwrap())
    ))]

    #[test]
    fn both_ledgers_do_the_same(
        steps in proptest::collection::vec((step(), proptest::bool::weighted(0.05)), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(compare(&steps));
    }
}
