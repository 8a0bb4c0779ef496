//! Looks at everything that happened and says which promises were broken (`design.md` §2).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use crate::plan::{NativeStep, Plan, Script, Trouble, WAIT_MAX};
use crate::trace::{Fact, Happened};

/// What everything may take beyond its bound, as time only moves with the ticks of the network.
const MARGIN: Duration = Duration::from_secs(1);

/// What a drain may take beyond its budget and the grace of runs that are cut: time for peers to
/// read the last words, and for what moves only with the ticks of the simulated network.
const DRAIN_MARGIN: Duration = Duration::from_secs(3);

/// Every promise that was broken, in words.
pub(crate) fn complaints(happened: &Happened) -> Vec<String> {
    let mut found = Vec::new();
    Scheduling::default().check(happened, &mut found);
    check_times(happened, &mut found);
    check_rows(happened, &mut found);
    Readers::default().check(happened, &mut found);
    check_ends_are_told(happened, &mut found);
    check_texts(happened, &mut found);
    check_calls(happened, &mut found);
    check_end(happened, &mut found);
    found
}

/// What is known of a run while its process lives.
#[derive(Debug)]
struct Live {
    session: String,
    wire: String,
    is_started: bool,
}

/// One active run for each session, in order, each with one end.
#[derive(Debug, Default)]
struct Scheduling {
    live: BTreeMap<String, Live>,
    seen: HashSet<String>,
    active: HashMap<String, String>,
    /// For each session, runs in the order they were accepted that keep it.
    orderly: HashMap<String, Vec<String>>,
    started: BTreeSet<String>,
    modes: HashMap<String, String>,
}

impl Scheduling {
    fn check(mut self, happened: &Happened, found: &mut Vec<String>) {
        for fact in happened.facts() {
            match fact {
                Fact::Asked { wire, mode, .. } => {
                    self.modes.insert(wire.clone(), mode.clone());
                }
                Fact::Crash => self.forget(),
                Fact::Boot(_) => {
                    for run in self.live.keys() {
                        found.push(format!("run {run} had no end when its process ended"));
                    }
                    self.forget();
                }
                Fact::Accepted {
                    run, wire, session, ..
                } => self.accept(run, wire, session, found),
                Fact::Started { run } => self.start(run, found),
                Fact::Ended { run, .. } => self.end(run, found),
                _ => {}
            }
        }
        for run in self.live.keys() {
            found.push(format!("run {run} never ended"));
        }
    }

    fn forget(&mut self) {
        self.live.clear();
        self.seen.clear();
        self.active.clear();
        self.orderly.clear();
    }

    fn accept(&mut self, run: &str, wire: &str, session: &str, found: &mut Vec<String>) {
        if !self.seen.insert(run.to_owned()) {
            found.push(format!("run {run} was accepted twice"));
        }
        let live = Live {
            session: session.to_owned(),
            wire: wire.to_owned(),
            is_started: false,
        };
        self.live.insert(run.to_owned(), live);
        // Calls over HTTP are never merged, nor go ahead.
        if self.modes.get(wire).is_none_or(|mode| mode == "followup") {
            let orderly = self.orderly.entry(session.to_owned()).or_default();
            orderly.push(run.to_owned());
        }
    }

    fn start(&mut self, run: &str, found: &mut Vec<String>) {
        let Some(live) = self.live.get_mut(run) else {
            return found.push(format!("run {run} started without being accepted"));
        };
        if live.is_started || !self.started.insert(run.to_owned()) {
            found.push(format!("run {run} ({}) was executed twice", live.wire));
        }
        live.is_started = true;
        let session = live.session.clone();
        if let Some(other) = self.active.insert(session.clone(), run.to_owned()) {
            found.push(format!("runs {other} and {run} are active in {session}"));
        }
        // Those before it in the order have started or ended.
        if let Some(orderly) = self.orderly.get(&session)
            && let Some(at) = orderly.iter().position(|it| it == run)
        {
            for earlier in &orderly[..at] {
                if self.live.get(earlier).is_some_and(|it| !it.is_started) {
                    found.push(format!("run {run} went ahead of {earlier} in {session}"));
                }
            }
        }
    }

    fn end(&mut self, run: &str, found: &mut Vec<String>) {
        let Some(live) = self.live.remove(run) else {
            return found.push(format!("run {run} ended twice, or was never accepted"));
        };
        if self.active.get(&live.session).is_some_and(|it| it == run) {
            self.active.remove(&live.session);
        }
    }
}

/// No run waits or runs for longer than it may, whatever its backend does.
fn check_times(happened: &Happened, found: &mut Vec<String>) {
    let plan = &happened.plan;
    let run_max = Duration::from_secs(plan.run_max.as_secs()) + plan.abort_grace + MARGIN;
    let mut since = HashMap::new();
    for (at, fact) in &happened.facts {
        match fact {
            Fact::Crash => since.clear(),
            Fact::Accepted { run, .. } => {
                since.insert(run, (*at, WAIT_MAX + MARGIN));
            }
            Fact::Started { run } => {
                since.insert(run, (*at, run_max));
            }
            Fact::Ended { run, .. } => {
                if let Some((from, most)) = since.remove(run)
                    && *at > from + most
                {
                    found.push(format!(
                        "run {run} took {:?} of {most:?}",
                        at.saturating_sub(from)
                    ));
                }
            }
            _ => {}
        }
    }
}

/// What was acknowledged is in the ledger, once, with one end, and the end that was told.
fn check_rows(happened: &Happened, found: &mut Vec<String>) {
    let mut ends = HashMap::new();
    let mut stored = HashSet::new();
    for fact in happened.facts() {
        match fact {
            Fact::Ended { run, status, .. } => {
                ends.insert(run, *status);
            }
            Fact::Accepted {
                run, stored: true, ..
            } => {
                stored.insert(run);
            }
            _ => {}
        }
    }
    let mut rows: HashMap<&String, u32> = HashMap::new();
    for fact in happened.facts() {
        let Fact::Row {
            run, wire, status, ..
        } = fact
        else {
            continue;
        };
        stored.remove(run);
        *rows.entry(wire).or_default() += 1;
        match (status, ends.get(run)) {
            (None, _) => found.push(format!("run {run} ({wire}) has no end in the ledger")),
            (Some(row), Some(told)) if row != told => {
                found.push(format!(
                    "run {run} ({wire}) ended {told}, in the ledger {row}"
                ));
            }
            (Some(_), _) => {}
        }
    }
    for run in stored {
        found.push(format!("run {run} was accepted and is not in the ledger"));
    }
    for (wire, count) in &rows {
        if *count > 1 {
            found.push(format!("{wire} has {count} runs for one key"));
        }
    }
    for fact in happened.facts() {
        match fact {
            Fact::Acknowledged { wire } if !rows.contains_key(wire) => {
                found.push(format!("{wire} was acknowledged and is not in the ledger"));
            }
            Fact::Stuck { who } => found.push(format!("waited too long: {who}")),
            _ => {}
        }
    }
}

/// What readers were told: text without gap or repetition, and one end.
#[derive(Debug, Default)]
struct Readers {
    known: HashMap<(String, String), String>,
    ended: HashSet<(String, String)>,
    caught_up: HashMap<(String, String), String>,
}

impl Readers {
    fn check(mut self, happened: &Happened, found: &mut Vec<String>) {
        for fact in happened.facts() {
            match fact {
                Fact::Gap { connection } => {
                    self.known.retain(|(other, _), _| other != connection);
                }
                Fact::CaughtUp {
                    connection,
                    wire,
                    text,
                } => {
                    let key = (connection.clone(), wire.clone());
                    self.caught_up.insert(key, text.clone());
                }
                Fact::Delta { .. } => self.delta(fact, found),
                Fact::Told { .. } => self.told(fact, found),
                _ => {}
            }
        }
    }

    fn delta(&mut self, fact: &Fact, found: &mut Vec<String>) {
        let Fact::Delta {
            connection,
            wire,
            new,
            whole,
            replaces,
        } = fact
        else {
            return;
        };
        let key = (connection.clone(), wire.clone());
        if self.ended.contains(&key) {
            found.push(format!("{connection} got text of {wire} after its end"));
        }
        let fits = match self.known.get(&key) {
            Some(known) if !replaces => *whole == format!("{known}{new}"),
            Some(_) | None => whole.ends_with(new.as_str()),
        };
        if !fits {
            let known = self.known.get(&key);
            found.push(format!(
                "{connection}: {wire} goes on from {known:?} with {new:?} to {whole:?}"
            ));
        }
        if let Some(caught_up) = self.caught_up.remove(&key)
            && !(whole.starts_with(&caught_up) || caught_up.starts_with(whole.as_str()))
        {
            found.push(format!(
                "{connection}: {wire} was {caught_up:?}, then {whole:?}"
            ));
        }
        self.known.insert(key, whole.clone());
    }

    fn told(&mut self, fact: &Fact, found: &mut Vec<String>) {
        let Fact::Told {
            connection,
            wire,
            state,
            text,
        } = fact
        else {
            return;
        };
        let key = (connection.clone(), wire.clone());
        if !self.ended.insert(key.clone()) {
            found.push(format!("{connection} was told the end of {wire} twice"));
        }
        let known = self.known.remove(&key).unwrap_or_default();
        let may_be_short = state == "error" && text.is_empty();
        if !may_be_short && !text.starts_with(known.trim_end()) {
            found.push(format!(
                "{connection}: {wire} ended as {text:?} after {known:?}"
            ));
        }
    }
}

/// A reader that stays connected, whose network works, is told of every end.
fn check_ends_are_told(happened: &Happened, found: &mut Vec<String>) {
    let mut wires = HashMap::new();
    // Since when a reader is there, and how long it may take until it hears.
    let mut open: HashMap<&String, (Duration, Duration)> = HashMap::new();
    let mut waiting: Vec<(Duration, String, String)> = Vec::new();
    for (at, fact) in &happened.facts {
        let late = waiting.iter().filter(|(until, ..)| at > until);
        found.extend(
            late.map(|(_, connection, wire)| {
                format!("{connection} was never told that {wire} ended")
            }),
        );
        waiting.retain(|(until, ..)| at <= until);
        match fact {
            Fact::Connected { connection } => {
                if let Some(delay) = delay_max(&happened.plan, connection) {
                    open.insert(connection, (*at, delay));
                }
            }
            Fact::Disconnected { connection, .. } | Fact::Gap { connection } => {
                open.remove(connection);
                waiting.retain(|(_, other, _)| other != connection);
            }
            Fact::Crash | Fact::Boot(_) => {
                open.clear();
                waiting.clear();
            }
            Fact::Accepted { run, wire, .. } => {
                wires.insert(run, (*at, wire));
            }
            Fact::Ended { run, .. } => {
                let Some((accepted, wire)) = wires.get(run) else {
                    continue;
                };
                let readers = open.iter().filter(|(_, (since, _))| since < accepted);
                waiting.extend(readers.map(|(connection, (_, delay))| {
                    (*at + *delay, (*connection).clone(), (*wire).clone())
                }));
            }
            Fact::Told {
                connection, wire, ..
            } => {
                waiting.retain(|(_, other, run)| other != connection || run != wire);
            }
            _ => {}
        }
    }
}

/// How long a reader may take to hear of an end: the time it does not read, and the time nothing
/// gets through to it. `None` when the seed cuts its host off: it may hear nothing and not know.
fn delay_max(plan: &Plan, connection: &str) -> Option<Duration> {
    let (host, _) = connection.split_once('/').unwrap();
    let number: usize = host.trim_start_matches("native").parse().unwrap();
    let stalls = plan.natives[number].iter().map(|step| match step {
        NativeStep::Stall { how_long } => *how_long,
        NativeStep::Send { .. }
        | NativeStep::Repeat
        | NativeStep::Abort { .. }
        | NativeStep::Cut { .. }
        | NativeStep::Look { .. }
        | NativeStep::Pause(_) => Duration::ZERO,
    });
    let mut delay = MARGIN + stalls.sum::<Duration>();
    let mut held_at = Duration::ZERO;
    for (at, trouble) in &plan.troubles {
        match trouble {
            Trouble::Partition(other) if other == host => return None,
            Trouble::Hold(other) if other == host => held_at = *at,
            Trouble::Release(other) if other == host => delay += at.saturating_sub(held_at),
            Trouble::Partition(_)
            | Trouble::Hold(_)
            | Trouble::Release(_)
            | Trouble::Repair(_)
            | Trouble::Crash
            | Trouble::Drain => {}
        }
    }
    Some(delay)
}

/// Everything the model can say, by the tag of the message that asks for it.
fn scripts(plan: &Plan) -> HashMap<&str, &Script> {
    let native = plan.natives.iter().flatten().filter_map(|step| match step {
        NativeStep::Send { script, .. } => Some(script),
        NativeStep::Repeat
        | NativeStep::Abort { .. }
        | NativeStep::Cut { .. }
        | NativeStep::Stall { .. }
        | NativeStep::Look { .. }
        | NativeStep::Pause(_) => None,
    });
    let calls = plan.callers.iter().flatten().map(|call| &call.script);
    native
        .chain(calls)
        .map(|it| (it.tag.as_str(), it))
        .collect()
}

/// Whether a text is what the model said: whole answers, of which only the last may be a part.
fn is_said(text: &str, is_complete: bool, scripts: &HashMap<&str, &Script>) -> bool {
    let parts: Vec<_> = text.split("\n\n").collect();
    let mut tags = HashSet::new();
    parts.iter().enumerate().all(|(n, part)| {
        let Some((tag, _)) = part.split_once('.') else {
            return part.is_empty() && !is_complete;
        };
        let Some(script) = scripts.get(tag).filter(|_| tags.insert(tag)) else {
            return false;
        };
        let answer = script.answer();
        let is_whole = part.trim_end() == answer.trim_end();
        is_whole || (!is_complete && n + 1 == parts.len() && answer.starts_with(part.trim_end()))
    })
}

/// Adds a part of an answer: the parts stand around the messages that were steered in.
fn add_part(answer: &mut String, part: &str) {
    if !answer.is_empty() && !part.is_empty() {
        answer.push_str("\n\n");
    }
    answer.push_str(part);
}

/// Where in the story runs were accepted last: a message that waits when its process ends in good
/// order is taken over by the next one.
fn later_lives(happened: &Happened) -> HashMap<&String, usize> {
    let facts = happened.facts().enumerate();
    let lives = facts.filter_map(|(at, fact)| match fact {
        Fact::Accepted { wire, .. } => Some((wire, at)),
        _ => None,
    });
    lives.collect()
}

/// What the transcript keeps of each answer; nothing that was asked is in it twice.
fn kept_texts<'a>(happened: &'a Happened, found: &mut Vec<String>) -> HashMap<&'a String, String> {
    let mut kept: HashMap<&String, String> = HashMap::new();
    let mut users: HashMap<&String, u32> = HashMap::new();
    for fact in happened.facts() {
        let Fact::Entry {
            wire: Some(wire),
            role,
            text,
            ..
        } = fact
        else {
            continue;
        };
        match *role {
            "assistant" => add_part(kept.entry(wire).or_default(), text),
            "user" => *users.entry(wire).or_default() += 1,
            _ => found.push(format!("{wire} left {text:?} in the transcript")),
        }
    }
    for (wire, count) in users {
        if count > 1 {
            found.push(format!(
                "the message of {wire} is {count} times in the transcript"
            ));
        }
    }
    kept
}

/// What runs said is what the model said, and what the transcript keeps.
fn check_texts(happened: &Happened, found: &mut Vec<String>) {
    let scripts = scripts(&happened.plan);
    let kept = kept_texts(happened, found);
    let mut wires = HashMap::new();
    let mut texts = HashMap::new();
    let goes_on = later_lives(happened);
    for (at, fact) in happened.facts().enumerate() {
        match fact {
            Fact::Accepted {
                run, wire, stored, ..
            } => {
                wires.insert(run, (wire, *stored));
            }
            // Its callers are told that the process ends, no more.
            Fact::Ended { run, status, text }
                if wires
                    .get(run)
                    .is_some_and(|(wire, _)| goes_on.get(wire) > Some(&at)) =>
            {
                let is_cut = *status == "aborted" && text.is_empty();
                let went_on = format!("run {run} ended {status}, {text:?}, and went on");
                found.extend((!is_cut).then_some(went_on));
            }
            Fact::Ended { run, status, text } => {
                let Some((wire, stored)) = wires.get(run) else {
                    continue;
                };
                let is_complete = *status == "ok" && !text.is_empty();
                if !is_said(text, is_complete, &scripts) {
                    found.push(format!("{wire} ended {status} with {text:?}"));
                }
                let in_ledger = kept.get(wire).map_or("", String::as_str);
                if *stored && in_ledger.trim_end() != text.trim_end() {
                    found.push(format!(
                        "{wire} said {text:?}, the transcript has {in_ledger:?}"
                    ));
                }
                texts.insert(*wire, text);
            }
            _ => {}
        }
    }
    for (at, fact) in happened.facts().enumerate() {
        if let Fact::Told {
            connection,
            wire,
            state,
            text,
        } = fact
            && let Some(said) = texts.get(wire)
            && goes_on.get(wire) <= Some(&at)
            && state != "error"
            && text.trim_end() != said.trim_end()
        {
            found.push(format!(
                "{connection} was told {text:?}, {wire} said {said:?}"
            ));
        }
    }
}

/// A failed call never looks complete, and a complete one says everything.
fn check_calls(happened: &Happened, found: &mut Vec<String>) {
    let scripts = scripts(&happened.plan);
    for fact in happened.facts() {
        let Fact::Answered {
            tag,
            status,
            text,
            complete,
            error,
        } = fact
        else {
            continue;
        };
        if *complete && *error {
            found.push(format!("call {tag} failed and looks complete"));
        }
        let begins = text.starts_with(&format!("{tag}.")) || text.is_empty();
        let is_complete = *complete && !*error;
        if *status == 200 && !(begins && is_said(text, is_complete, &scripts)) {
            found.push(format!(
                "call {tag} (complete: {complete}) was answered {text:?}"
            ));
        }
    }
}

/// Nothing is left, and every drain kept to its budget.
fn check_end(happened: &Happened, found: &mut Vec<String>) {
    let plan = &happened.plan;
    let budget = Duration::from_secs(plan.drain.as_secs().max(1));
    let mut rests = 0;
    for fact in happened.facts() {
        match fact {
            Fact::Rest {
                active,
                waiting,
                lanes,
                connections,
            } => {
                rests += 1;
                if active + waiting + lanes > 0 || *connections != 0 {
                    found.push(format!("something is left: {fact:?}"));
                }
            }
            Fact::Drained { took } if *took > budget + plan.abort_grace + DRAIN_MARGIN => {
                found.push(format!("a drain with a budget of {budget:?} took {took:?}"));
            }
            _ => {}
        }
    }
    if rests != 1 {
        found.push("the simulation did not come to its end".to_owned());
    }
}
