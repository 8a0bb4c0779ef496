//! A turn that messages are steered into reads message, answer, message, answer, however much the
//! agent says before it takes one, and whatever ends it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::stream;
use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::tests::{FOLDED, Rig, STOPPED, agent, chat_order, echo, end};
use crate::agent::{AgentRef, Isolation};
use crate::error::ErrorCode;
use crate::run::{AbortCause, Event, FinishReason, Outcome, QueueMode, RunError};
use crate::session::Fault;

/// What an agent does next.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// It says a word.
    Say,
    /// It takes a message, and waits until that is stored or does not care.
    Take { waits: bool },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => Just(Act::Say),
        2 => any::<bool>().prop_map(|waits| Act::Take { waits }),
    ];
    proptest::collection::vec(act, 0..10)
}

/// Does the acts one after the other, then ends or fails.
fn acting(isolation: Isolation, acts: Vec<Act>, fails: bool) -> AgentRef {
    agent(isolation, move |_turn, context| {
        let acts = acts.clone().into_iter().enumerate();
        let state = (acts, context.inbox, false);
        Box::pin(stream::unfold(
            state,
            move |(mut acts, mut inbox, ended)| async move {
                if ended {
                    return None;
                }
                for (at, act) in &mut acts {
                    match act {
                        Act::Say => {
                            let word = Event::Text(format!("w{at} "));
                            return Some((Ok(word), (acts, inbox, false)));
                        }
                        Act::Take { waits } => {
                            while inbox.try_take().is_none() {
                                yield_now().await;
                            }
                            if waits {
                                inbox.stored().await;
                            }
                        }
                    }
                }
                let last = if fails {
                    Err(RunError::new(ErrorCode::AgentFailed, "broken"))
                } else {
                    Ok(Event::Finished(FinishReason::Stop))
                };
                Some((last, (acts, inbox, true)))
            },
        ))
    })
}

/// The transcript and the whole answer that the acts must come to.
fn expected(acts: &[Act], fails: bool) -> (Vec<String>, String) {
    let mut entries = vec!["U:ask a".to_owned()];
    let (mut text, mut part) = (String::new(), String::new());
    let mut taken = 0;
    for (at, act) in acts.iter().enumerate() {
        match act {
            Act::Say => {
                if part.is_empty() && !text.is_empty() {
                    text.push_str("\n\n");
                }
                let word = format!("w{at} ");
                text.push_str(&word);
                part.push_str(&word);
            }
            Act::Take { .. } => {
                if !part.is_empty() {
                    entries.push(format!("A:{part} (stop)"));
                }
                part.clear();
                entries.push(format!("U:ask s{taken}"));
                taken += 1;
            }
        }
    }
    if fails {
        entries.push(format!("A:{part} (error)"));
    } else if !part.is_empty() {
        entries.push(format!("A:{part} (stop)"));
    }
    (entries, text)
}

async fn check(isolation: Isolation, acts: Vec<Act>, fails: bool) {
    let rig = Rig::new();
    let taking = acting(isolation, acts.clone(), fails);
    let steer = |name: String| chat_order(&rig, &name, &taking, QueueMode::Steer);
    let first = rig.submit(steer("a".to_owned())).await;
    let takes = acts.iter().filter(|act| matches!(act, Act::Take { .. }));
    let mut steered = Vec::new();
    for n in 0..takes.count() {
        steered.push(rig.submit(steer(format!("s{n}"))).await);
    }
    let outcome = end(&first).await.outcome.clone();
    assert_eq!(matches!(outcome, Outcome::Error(_)), fails, "{outcome:?}");
    for log in &steered {
        let ended = if fails { &outcome } else { &FOLDED };
        assert_eq!(end(log).await.outcome, *ended);
    }
    let (entries, text) = expected(&acts, fails);
    assert_eq!(first.text(), text);
    assert_eq!(rig.texts("s").await, entries);

    // The next turn gets the conversation in the same order.
    let next = rig.submit(rig.order("next", "s", &echo())).await;
    assert_eq!(end(&next).await.outcome, STOPPED);
    let said: Vec<_> = entries.iter().map(|entry| plain(entry)).collect();
    let said: Vec<_> = said.into_iter().filter(|text| !text.is_empty()).collect();
    let told = next.text();
    let told: Vec<_> = told.split('|').collect();
    assert_eq!(told.split_last().unwrap().1, said);
}

/// The text of an entry as [`Rig::texts`] shows it.
fn plain(entry: &str) -> &str {
    let text = entry.split_once(':').unwrap().1;
    let text = text.strip_suffix(" (stop)").unwrap_or(text);
    text.strip_suffix(" (error)").unwrap_or(text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_steered_turn_reads_message_answer_message_answer(
        acts in acts(),
        is_isolated in any::<bool>(),
        fails in proptest::bool::weighted(0.2),
    ) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let isolation = if is_isolated { Isolation::Task } else { Isolation::Inline };
        runtime.block_on(check(isolation, acts, fails));
    }
}

/// Says `one`, takes a message, and then does what it is told.
fn takes_then<F>(isolation: Isolation, then: impl Fn() -> F + Send + Sync + 'static) -> AgentRef
where
    F: Future<Output = ()> + Send + 'static,
{
    let then = Arc::new(then);
    agent(isolation, move |_turn, context| {
        let (then, mut inbox) = (Arc::clone(&then), context.inbox);
        let word = stream::iter([Ok(Event::Text("one".to_owned()))]);
        let taking = async move {
            while inbox.try_take().is_none() {
                yield_now().await;
            }
            then().await;
            std::future::pending().await
        };
        Box::pin(stream::StreamExt::chain(word, stream::once(taking)))
    })
}

#[tokio::test]
async fn a_run_that_is_stopped_as_it_takes_a_message_has_it_behind_what_it_said() {
    let rig = Rig::new();
    let stopped = Arc::new(OnceLock::new());
    let (handle, run) = (rig.handle.clone(), Arc::clone(&stopped));
    let taking = takes_then(Isolation::Task, move || {
        let (handle, run) = (handle.clone(), Arc::clone(&run));
        async move {
            // The run hears what was said before.
            sleep(Duration::from_millis(50)).await;
            handle.cancel(*run.get().unwrap(), AbortCause::Rpc);
        }
    });
    let order = chat_order(&rig, "a", &taking, QueueMode::Steer);
    stopped.set(order.info.run_id).unwrap();
    let first = rig.submit(order).await;
    let steered = rig
        .submit(chat_order(&rig, "b", &taking, QueueMode::Steer))
        .await;
    let aborted = Outcome::Aborted(AbortCause::Rpc);
    assert_eq!(end(&first).await.outcome, aborted);
    assert_eq!(end(&steered).await.outcome, aborted);
    let texts = rig.texts("s").await;
    assert_eq!(texts, ["U:ask a", "A:one (stop)", "U:ask b"]);
}

#[tokio::test]
async fn a_part_that_cannot_be_stored_fails_its_run_and_nothing_looks_complete() {
    let rig = Rig::new();
    let taking = takes_then(Isolation::Inline, || async {});
    let first = rig
        .submit(chat_order(&rig, "a", &taking, QueueMode::Steer))
        .await;
    let steered = rig
        .submit(chat_order(&rig, "b", &taking, QueueMode::Steer))
        .await;
    rig.ledger.fail_writes(Some(Fault::DiskFull));
    for log in [&first, &steered] {
        match &end(log).await.outcome {
            Outcome::Error(error) => assert_eq!(error.code, ErrorCode::StoreFailed),
            other => panic!("{other:?}"),
        }
    }
    rig.ledger.fail_writes(None);
    assert_eq!(rig.texts("s").await, ["U:ask a"]);
}
