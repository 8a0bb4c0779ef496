//! A turn that messages are steered into reads message, answer, message, answer, wherever the agent
//! takes them.

use futures_util::stream;
use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::task::yield_now;

use super::tests::{FOLDED, Rig, STOPPED, agent, chat_order, echo, end};
use crate::agent::{AgentRef, Isolation};
use crate::error::ErrorCode;
use crate::run::{Event, FinishReason, Outcome, QueueMode, RunError};

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
        assert_eq!(end(log).await.outcome, FOLDED);
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
