//! Runs: acceptance, start, end, idempotency, and what a restart finds.

use super::*;

against_every_ledger! {
    a_folded_run_ends_with_its_head
    an_accept_resets_and_is_guarded
    what_never_started_is_withheld_and_commands_are_no_runs
    a_run_that_starts_at_once_is_in_the_transcript
    the_input_of_a_waiting_run_is_placed_when_it_starts
    the_input_of_a_run_that_never_starts_is_kept_when_it_ends
    only_the_first_terminal_counts
    runs_nobody_knows_are_not_found
    a_run_cannot_start_after_its_end
    starting_twice_changes_nothing
    a_known_key_gives_its_run
    keys_are_separate_by_operation_principal_and_key
    a_key_is_kept_while_its_run_lives_and_some_time_after
    the_newest_run_of_a_wire_id_is_found
    open_runs_are_told_apart_by_session
    a_run_has_its_own_entries
    an_answer_can_be_appended_in_parts_while_its_run_is_active
    an_older_lease_cannot_write
    a_session_that_changed_is_not_written_to
    a_restart_finds_what_was_left_open
    a_run_that_is_started_over_stays_where_it_was_and_is_counted
    a_run_that_is_started_over_is_out_of_reach_of_its_first_owner
    runs_are_listed_newest_first
    usage_and_last_run_are_counted
    a_closed_ledger_says_so
    a_refused_run_leaves_nothing
    a_run_without_input_is_a_run
}

async fn a_run_that_starts_at_once_is_in_the_transcript(bed: impl Bed) {
    let ledger = bed.ledger();
    let mut first = begin(&*ledger, 1, "a", "hello");
    first.input.push(user("and this", 1_002));
    let accepted = accepted(ledger.begin_run(first).await);
    assert_eq!(accepted.session_id, session_id(1));
    let placed = accepted.placed.unwrap();
    assert_eq!(
        (placed.session_id, placed.entries_before),
        (session_id(1), 0)
    );
    assert_eq!(texts(&placed.input), [(1, "hello"), (2, "and this")]);
    assert_eq!(placed.input[0].run, Some(run_id(1)));
    assert_eq!(placed.input[0].wire_id, Some(wire("wire-1")));
    assert_eq!(transcript(&*ledger, "a").await, placed.input);

    let appended = ledger
        .end_run(end(&*ledger, 1, "a", &["hi", "there"]))
        .await;
    let appended = appended.unwrap();
    let appended = appended.entries;
    assert_eq!(texts(&appended), [(3, "hi"), (4, "there")]);
    assert_eq!(appended[0].run, Some(run_id(1)));
    assert_eq!(transcript(&*ledger, "a").await[2..], appended);

    let again = super::accepted(ledger.begin_run(begin(&*ledger, 2, "a", "more")).await);
    let placed = again.placed.unwrap();
    assert_eq!(
        (placed.session_id, placed.entries_before),
        (session_id(1), 4)
    );

    let session = ledger.session(key("a")).await.unwrap().unwrap();
    assert_eq!(
        (session.created_at_ms, session.updated_at_ms),
        (1_001, 1_002)
    );
    assert_eq!((session.entries, session.agent), (5, agent("main")));
    let run = ledger
        .find_run(wire("wire-1"), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        run,
        RunRecord {
            run_id: run_id(1),
            wire_id: wire("wire-1"),
            session: key("a"),
            session_id: session_id(1),
            agent: agent("main"),
            front: Front::NativeChat,
            principal: Some("token/alice".into()),
            accepted_at_ms: 1_001,
            started_at_ms: Some(1_001),
            terminal: Some(ok(5_001)),
        }
    );
}

async fn the_input_of_a_waiting_run_is_placed_when_it_starts(bed: impl Bed) {
    let ledger = bed.ledger();
    ledger
        .begin_run(begin(&*ledger, 1, "a", "first"))
        .await
        .unwrap();
    let waiting = accepted(ledger.begin_run(queue(&*ledger, 2, "a", "second")).await);
    assert_eq!((waiting.session_id, waiting.placed), (session_id(1), None));
    assert_eq!(texts(&transcript(&*ledger, "a").await), [(1, "first")]);

    ledger
        .end_run(end(&*ledger, 1, "a", &["one"]))
        .await
        .unwrap();
    let placed = ledger
        .start_run(ledger.lease(), run_id(2), 7_000)
        .await
        .unwrap();
    assert_eq!(
        (placed.session_id, placed.entries_before),
        (session_id(1), 2)
    );
    assert_eq!(texts(&placed.input), [(3, "second")]);
    assert_eq!(placed.input[0].run, Some(run_id(2)));
    assert_eq!(placed.input[0].at_ms, 1_002);
    ledger
        .end_run(end(&*ledger, 2, "a", &["two"]))
        .await
        .unwrap();
    assert_eq!(
        texts(&transcript(&*ledger, "a").await),
        [(1, "first"), (2, "one"), (3, "second"), (4, "two")]
    );
    let run = ledger
        .find_run(wire("wire-2"), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(run.started_at_ms, Some(7_000));
}

async fn the_input_of_a_run_that_never_starts_is_kept_when_it_ends(bed: impl Bed) {
    let ledger = bed.ledger();
    one_runs_and_one_waits(&*ledger, "first", "dropped").await;
    let mut dropped = end(&*ledger, 2, "a", &["partial"]);
    dropped.terminal = terminal(Outcome::Aborted(AbortCause::Dropped), 5_002);
    let appended = ledger.end_run(dropped).await.unwrap();
    let appended = appended.entries;
    assert_eq!(texts(&appended), [(2, "dropped"), (3, "partial")]);
    assert_eq!(appended[0].wire_id, Some(wire("wire-2")));
    assert_eq!(ledger.run_entries(run_id(2)).await.unwrap(), appended);
    assert!(
        ledger
            .find_run(wire("wire-2"), None)
            .await
            .unwrap()
            .unwrap()
            .started_at_ms
            .is_none()
    );
}

async fn only_the_first_terminal_counts(bed: impl Bed) {
    let ledger = bed.ledger();
    ledger
        .begin_run(begin(&*ledger, 1, "a", "hello"))
        .await
        .unwrap();
    let mut first = end(&*ledger, 1, "a", &["part"]);
    first.terminal = terminal(failed_run(), 5_001);
    first.terminal.usage = Some(usage(1, 1));
    ledger.end_run(first.clone()).await.unwrap();
    let mut second = end(&*ledger, 1, "a", &["whole"]);
    second.terminal.usage = Some(usage(7, 7));
    assert_eq!(ledger.end_run(second).await.unwrap().entries, []);
    let run = ledger
        .find_run(wire("wire-1"), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(run.terminal, Some(first.terminal));
    assert_eq!(transcript(&*ledger, "a").await.len(), 2);
    let session = ledger.session(key("a")).await.unwrap().unwrap();
    assert_eq!(session.usage.total(), 2);
}

async fn runs_nobody_knows_are_not_found(bed: impl Bed) {
    let ledger = bed.ledger();
    let unknown = ledger.end_run(end(&*ledger, 9, "a", &["x"])).await;
    assert!(matches!(unknown, Err(LedgerError::NotFound)));
    let unknown = ledger.start_run(ledger.lease(), run_id(9), 1).await;
    assert!(matches!(unknown, Err(LedgerError::NotFound)));
    assert_eq!(ledger.find_run(wire("wire-9"), None).await.unwrap(), None);
    assert_eq!(ledger.run_entries(run_id(9)).await.unwrap(), []);
    assert_eq!(ledger.session(key("a")).await.unwrap(), None);
}

async fn a_run_cannot_start_after_its_end(bed: impl Bed) {
    let ledger = bed.ledger();
    ledger
        .begin_run(queue(&*ledger, 1, "a", "hello"))
        .await
        .unwrap();
    let mut aborted = end(&*ledger, 1, "a", &[]);
    aborted.terminal = terminal(ABORTED, 5_001);
    ledger.end_run(aborted).await.unwrap();
    let late = ledger.start_run(ledger.lease(), run_id(1), 6_000).await;
    assert!(matches!(late, Err(LedgerError::Ended)), "{late:?}");
}

async fn starting_twice_changes_nothing(bed: impl Bed) {
    let ledger = bed.ledger();
    ledger
        .begin_run(queue(&*ledger, 1, "a", "hello"))
        .await
        .unwrap();
    let first = ledger
        .start_run(ledger.lease(), run_id(1), 6_000)
        .await
        .unwrap();
    let second = ledger
        .start_run(ledger.lease(), run_id(1), 7_000)
        .await
        .unwrap();
    assert_eq!(first, second);
    let run = ledger
        .find_run(wire("wire-1"), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(run.started_at_ms, Some(6_000));
    assert_eq!(transcript(&*ledger, "a").await.len(), 1);
    // Not even when the session has another transcript by now.
    ledger
        .reset_session(target(&*ledger, "a", 9))
        .await
        .unwrap();
    let third = ledger.start_run(ledger.lease(), run_id(1), 8_000).await;
    assert_eq!(third.unwrap(), first);
    assert_eq!(transcript(&*ledger, "a").await, []);
}

async fn a_known_key_gives_its_run(bed: impl Bed) {
    let ledger = bed.ledger();
    let keyed = |number: u32, input: u8| {
        let mut begin = begin(&*ledger, number, "a", "hello");
        begin.run.idempotency = Some(scope("k", input));
        begin
    };
    accepted(ledger.begin_run(keyed(1, 7)).await);
    let run = ledger
        .find_run(wire("wire-1"), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        ledger.begin_run(keyed(2, 7)).await.unwrap(),
        Begun::Existing(run.clone())
    );
    assert_eq!(
        ledger.begin_run(keyed(3, 8)).await.unwrap(),
        Begun::Conflict(run.clone())
    );
    assert_eq!(
        ledger.idempotent(scope("k", 7), 1_000).await.unwrap(),
        Some(Begun::Existing(run.clone()))
    );
    assert_eq!(
        ledger.idempotent(scope("k", 8), 1_000).await.unwrap(),
        Some(Begun::Conflict(run))
    );
    assert_eq!(
        ledger.idempotent(scope("other", 7), 1_000).await.unwrap(),
        None
    );
    assert_eq!(transcript(&*ledger, "a").await.len(), 1);
    assert_eq!(ledger.list_runs(None, 9).await.unwrap().len(), 1);
    ledger
        .end_run(end(&*ledger, 1, "a", &["hi"]))
        .await
        .unwrap();
    match ledger.begin_run(keyed(4, 7)).await.unwrap() {
        Begun::Existing(run) => assert_eq!(run.terminal, Some(ok(5_001))),
        other => panic!("{other:?}"),
    }
}

async fn keys_are_separate_by_operation_principal_and_key(bed: impl Bed) {
    let ledger = bed.ledger();
    let scopes = [
        scope("k", 1),
        scope("k2", 1),
        IdempotencyScope {
            operation: "agent",
            ..scope("k", 1)
        },
        IdempotencyScope {
            principal: "token/bob".into(),
            ..scope("k", 1)
        },
        // The same text, cut elsewhere.
        IdempotencyScope {
            principal: "token/alicek".into(),
            ..scope("", 1)
        },
    ];
    for (number, scope) in (1..).zip(scopes) {
        let mut begin = begin(&*ledger, number, "a", "hello");
        begin.run.idempotency = Some(scope);
        accepted(ledger.begin_run(begin).await);
    }
}

async fn a_key_is_kept_while_its_run_lives_and_some_time_after(bed: impl Bed) {
    let ledger = bed.ledger();
    let keyed = |number: u32, at_ms: u64| {
        let mut begin = begin(&*ledger, number, "a", "hello");
        begin.run.idempotency = Some(scope("k", 1));
        begin.run.accepted_at_ms = at_ms;
        begin
    };
    let day = 24 * 60 * 60 * 1000;
    accepted(ledger.begin_run(keyed(1, 0)).await);
    // While the run lives, time does not matter.
    assert!(matches!(
        ledger.begin_run(keyed(2, 100 * day)).await.unwrap(),
        Begun::Existing(_)
    ));
    ledger.end_run(end(&*ledger, 1, "a", &[])).await.unwrap();
    let over = 5_001 + IDEMPOTENCY_KEPT_MS;
    assert!(matches!(
        ledger.begin_run(keyed(2, over - 1)).await.unwrap(),
        Begun::Existing(_)
    ));
    assert!(
        ledger
            .idempotent(scope("k", 1), over - 1)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(ledger.idempotent(scope("k", 1), over).await.unwrap(), None);
    accepted(ledger.begin_run(keyed(2, over)).await);
    match ledger.begin_run(keyed(3, over)).await.unwrap() {
        Begun::Existing(run) => assert_eq!(run.run_id, run_id(2)),
        other => panic!("{other:?}"),
    }
    let mut interrupted = end(&*ledger, 2, "a", &[]);
    interrupted.terminal = terminal(Outcome::Interrupted, over);
    ledger.end_run(interrupted).await.unwrap();
    let over = over + IDEMPOTENCY_INTERRUPTED_KEPT_MS;
    assert!(matches!(
        ledger.begin_run(keyed(4, over - 1)).await.unwrap(),
        Begun::Existing(_)
    ));
    accepted(ledger.begin_run(keyed(4, over)).await);
}

async fn the_newest_run_of_a_wire_id_is_found(bed: impl Bed) {
    let ledger = bed.ledger();
    for number in 1..=3 {
        let mut begin = begin(&*ledger, number, "a", "hello");
        begin.run.wire_id = wire("same");
        accepted(ledger.begin_run(begin).await);
    }
    let run = ledger.find_run(wire("same"), None).await.unwrap().unwrap();
    assert_eq!(run.run_id, run_id(3));
    // When the newest has gone, the newest that is left.
    ledger.end_run(end(&*ledger, 3, "a", &[])).await.unwrap();
    let limits = Retention {
        runs_max: 0,
        ..KEEP_ALL
    };
    assert_eq!(ledger.prune(limits, u64::MAX).await.unwrap(), (0, 1));
    let run = ledger.find_run(wire("same"), None).await.unwrap().unwrap();
    assert_eq!(run.run_id, run_id(2));
}

async fn open_runs_are_told_apart_by_session(bed: impl Bed) {
    let ledger = bed.ledger();
    for (number, name) in [(1, "a"), (2, "b"), (3, "a"), (4, "a")] {
        ledger
            .begin_run(begin(&*ledger, number, name, "hello"))
            .await
            .unwrap();
    }
    ledger
        .end_run(end(&*ledger, 3, "a", &["hi"]))
        .await
        .unwrap();
    let open = async |name, limit| {
        let open = ledger.open_runs_of(key(name), limit).await.unwrap();
        open.iter().map(|run| run.record.run_id).collect::<Vec<_>>()
    };
    assert_eq!(open("a", 9).await, [run_id(1), run_id(4)]);
    assert_eq!(open("a", 1).await, [run_id(1)]);
    assert_eq!(open("b", 9).await, [run_id(2)]);
    assert_eq!(open("none", 9).await, []);
    assert_eq!(ledger.open_runs(9).await.unwrap().len(), 3);
}

async fn an_answer_can_be_appended_in_parts_while_its_run_is_active(bed: impl Bed) {
    let ledger = bed.ledger();
    one_runs_and_one_waits(&*ledger, "first", "second").await;
    // A run that has not started has no answer.
    let none = ledger.append_answer(answer(&*ledger, 2, &["no"])).await;
    assert_eq!(none.unwrap(), []);
    let part = ledger.append_answer(answer(&*ledger, 1, &["one"])).await;
    let part = part.unwrap();
    assert_eq!(texts(&part), [(2, "one")]);
    assert_eq!(
        (part[0].run, &part[0].wire_id),
        (Some(run_id(1)), &Some(wire("wire-1")))
    );
    ledger.end_run(end(&*ledger, 2, "a", &[])).await.unwrap();
    assert_eq!(
        texts(&ledger.run_entries(run_id(1)).await.unwrap()),
        [(1, "first"), (2, "one")]
    );
    ledger
        .end_run(end(&*ledger, 1, "a", &["two"]))
        .await
        .unwrap();
    assert_eq!(
        texts(&transcript(&*ledger, "a").await),
        [(1, "first"), (2, "one"), (3, "second"), (4, "two")]
    );
    assert_eq!(
        texts(&ledger.run_entries(run_id(1)).await.unwrap()),
        [(1, "first"), (2, "one"), (4, "two")]
    );
    let session = ledger.session(key("a")).await.unwrap().unwrap();
    assert_eq!((session.entries, session.updated_at_ms), (4, 5_001));

    // Nothing comes behind the end of a run, or into another transcript.
    let none = ledger.append_answer(answer(&*ledger, 1, &["late"])).await;
    assert_eq!(none.unwrap(), []);
    ledger
        .begin_run(begin(&*ledger, 3, "a", "third"))
        .await
        .unwrap();
    ledger
        .reset_session(target(&*ledger, "a", 9))
        .await
        .unwrap();
    let none = ledger.append_answer(answer(&*ledger, 3, &["old"])).await;
    assert_eq!(none.unwrap(), []);
    assert_eq!(transcript(&*ledger, "a").await, []);
    let unknown = ledger.append_answer(answer(&*ledger, 9, &["x"])).await;
    assert!(matches!(unknown, Err(LedgerError::NotFound)));
    let stale = AppendAnswer {
        lease: Lease { epoch: 0 },
        ..answer(&*ledger, 3, &["x"])
    };
    assert!(matches!(
        ledger.append_answer(stale).await,
        Err(LedgerError::Fenced { .. })
    ));
}

async fn a_run_has_its_own_entries(bed: impl Bed) {
    let ledger = bed.ledger();
    ledger
        .begin_run(begin(&*ledger, 1, "a", "hello"))
        .await
        .unwrap();
    ledger
        .append(ledger.lease(), key("a"), assistant("put in", 2_000))
        .await
        .unwrap();
    assert_eq!(
        texts(&ledger.run_entries(run_id(1)).await.unwrap()),
        [(1, "hello")]
    );
    ledger
        .end_run(end(&*ledger, 1, "a", &["hi"]))
        .await
        .unwrap();
    ledger
        .begin_run(begin(&*ledger, 2, "a", "next"))
        .await
        .unwrap();
    let own = [(1, "hello"), (3, "hi")];
    assert_eq!(texts(&ledger.run_entries(run_id(1)).await.unwrap()), own);
    ledger
        .reset_session(target(&*ledger, "a", 9))
        .await
        .unwrap();
    assert_eq!(texts(&ledger.run_entries(run_id(1)).await.unwrap()), own);
    ledger
        .delete_session(ledger.lease(), key("a"), None)
        .await
        .unwrap();
}

async fn an_older_lease_cannot_write(bed: impl Bed) {
    let ledger = bed.ledger();
    let old = ledger.lease();
    assert_eq!(old, Lease { epoch: 1 });
    one_runs_and_one_waits(&*ledger, "hello", "later").await;
    let bed = bed.reopen().await;
    let ledger = bed.ledger();
    assert_eq!(ledger.lease(), Lease { epoch: 2 });
    // Nobody has written with the new lease yet, so the old one still may.
    let mut late = begin(&*ledger, 3, "a", "still fine");
    late.lease = old;
    ledger.begin_run(late).await.unwrap();

    ledger
        .append(ledger.lease(), key("a"), user("mine now", 2_000))
        .await
        .unwrap();
    let before = ledger.session(key("a")).await.unwrap();
    let mut begin = begin(&*ledger, 4, "a", "too late");
    begin.lease = old;
    is_fenced(&ledger.begin_run(begin).await);
    is_fenced(&ledger.start_run(old, run_id(2), 1).await);
    let mut end = end(&*ledger, 1, "a", &["too late"]);
    end.lease = old;
    is_fenced(&ledger.end_run(end).await);
    let mut target = target(&*ledger, "a", 5);
    target.lease = old;
    is_fenced(
        &ledger
            .patch_session(target.clone(), SessionPatch::default())
            .await,
    );
    is_fenced(&ledger.reset_session(target).await);
    is_fenced(&ledger.delete_session(old, key("a"), None).await);
    is_fenced(&ledger.append(old, key("a"), user("too late", 1)).await);
    assert_eq!(ledger.session(key("a")).await.unwrap(), before);
    assert_eq!(ledger.open_runs(9).await.unwrap().len(), 3);
    // Other sessions are not its business.
    let mut other = super::begin(&*ledger, 6, "b", "fine");
    other.lease = old;
    ledger.begin_run(other).await.unwrap();
}

async fn a_session_that_changed_is_not_written_to(bed: impl Bed) {
    let ledger = bed.ledger();
    let expecting = |number: u32, expected: u32| {
        let mut begin = begin(&*ledger, number, "a", "hello");
        begin.expected_session_id = Some(session_id(expected));
        begin
    };
    let none = ledger.begin_run(expecting(1, 1)).await;
    assert!(matches!(none, Err(LedgerError::NotFound)), "{none:?}");
    assert_eq!(ledger.session(key("a")).await.unwrap(), None);
    accepted(ledger.begin_run(begin(&*ledger, 1, "a", "hello")).await);
    accepted(ledger.begin_run(expecting(2, 1)).await);
    let changed = |outcome: Result<(), LedgerError>| {
        assert!(
            matches!(outcome, Err(LedgerError::SessionChanged { session_id: id }) if id == session_id(1)),
            "{outcome:?}"
        );
    };
    changed(ledger.begin_run(expecting(3, 2)).await.map(drop));
    let mut target = target(&*ledger, "a", 9);
    target.expected_session_id = Some(session_id(2));
    changed(ledger.reset_session(target.clone()).await.map(drop));
    let patch = SessionPatch {
        label: Some(Some("x".to_owned())),
        ..SessionPatch::default()
    };
    changed(ledger.patch_session(target.clone(), patch).await.map(drop));
    let delete = ledger.delete_session(ledger.lease(), key("a"), Some(session_id(2)));
    changed(delete.await.map(drop));
    target.key = key("none");
    let none = ledger.reset_session(target).await;
    assert!(matches!(none, Err(LedgerError::NotFound)), "{none:?}");
}

async fn a_restart_finds_what_was_left_open(bed: impl Bed) {
    let ledger = bed.ledger();
    ledger
        .begin_run(begin(&*ledger, 1, "a", "active"))
        .await
        .unwrap();
    let mut waiting = queue(&*ledger, 2, "a", "waiting");
    waiting.input.push(user("twice", 1_003));
    ledger.begin_run(waiting).await.unwrap();
    ledger
        .begin_run(queue(&*ledger, 3, "b", "started"))
        .await
        .unwrap();
    ledger
        .start_run(ledger.lease(), run_id(3), 4_000)
        .await
        .unwrap();
    ledger
        .begin_run(begin(&*ledger, 4, "b", "done"))
        .await
        .unwrap();
    ledger
        .end_run(end(&*ledger, 4, "b", &["well"]))
        .await
        .unwrap();

    let bed = bed.reopen().await;
    let ledger = bed.ledger();
    let open = ledger.open_runs(9).await.unwrap();
    let seen: Vec<_> = open
        .iter()
        .map(|open| {
            let input: Vec<_> = open.input.iter().map(text).collect();
            (open.record.run_id, open.record.started_at_ms, input)
        })
        .collect();
    assert_eq!(
        seen,
        [
            (run_id(1), Some(1_001), vec![]),
            (run_id(2), None, vec!["waiting", "twice"]),
            (run_id(3), Some(4_000), vec![]),
        ]
    );
    assert_eq!(open[1].resume.as_deref(), Some("{\"run\":2}"));
    assert_eq!(open[1].input[0].run, Some(run_id(2)));
    assert_eq!(ledger.open_runs(2).await.unwrap().len(), 2);

    let mut interrupted = end(&*ledger, 1, "a", &["half"]);
    interrupted.terminal = terminal(Outcome::Interrupted, 9_000);
    ledger.end_run(interrupted).await.unwrap();
    ledger
        .start_run(ledger.lease(), run_id(2), 9_001)
        .await
        .unwrap();
    ledger
        .end_run(end(&*ledger, 2, "a", &["answer"]))
        .await
        .unwrap();
    assert_eq!(
        texts(&transcript(&*ledger, "a").await),
        [
            (1, "active"),
            (2, "half"),
            (3, "waiting"),
            (4, "twice"),
            (5, "answer")
        ]
    );
    assert_eq!(ledger.open_runs(9).await.unwrap().len(), 1);
}

async fn a_run_that_is_started_over_stays_where_it_was_and_is_counted(bed: impl Bed) {
    let ledger = bed.ledger();
    let mut first = begin(&*ledger, 1, "a", "hello");
    first.run.resume = Some("{}".to_owned());
    ledger.begin_run(first).await.unwrap();
    ledger
        .begin_run(queue(&*ledger, 2, "a", "merged"))
        .await
        .unwrap();
    // Its message became part of the first run.
    ledger.end_run(end(&*ledger, 2, "a", &[])).await.unwrap();

    let mut bed = bed;
    for restarts in 0..2 {
        bed = bed.reopen().await;
        let ledger = bed.ledger();
        let open = ledger.open_runs(9).await.unwrap();
        assert_eq!(open.len(), 1);
        assert_eq!(
            (open[0].record.run_id, open[0].restarts),
            (run_id(1), restarts)
        );
        assert_eq!(open[0].resume.as_deref(), Some("{}"));
        let again = ledger.restart_run(ledger.lease(), run_id(1), 9_000).await;
        let placed = again.unwrap();
        assert_eq!(
            (placed.session_id, placed.entries_before),
            (session_id(1), 0)
        );
        assert_eq!(texts(&placed.input), [(1, "hello")]);
        let run = ledger
            .find_run(wire("wire-1"), None)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(run.started_at_ms, Some(1_001));
    }
    let ledger = bed.ledger();
    ledger
        .end_run(end(&*ledger, 1, "a", &["answer"]))
        .await
        .unwrap();
    let said = [(1, "hello"), (2, "merged"), (3, "answer")];
    assert_eq!(texts(&transcript(&*ledger, "a").await), said);
    let lease = ledger.lease();
    let ended = ledger.restart_run(lease, run_id(1), 9_001).await;
    assert!(matches!(ended, Err(LedgerError::Ended)), "{ended:?}");
    let nobody = ledger.restart_run(lease, run_id(7), 9_001).await;
    assert!(matches!(nobody, Err(LedgerError::NotFound)), "{nobody:?}");
}

async fn a_run_that_is_started_over_is_out_of_reach_of_its_first_owner(bed: impl Bed) {
    let ledger = bed.ledger();
    let old = ledger.lease();
    ledger
        .begin_run(begin(&*ledger, 1, "a", "hello"))
        .await
        .unwrap();
    let bed = bed.reopen().await;
    let ledger = bed.ledger();
    ledger
        .restart_run(ledger.lease(), run_id(1), 9_000)
        .await
        .unwrap();
    let mut late = end(&*ledger, 1, "a", &["from the first life"]);
    late.lease = old;
    is_fenced(&ledger.end_run(late).await);
    is_fenced(&ledger.restart_run(old, run_id(1), 9_001).await);
    assert_eq!(ledger.open_runs(9).await.unwrap()[0].restarts, 1);
    ledger
        .end_run(end(&*ledger, 1, "a", &["from the second"]))
        .await
        .unwrap();
    assert_eq!(
        texts(&transcript(&*ledger, "a").await),
        [(1, "hello"), (2, "from the second")]
    );
}

async fn runs_are_listed_newest_first(bed: impl Bed) {
    let ledger = bed.ledger();
    for (number, name) in [(1, "a"), (2, "b"), (3, "a")] {
        ledger
            .begin_run(begin(&*ledger, number, name, "x"))
            .await
            .unwrap();
    }
    let list = async |session: Option<SessionKey>, limit| {
        let runs = ledger.list_runs(session, limit).await.unwrap();
        runs.into_iter().map(|run| run.run_id).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 9).await, [run_id(3), run_id(2), run_id(1)]);
    assert_eq!(list(None, 2).await, [run_id(3), run_id(2)]);
    assert_eq!(list(Some(key("a")), 9).await, [run_id(3), run_id(1)]);
    assert_eq!(list(Some(key("none")), 9).await, []);
    ledger
        .delete_session(ledger.lease(), key("a"), None)
        .await
        .unwrap();
    ledger
        .begin_run(begin(&*ledger, 4, "a", "x"))
        .await
        .unwrap();
    assert_eq!(list(Some(key("a")), 9).await, [run_id(4)]);
    assert_eq!(list(None, 9).await.len(), 4);
}

async fn usage_and_last_run_are_counted(bed: impl Bed) {
    let ledger = bed.ledger();
    for number in 1..=2 {
        ledger
            .begin_run(begin(&*ledger, number, "a", "x"))
            .await
            .unwrap();
        let mut end = end(&*ledger, number, "a", &["y"]);
        end.terminal.usage = Some(usage(10, u64::from(number)));
        end.terminal.started_at_ms = Some(77);
        ledger.end_run(end).await.unwrap();
    }
    ledger
        .begin_run(begin(&*ledger, 3, "a", "x"))
        .await
        .unwrap();
    let mut last = end(&*ledger, 3, "a", &[]);
    last.terminal = terminal(failed_run(), 8_000);
    ledger.end_run(last.clone()).await.unwrap();
    let session = ledger.session(key("a")).await.unwrap().unwrap();
    assert_eq!((session.usage.input, session.usage.output), (20, 3));
    assert_eq!(session.usage.total(), 23);
    assert_eq!(session.updated_at_ms, 8_000);
    assert_eq!(
        session.last_run,
        Some(LastRun {
            wire_id: wire("wire-3"),
            terminal: last.terminal,
        })
    );
    // The mark of the accept commit stands.
    let run = ledger
        .find_run(wire("wire-1"), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(run.started_at_ms, Some(1_001));
}

async fn a_closed_ledger_says_so(bed: impl Bed) {
    let ledger = bed.ledger();
    ledger
        .begin_run(begin(&*ledger, 1, "a", "x"))
        .await
        .unwrap();
    ledger.close().await.unwrap();
    ledger.close().await.unwrap();
    let closed = |outcome: Result<(), LedgerError>| {
        assert!(matches!(outcome, Err(LedgerError::Closed)), "{outcome:?}");
    };
    closed(
        ledger
            .begin_run(begin(&*ledger, 2, "a", "x"))
            .await
            .map(drop),
    );
    closed(ledger.end_run(end(&*ledger, 1, "a", &[])).await.map(drop));
    closed(ledger.session(key("a")).await.map(drop));
    closed(
        ledger
            .list_sessions(SessionQuery::default())
            .await
            .map(drop),
    );
    closed(ledger.prune(KEEP_ALL, 0).await.map(drop));
}

async fn a_refused_run_leaves_nothing(bed: impl Bed) {
    let ledger = bed.ledger();
    accepted(ledger.begin_run(begin(&*ledger, 1, "a", "x")).await);
    // The id of the run is taken.
    let mut twice = begin(&*ledger, 1, "b", "y");
    twice.run.wire_id = wire("other");
    twice.new_session_id = session_id(2);
    let refused = ledger.begin_run(twice).await;
    assert!(
        matches!(
            refused,
            Err(LedgerError::Failed {
                fault: Fault::Internal,
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(ledger.session(key("b")).await.unwrap(), None);
    assert_eq!(ledger.find_run(wire("other"), None).await.unwrap(), None);
    let page = ledger.list_sessions(SessionQuery::default()).await.unwrap();
    assert_eq!(page.total, 1);
    accepted(ledger.begin_run(begin(&*ledger, 2, "b", "y")).await);
}

async fn a_run_without_input_is_a_run(bed: impl Bed) {
    let ledger = bed.ledger();
    let mut empty = begin(&*ledger, 1, "a", "x");
    empty.input.clear();
    let placed = accepted(ledger.begin_run(empty).await).placed.unwrap();
    assert_eq!((placed.entries_before, placed.input.len()), (0, 0));
    let mut waits = queue(&*ledger, 2, "a", "x");
    waits.input.clear();
    accepted(ledger.begin_run(waits).await);
    ledger
        .end_run(end(&*ledger, 1, "a", &["hi"]))
        .await
        .unwrap();
    let placed = ledger
        .start_run(ledger.lease(), run_id(2), 6_000)
        .await
        .unwrap();
    assert_eq!((placed.entries_before, placed.input.len()), (1, 0));
    ledger
        .end_run(end(&*ledger, 2, "a", &["ho"]))
        .await
        .unwrap();
    assert_eq!(
        texts(&ledger.run_entries(run_id(2)).await.unwrap()),
        [(2, "ho")]
    );
}

pub(super) async fn a_folded_run_ends_with_its_head(bed: impl Bed) {
    let ledger = bed.ledger();
    accepted(ledger.begin_run(begin(&*ledger, 1, "a", "head")).await);
    accepted(ledger.begin_run(queue(&*ledger, 2, "a", "part")).await);
    let lease = ledger.lease();
    let fold = |into| ledger.fold_run(lease, run_id(2), run_id(into), 50);
    let placed = fold(1).await.unwrap();
    assert_eq!(texts(&placed.input), [(2, "part")]);
    assert_eq!(fold(1).await.unwrap(), placed);
    let open = ledger.open_runs(9).await.unwrap();
    let folded: Vec<_> = open.iter().map(|run| run.folded_into).collect();
    assert_eq!(folded, [None, Some(run_id(1))]);

    // Over a restart, too.
    let bed = bed.reopen().await;
    let ledger = bed.ledger();
    let lease = ledger.lease();
    ledger.restart_run(lease, run_id(1), 60).await.unwrap();
    let mut failed = end(&*ledger, 1, "a", &["no"]);
    failed.terminal.outcome = failed_run();
    let ended = ledger.end_run(failed.clone()).await.unwrap();
    assert_eq!(ended.terminal, failed.terminal);
    assert!(ledger.open_runs(9).await.unwrap().is_empty());
    let part = ledger.find_run(wire("wire-2"), None).await.unwrap();
    assert_eq!(part.unwrap().terminal, Some(failed.terminal.of_folded()));

    // The first end is the one that counts, and a run that has ended takes no more.
    let again = ledger.end_run(end(&*ledger, 1, "a", &["yes"])).await;
    let first = EndedRow {
        terminal: failed.terminal,
        entries: Vec::new(),
    };
    assert_eq!(again.unwrap(), first);
    accepted(ledger.begin_run(queue(&*ledger, 3, "a", "late")).await);
    let late = ledger.fold_run(lease, run_id(3), run_id(1), 70).await;
    assert!(matches!(late, Err(LedgerError::Ended)), "{late:?}");
    let entries = transcript(&*ledger, "a").await;
    assert_eq!(texts(&entries), [(1, "head"), (2, "part"), (3, "no")]);
}

pub(super) async fn an_accept_resets_and_is_guarded(bed: impl Bed) {
    let ledger = bed.ledger();
    let mut first = begin(&*ledger, 1, "a", "old");
    first.run.idempotency = Some(scope("k", 1));
    accepted(ledger.begin_run(first.clone()).await);
    ledger.end_run(end(&*ledger, 1, "a", &["x"])).await.unwrap();
    // A known key resets nothing.
    first.reset = true;
    first.new_session_id = session_id(9);
    let known = ledger.begin_run(first).await.unwrap();
    assert!(matches!(known, Begun::Existing(_)), "{known:?}");
    assert_eq!(transcript(&*ledger, "a").await.len(), 2);

    let mut patch = SessionPatch::default();
    let word = |word: &str| serde_json::Value::from(word);
    patch.settings.insert("sendPolicy".to_owned(), word("deny"));
    patch
        .settings
        .insert("queueMode".to_owned(), word("collect"));
    let target = target(&*ledger, "a", 8);
    ledger.patch_session(target, patch.clone()).await.unwrap();
    let mut guarded = begin(&*ledger, 2, "a", "no");
    guarded.reset = true;
    guarded.guard.sends = true;
    let refused = ledger.begin_run(guarded.clone()).await;
    let is = |refused: &Result<Begun, LedgerError>, guard| {
        matches!(refused,
        Err(LedgerError::Guarded(found)) if *found == guard)
    };
    assert!(is(&refused, Guarded::SendDenied), "{refused:?}");
    guarded.guard = Guard {
        sends: false,
        full_unless_interrupt: Some(ModeChoice {
            own: None,
            fallback: crate::run::QueueMode::Interrupt,
        }),
    };
    let refused = ledger.begin_run(guarded.clone()).await;
    assert!(is(&refused, Guarded::QueueFull), "{refused:?}");
    assert_eq!(transcript(&*ledger, "a").await.len(), 2);

    guarded.guard = Guard::default();
    let begun = accepted(ledger.begin_run(guarded).await);
    assert_eq!(begun.session_id, session_id(2));
    assert_eq!(begun.settings, patch.settings);
    assert_eq!(texts(&transcript(&*ledger, "a").await), [(1, "no")]);
}

pub(super) async fn what_never_started_is_withheld_and_commands_are_no_runs(bed: impl Bed) {
    let ledger = bed.ledger();
    accepted(ledger.begin_run(queue(&*ledger, 1, "a", "waits")).await);
    let ended = ledger.end_run(end(&*ledger, 1, "a", &[])).await.unwrap();
    assert!(ended.entries[0].body.is_withheld());
    assert!(transcript(&*ledger, "a").await[0].body.is_withheld());
    let last = async || {
        let session = ledger.session(key("a")).await.unwrap();
        session.unwrap().last_run.map(|run| run.wire_id)
    };
    let mut command = begin(&*ledger, 2, "a", "");
    command.input.clear();
    accepted(ledger.begin_run(command).await);
    ledger
        .end_run(end(&*ledger, 2, "a", &["said"]))
        .await
        .unwrap();
    assert_eq!(last().await, Some(wire("wire-1")));
    assert_eq!(transcript(&*ledger, "a").await.len(), 2);

    // Two principals use one wire id.
    let mut other = begin(&*ledger, 3, "b", "mine");
    other.run.wire_id = wire("wire-1");
    other.run.principal = Some("token/bob".into());
    accepted(ledger.begin_run(other).await);
    for (principal, number) in [(Some("token/alice"), 1), (Some("token/bob"), 3), (None, 3)] {
        let found = ledger
            .find_run(wire("wire-1"), principal.map(Into::into))
            .await;
        assert_eq!(
            found.unwrap().unwrap().run_id,
            run_id(number),
            "{principal:?}"
        );
    }
}
