//! Sessions: settings, labels, transcripts, lists, and what is kept.

use serde_json::{Map, Value, json};

use super::*;

against_every_ledger! {
    a_patch_makes_the_session_and_merges_settings
    labels_are_unique
    a_reset_keeps_settings_and_archives_the_transcript
    a_reset_makes_the_session
    a_run_that_ends_after_a_reset_only_keeps_its_outcome
    a_waiting_run_starts_in_the_new_transcript
    a_deleted_session_is_gone_but_not_its_runs
    entries_are_appended_outside_of_runs
    a_transcript_is_summed_up_in_one_commit
    transcripts_are_read_in_pages
    a_page_of_large_entries_ends_early
    sessions_are_listed_newest_first
    lists_are_narrowed_by_every_filter
    archived_and_pinned_sessions_are_told_apart
    lists_have_pages_and_totals
    old_sessions_are_pruned
    too_many_sessions_are_pruned
    busy_sessions_are_never_pruned
    old_runs_are_pruned
    the_newest_runs_are_counted_whatever_went_before
    archived_transcripts_are_pruned_by_age
    a_restart_keeps_everything
}

fn settings(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other}"),
    }
}

fn patch(label: Option<Option<&str>>, value: Value) -> SessionPatch {
    SessionPatch {
        label: label.map(|label| label.map(str::to_owned)),
        settings: settings(value),
    }
}

async fn a_patch_makes_the_session_and_merges_settings(bed: impl Bed) {
    let ledger = bed.ledger();
    let first = patch(
        Some(Some("Work")),
        json!({"thinkingLevel": "high", "x": {"y": 1}}),
    );
    let record = ledger
        .patch_session(target(&*ledger, "a", 1), first)
        .await
        .unwrap();
    assert_eq!(record.session_id, session_id(1));
    assert_eq!(record.label.as_deref(), Some("Work"));
    assert_eq!((record.created_at_ms, record.updated_at_ms), (1_001, 1_001));
    let second = patch(
        None,
        json!({"thinkingLevel": null, "z": [true], "none": null}),
    );
    let record = ledger
        .patch_session(target(&*ledger, "a", 2), second)
        .await
        .unwrap();
    assert_eq!(record.session_id, session_id(1));
    assert_eq!(
        record.settings,
        settings(json!({"x": {"y": 1}, "z": [true]}))
    );
    assert_eq!((record.created_at_ms, record.updated_at_ms), (1_001, 1_002));
    assert_eq!(record.label.as_deref(), Some("Work"));
    assert_eq!(ledger.session(key("a")).await.unwrap(), Some(record));
    let cleared = patch(Some(None), json!({}));
    let record = ledger
        .patch_session(target(&*ledger, "a", 3), cleared)
        .await
        .unwrap();
    assert_eq!(record.label, None);
}

async fn labels_are_unique(bed: impl Bed) {
    let ledger = bed.ledger();
    let label = |text: &str| patch(Some(Some(text)), json!({"x": 1}));
    ledger
        .patch_session(target(&*ledger, "a", 1), label("Work"))
        .await
        .unwrap();
    let taken = ledger
        .patch_session(target(&*ledger, "b", 2), label("Work"))
        .await;
    assert!(
        matches!(&taken, Err(LedgerError::LabelInUse { label }) if &**label == "Work"),
        "{taken:?}"
    );
    assert_eq!(ledger.session(key("b")).await.unwrap(), None);
    // Its own label again, another case, and a label that is free again.
    ledger
        .patch_session(target(&*ledger, "a", 3), label("Work"))
        .await
        .unwrap();
    ledger
        .patch_session(target(&*ledger, "b", 4), label("work"))
        .await
        .unwrap();
    ledger
        .delete_session(ledger.lease(), key("a"), None)
        .await
        .unwrap();
    ledger
        .patch_session(target(&*ledger, "b", 5), label("Work"))
        .await
        .unwrap();
    ledger
        .patch_session(target(&*ledger, "c", 6), label("work"))
        .await
        .unwrap();
}

async fn a_reset_keeps_settings_and_archives_the_transcript(bed: impl Bed) {
    let ledger = bed.ledger();
    ledger
        .begin_run(begin(&*ledger, 1, "a", "hello"))
        .await
        .unwrap();
    let mut end = end(&*ledger, 1, "a", &["hi"]);
    end.terminal.usage = Some(usage(1, 1));
    ledger.end_run(end).await.unwrap();
    let labelled = patch(Some(Some("Work")), json!({"model": "x"}));
    ledger
        .patch_session(target(&*ledger, "a", 2), labelled)
        .await
        .unwrap();

    let record = ledger
        .reset_session(target(&*ledger, "a", 3))
        .await
        .unwrap();
    assert_eq!(
        record,
        SessionRecord {
            key: key("a"),
            agent: agent("main"),
            session_id: session_id(3),
            created_at_ms: 1_001,
            updated_at_ms: 1_003,
            entries: 0,
            label: Some("Work".into()),
            settings: settings(json!({"model": "x"})),
            usage: Usage::default(),
            last_run: None,
        }
    );
    assert_eq!(transcript(&*ledger, "a").await, []);
    assert_eq!(
        ledger.session_by_id(session_id(3)).await.unwrap(),
        Some(record)
    );
    // The old transcript is no session's any more, but its run still shows what it said.
    assert_eq!(ledger.session_by_id(session_id(1)).await.unwrap(), None);
    assert_eq!(ledger.run_entries(run_id(1)).await.unwrap().len(), 2);
    let placed = accepted(ledger.begin_run(begin(&*ledger, 4, "a", "again")).await).placed;
    let placed = placed.unwrap();
    assert_eq!(
        (placed.session_id, placed.entries_before),
        (session_id(3), 0)
    );
    assert_eq!(texts(&placed.input), [(1, "again")]);
}

async fn a_reset_makes_the_session(bed: impl Bed) {
    let ledger = bed.ledger();
    let record = ledger
        .reset_session(target(&*ledger, "a", 1))
        .await
        .unwrap();
    assert_eq!((record.session_id, record.entries), (session_id(1), 0));
    assert_eq!(ledger.session(key("a")).await.unwrap(), Some(record));
}

async fn a_run_that_ends_after_a_reset_only_keeps_its_outcome(bed: impl Bed) {
    let ledger = bed.ledger();
    one_runs_and_one_waits(&*ledger, "hello", "later").await;
    ledger
        .reset_session(target(&*ledger, "a", 3))
        .await
        .unwrap();
    for number in 1..=2 {
        let mut end = end(&*ledger, number, "a", &["late"]);
        end.terminal = terminal(Outcome::Aborted(AbortCause::SessionEnded), 6_000);
        end.terminal.usage = Some(usage(1, 1));
        assert_eq!(ledger.end_run(end.clone()).await.unwrap().entries, []);
        let run = ledger
            .find_run(wire(&format!("wire-{number}")), None)
            .await
            .unwrap();
        assert_eq!(run.unwrap().terminal, Some(end.terminal));
    }
    let session = ledger.session(key("a")).await.unwrap().unwrap();
    assert_eq!((session.entries, session.usage.total()), (0, 0));
    assert_eq!((session.last_run, session.updated_at_ms), (None, 1_003));
}

async fn a_waiting_run_starts_in_the_new_transcript(bed: impl Bed) {
    let ledger = bed.ledger();
    ledger
        .begin_run(queue(&*ledger, 1, "a", "later"))
        .await
        .unwrap();
    ledger
        .reset_session(target(&*ledger, "a", 2))
        .await
        .unwrap();
    let placed = ledger
        .start_run(ledger.lease(), run_id(1), 6_000)
        .await
        .unwrap();
    assert_eq!(
        (placed.session_id, placed.entries_before),
        (session_id(2), 0)
    );
    let appended = ledger
        .end_run(end(&*ledger, 1, "a", &["answer"]))
        .await
        .unwrap();
    assert_eq!(texts(&appended.entries), [(2, "answer")]);
    let run = ledger
        .find_run(wire("wire-1"), None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(run.session_id, session_id(2));
}

async fn a_deleted_session_is_gone_but_not_its_runs(bed: impl Bed) {
    let ledger = bed.ledger();
    one_runs_and_one_waits(&*ledger, "hello", "later").await;
    ledger
        .reset_session(target(&*ledger, "a", 3))
        .await
        .unwrap();
    let record = ledger.session(key("a")).await.unwrap();
    let gone = ledger
        .delete_session(ledger.lease(), key("a"), Some(session_id(3)))
        .await;
    assert_eq!(gone.unwrap(), record);
    let again = ledger.delete_session(ledger.lease(), key("a"), None).await;
    assert_eq!(again.unwrap(), None);
    assert_eq!(ledger.session(key("a")).await.unwrap(), None);
    assert_eq!(ledger.session_by_id(session_id(3)).await.unwrap(), None);
    let range = EntryRange::After { n: 0, limit: 9 };
    assert_eq!(ledger.entries(key("a"), range).await.unwrap(), None);
    let page = ledger.list_sessions(SessionQuery::default()).await.unwrap();
    assert_eq!(page.total, 0);

    // A session of the same name is another one.
    ledger
        .patch_session(target(&*ledger, "a", 4), patch(None, json!({})))
        .await
        .unwrap();
    let start = ledger.start_run(ledger.lease(), run_id(2), 6_000).await;
    assert!(matches!(start, Err(LedgerError::NotFound)), "{start:?}");
    for number in 1..=2 {
        let end = end(&*ledger, number, "a", &["late"]);
        assert_eq!(ledger.end_run(end).await.unwrap().entries, []);
    }
    assert_eq!(transcript(&*ledger, "a").await, []);
    assert_eq!(ledger.open_runs(9).await.unwrap(), []);
    assert!(
        ledger
            .find_run(wire("wire-1"), None)
            .await
            .unwrap()
            .is_some()
    );
}

async fn entries_are_appended_outside_of_runs(bed: impl Bed) {
    let ledger = bed.ledger();
    let injected = NewEntry {
        body: EntryBody::Injected {
            label: Some("note".to_owned()),
            text: "hi".to_owned(),
        },
        ..user("x", 4_000)
    };
    let none = ledger
        .append(ledger.lease(), key("a"), injected.clone())
        .await;
    assert!(matches!(none, Err(LedgerError::NotFound)), "{none:?}");
    ledger
        .begin_run(begin(&*ledger, 1, "a", "hello"))
        .await
        .unwrap();
    let entry = ledger
        .append(ledger.lease(), key("a"), injected.clone())
        .await
        .unwrap();
    assert_eq!((entry.n, entry.run, entry.at_ms), (2, None, 4_000));
    assert_eq!((entry.id, &entry.body), (injected.id, &injected.body));
    assert_eq!(transcript(&*ledger, "a").await[1], entry);
    let session = ledger.session(key("a")).await.unwrap().unwrap();
    assert_eq!((session.entries, session.updated_at_ms), (2, 4_000));
}

async fn a_transcript_is_summed_up_in_one_commit(bed: impl Bed) {
    let ledger = bed.ledger();
    let made = ledger
        .reset_session(target(&*ledger, "a", 1))
        .await
        .unwrap();
    let entry = user("hello", 2_000);
    ledger
        .append(ledger.lease(), key("a"), entry)
        .await
        .unwrap();
    let summary = |at_ms| NewEntry {
        body: EntryBody::Compaction {
            summary: "they greeted".to_owned(),
            kept_from: Some(2),
        },
        ..user("", at_ms)
    };
    let note = Map::from_iter([("compaction".to_owned(), json!({"count": 1}))]);
    let target = |number, expected_session_id| SessionTarget {
        expected_session_id,
        at_ms: 3_000,
        ..target(&*ledger, "a", number)
    };
    let other = target(2, Some(session_id(2)));
    let refused = ledger
        .compact_session(other, summary(3_000), note.clone())
        .await;
    assert!(
        matches!(refused, Err(LedgerError::SessionChanged { session_id: found }) if found == session_id(1)),
        "{refused:?}"
    );
    assert_eq!(transcript(&*ledger, "a").await.len(), 1);
    let (record, entry) = ledger
        .compact_session(
            target(3, Some(made.session_id)),
            summary(3_000),
            note.clone(),
        )
        .await
        .unwrap();
    assert_eq!((record.entries, record.updated_at_ms), (2, 3_000));
    assert_eq!(record.settings, note);
    assert_eq!((entry.n, &entry.body), (2, &summary(0).body));
    assert_eq!(transcript(&*ledger, "a").await[1], entry);
    let read = ledger.session(key("a")).await.unwrap();
    assert_eq!(read, Some(record));
    let nobody = SessionTarget {
        key: key("nobody"),
        ..target(4, None)
    };
    let missing = ledger.compact_session(nobody, summary(1), note).await;
    assert!(matches!(missing, Err(LedgerError::NotFound)), "{missing:?}");
}

async fn transcripts_are_read_in_pages(bed: impl Bed) {
    let ledger = bed.ledger();
    ledger
        .reset_session(target(&*ledger, "a", 1))
        .await
        .unwrap();
    for n in 1..=5 {
        let entry = user(&format!("m{n}"), 2_000 + n);
        ledger
            .append(ledger.lease(), key("a"), entry)
            .await
            .unwrap();
    }
    let read = async |range| {
        let page = ledger.entries(key("a"), range).await.unwrap().unwrap();
        assert_eq!((page.session_id, page.total), (session_id(1), 5));
        page.entries.iter().map(|entry| entry.n).collect::<Vec<_>>()
    };
    let newest = |skip, limit| EntryRange::Newest { skip, limit };
    let after = |n, limit| EntryRange::After { n, limit };
    assert_eq!(read(newest(0, 2)).await, [4, 5]);
    assert_eq!(read(newest(2, 2)).await, [2, 3]);
    assert_eq!(read(newest(4, 9)).await, [1]);
    assert_eq!(read(newest(9, 9)).await, [0; 0]);
    assert_eq!(read(after(0, 2)).await, [1, 2]);
    assert_eq!(read(after(3, 9)).await, [4, 5]);
    assert_eq!(read(after(5, 9)).await, [0; 0]);
    assert_eq!(read(after(u64::MAX, 9)).await, [0; 0]);
    assert_eq!(
        ledger.entries(key("none"), newest(0, 1)).await.unwrap(),
        None
    );
    let third = ledger.entries(key("a"), after(2, 1)).await.unwrap();
    let id = third.unwrap().entries[0].id;
    let position = async |name| ledger.position(key(name), id).await.unwrap();
    assert_eq!(position("a").await, Some(3));
    assert_eq!(position("none").await, None);
    let unknown = EntryId::from_uuid(Uuid::from_u128(77));
    assert_eq!(ledger.position(key("a"), unknown).await.unwrap(), None);
    ledger
        .reset_session(target(&*ledger, "a", 2))
        .await
        .unwrap();
    assert_eq!(position("a").await, None, "it is in an archived transcript");
}

async fn a_page_of_large_entries_ends_early(bed: impl Bed) {
    let ledger = bed.ledger();
    ledger
        .reset_session(target(&*ledger, "a", 1))
        .await
        .unwrap();
    let megabytes = |count: usize| "x".repeat(count * 1024 * 1024);
    for count in [12, 12, 12, 40] {
        let entry = user(&megabytes(count), 2_000);
        ledger
            .append(ledger.lease(), key("a"), entry)
            .await
            .unwrap();
    }
    let read = async |range| {
        let page = ledger.entries(key("a"), range).await.unwrap().unwrap();
        page.entries.iter().map(|entry| entry.n).collect::<Vec<_>>()
    };
    assert_eq!(read(EntryRange::Newest { skip: 0, limit: 9 }).await, [4]);
    assert_eq!(read(EntryRange::Newest { skip: 1, limit: 9 }).await, [2, 3]);
    assert_eq!(read(EntryRange::After { n: 0, limit: 9 }).await, [1, 2]);
    assert_eq!(read(EntryRange::After { n: 2, limit: 9 }).await, [3]);
}

/// Sessions with the given names, agents and times of last use.
async fn make(ledger: &dyn Ledger, sessions: &[(&str, &str, u64)]) {
    for (number, (name, agent_name, at_ms)) in (1..).zip(sessions) {
        let target = SessionTarget {
            agent: agent(agent_name),
            at_ms: *at_ms,
            ..target(ledger, name, number)
        };
        ledger.reset_session(target).await.unwrap();
    }
}

async fn list(ledger: &dyn Ledger, query: SessionQuery) -> (Vec<String>, u64) {
    let query = SessionQuery {
        limit: if query.limit == 0 { 100 } else { query.limit },
        ..query
    };
    let page = ledger.list_sessions(query).await.unwrap();
    let keys = page.sessions.iter().map(|session| session.key.as_str());
    let names = keys.map(|key| key.trim_start_matches("agent:main:").to_owned());
    (names.collect(), page.total)
}

fn names(names: &[&str], total: u64) -> (Vec<String>, u64) {
    (names.iter().map(|&name| name.to_owned()).collect(), total)
}

async fn sessions_are_listed_newest_first(bed: impl Bed) {
    let ledger = bed.ledger();
    make(
        &*ledger,
        &[("a", "main", 30), ("b", "main", 10), ("c", "main", 20)],
    )
    .await;
    make(&*ledger, &[]).await;
    let all = list(&*ledger, SessionQuery::default()).await;
    assert_eq!(all, names(&["a", "c", "b"], 3));
    ledger
        .append(ledger.lease(), key("b"), user("x", 40))
        .await
        .unwrap();
    // Of two that were used in the same millisecond, the younger session comes first.
    ledger
        .append(ledger.lease(), key("c"), user("x", 30))
        .await
        .unwrap();
    let all = list(&*ledger, SessionQuery::default()).await;
    assert_eq!(all, names(&["b", "c", "a"], 3));
}

async fn archived_and_pinned_sessions_are_told_apart(bed: impl Bed) {
    let ledger = bed.ledger();
    make(
        &*ledger,
        &[
            ("plain", "main", 10),
            ("put-away", "main", 20),
            ("pinned", "main", 30),
            ("elsewhere", "other", 40),
        ],
    )
    .await;
    for (name, settings) in [
        ("put-away", json!({"archived": true})),
        ("pinned", json!({"pinned": true, "archived": false})),
        ("elsewhere", json!({"archived": true, "pinned": true})),
    ] {
        let asked = SessionTarget {
            at_ms: 50,
            ..target(&*ledger, name, 9)
        };
        let patch = patch(None, settings);
        ledger.patch_session(asked, patch).await.unwrap();
    }
    let check = async |archived, pinned, agent: Option<&str>, expected: &[&str]| {
        for (since, search) in [(None, None), (Some(5), None), (None, Some("agent:main"))] {
            let query = SessionQuery {
                archived,
                pinned,
                agent: agent.map(super::agent),
                updated_since_ms: since,
                search: search.map(str::to_owned),
                ..SessionQuery::default()
            };
            let total = u64::try_from(expected.len()).unwrap();
            let found = list(&*ledger, query.clone()).await;
            assert_eq!(found, names(expected, total), "{query:?}");
        }
    };
    check(Some(false), None, None, &["pinned", "plain"]).await;
    check(Some(true), None, None, &["elsewhere", "put-away"]).await;
    check(Some(true), None, Some("main"), &["put-away"]).await;
    check(Some(false), None, Some("other"), &[]).await;
    check(None, Some(true), None, &["elsewhere", "pinned"]).await;
    check(Some(false), Some(true), None, &["pinned"]).await;
    check(Some(false), Some(false), None, &["plain"]).await;
    let shown = patch(None, json!({"archived": null}));
    let asked = SessionTarget {
        at_ms: 60,
        ..target(&*ledger, "put-away", 9)
    };
    ledger.patch_session(asked, shown).await.unwrap();
    check(Some(true), None, Some("main"), &[]).await;
}

async fn lists_are_narrowed_by_every_filter(bed: impl Bed) {
    let ledger = bed.ledger();
    make(
        &*ledger,
        &[
            ("alpha", "main", 10),
            ("beta", "other", 20),
            ("gamma", "main", 30),
            ("gam%", "other", 40),
        ],
    )
    .await;
    let label = patch(Some(Some("Große Arbeit")), json!({}));
    let labelled = SessionTarget {
        at_ms: 10,
        ..target(&*ledger, "alpha", 9)
    };
    ledger.patch_session(labelled, label).await.unwrap();
    let by = SessionQuery::default;
    let check = async |query: SessionQuery, expected: &[&str]| {
        let total = u64::try_from(expected.len()).unwrap();
        assert_eq!(
            list(&*ledger, query.clone()).await,
            names(expected, total),
            "{query:?}"
        );
    };
    let main = Some(agent("main"));
    check(
        SessionQuery {
            agent: main.clone(),
            ..by()
        },
        &["gamma", "alpha"],
    )
    .await;
    check(
        SessionQuery {
            agent: Some(agent("none")),
            ..by()
        },
        &[],
    )
    .await;
    let since = Some(20);
    check(
        SessionQuery {
            updated_since_ms: since,
            ..by()
        },
        &["gam%", "gamma", "beta"],
    )
    .await;
    check(
        SessionQuery {
            agent: main.clone(),
            updated_since_ms: since,
            ..by()
        },
        &["gamma"],
    )
    .await;
    let label = Some("Große Arbeit".to_owned());
    check(
        SessionQuery {
            label: label.clone(),
            ..by()
        },
        &["alpha"],
    )
    .await;
    check(
        SessionQuery {
            label: label.clone(),
            updated_since_ms: since,
            ..by()
        },
        &[],
    )
    .await;
    check(
        SessionQuery {
            label,
            agent: main.clone(),
            ..by()
        },
        &["alpha"],
    )
    .await;
    check(
        SessionQuery {
            label: Some("große arbeit".to_owned()),
            ..by()
        },
        &[],
    )
    .await;
    let search = |text: &str| Some(text.to_owned());
    check(
        SessionQuery {
            search: search("GAM"),
            ..by()
        },
        &["gam%", "gamma"],
    )
    .await;
    check(
        SessionQuery {
            search: search("m%"),
            ..by()
        },
        &["gam%"],
    )
    .await;
    check(
        SessionQuery {
            search: search("GROẞE"),
            ..by()
        },
        &["alpha"],
    )
    .await;
    let id = session_id(2).to_string().to_uppercase();
    check(
        SessionQuery {
            search: search(&id),
            ..by()
        },
        &["beta"],
    )
    .await;
    check(
        SessionQuery {
            search: search("gam"),
            agent: main,
            ..by()
        },
        &["gamma"],
    )
    .await;
    check(
        SessionQuery {
            search: search("gam"),
            updated_since_ms: Some(40),
            ..by()
        },
        &["gam%"],
    )
    .await;
    check(
        SessionQuery {
            search: search("nothing"),
            ..by()
        },
        &[],
    )
    .await;
}

async fn lists_have_pages_and_totals(bed: impl Bed) {
    let ledger = bed.ledger();
    let sessions: Vec<_> = (0..5).map(|n| format!("s{n}")).collect();
    let rows: Vec<_> = sessions
        .iter()
        .map(|name| (name.as_str(), "main", 7))
        .collect();
    make(&*ledger, &rows).await;
    let page = |offset, limit| SessionQuery {
        offset,
        limit,
        ..SessionQuery::default()
    };
    assert_eq!(list(&*ledger, page(0, 2)).await, names(&["s4", "s3"], 5));
    assert_eq!(list(&*ledger, page(3, 9)).await, names(&["s1", "s0"], 5));
    assert_eq!(list(&*ledger, page(9, 9)).await, names(&[], 5));
    let found = SessionQuery {
        search: Some("S".to_owned()),
        ..page(1, 1)
    };
    assert_eq!(list(&*ledger, found).await, names(&["s3"], 5));
    let counted = ledger.list_sessions(page(0, 0)).await.unwrap();
    assert_eq!((counted.sessions.len(), counted.total), (0, 5));
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

async fn old_sessions_are_pruned(bed: impl Bed) {
    let ledger = bed.ledger();
    let now = 100 * DAY_MS;
    make(
        &*ledger,
        &[
            ("old", "main", now - 10 * DAY_MS - 1),
            ("edge", "main", now - 10 * DAY_MS),
            ("new", "main", now),
        ],
    )
    .await;
    assert_eq!(ledger.prune(KEEP_ALL, now).await.unwrap(), (0, 0));
    let limits = Retention {
        days: 10,
        ..KEEP_ALL
    };
    assert_eq!(ledger.prune(limits, now).await.unwrap(), (1, 0));
    assert_eq!(
        list(&*ledger, SessionQuery::default()).await,
        names(&["new", "edge"], 2)
    );
    assert_eq!(ledger.prune(limits, now).await.unwrap(), (0, 0));
}

async fn too_many_sessions_are_pruned(bed: impl Bed) {
    let ledger = bed.ledger();
    let sessions: Vec<_> = (0..150_u64).map(|n| (format!("s{n}"), n / 2)).collect();
    let rows: Vec<_> = sessions
        .iter()
        .map(|(name, at)| (name.as_str(), "main", *at))
        .collect();
    make(&*ledger, &rows).await;
    let limits = Retention {
        sessions_max: 3,
        ..KEEP_ALL
    };
    assert_eq!(ledger.prune(limits, 0).await.unwrap(), (147, 0));
    assert_eq!(
        list(&*ledger, SessionQuery::default()).await,
        names(&["s149", "s148", "s147"], 3)
    );
    let none = Retention {
        sessions_max: 0,
        ..KEEP_ALL
    };
    assert_eq!(ledger.prune(none, 0).await.unwrap(), (3, 0));
    assert_eq!(list(&*ledger, SessionQuery::default()).await, names(&[], 0));
}

async fn busy_sessions_are_never_pruned(bed: impl Bed) {
    let ledger = bed.ledger();
    ledger
        .begin_run(begin(&*ledger, 1, "active", "x"))
        .await
        .unwrap();
    ledger
        .begin_run(queue(&*ledger, 2, "waiting", "x"))
        .await
        .unwrap();
    ledger
        .begin_run(begin(&*ledger, 3, "ended", "x"))
        .await
        .unwrap();
    ledger
        .end_run(end(&*ledger, 3, "ended", &["y"]))
        .await
        .unwrap();
    let limits = Retention {
        days: 1,
        sessions_max: 0,
        runs_max: 0,
    };
    assert_eq!(ledger.prune(limits, 90 * DAY_MS).await.unwrap(), (1, 1));
    let left = list(&*ledger, SessionQuery::default()).await;
    assert_eq!(left, names(&["waiting", "active"], 2));
    ledger
        .start_run(ledger.lease(), run_id(2), 9_000)
        .await
        .unwrap();
    for (number, name) in [(1, "active"), (2, "waiting")] {
        ledger
            .end_run(end(&*ledger, number, name, &["y"]))
            .await
            .unwrap();
    }
    assert_eq!(ledger.prune(limits, 90 * DAY_MS).await.unwrap(), (2, 2));
    assert_eq!(ledger.list_runs(None, 9).await.unwrap(), []);
}

async fn old_runs_are_pruned(bed: impl Bed) {
    let ledger = bed.ledger();
    for number in 1..=6 {
        let mut begin = begin(&*ledger, number, "a", "x");
        if number == 2 {
            begin.run.idempotency = Some(scope("k", 1));
        }
        ledger.begin_run(begin).await.unwrap();
        if number != 1 {
            ledger
                .end_run(end(&*ledger, number, "a", &["y"]))
                .await
                .unwrap();
        }
    }
    let limits = Retention {
        runs_max: 2,
        ..KEEP_ALL
    };
    // The first has not ended and the key of the second is still kept.
    let now = 5_002 + IDEMPOTENCY_KEPT_MS;
    assert_eq!(ledger.prune(limits, now - 1).await.unwrap(), (0, 2));
    let left = async || {
        let runs = ledger.list_runs(None, 9).await.unwrap();
        runs.into_iter().map(|run| run.run_id).collect::<Vec<_>>()
    };
    assert_eq!(left().await, [run_id(6), run_id(5), run_id(2), run_id(1)]);
    assert_eq!(ledger.find_run(wire("wire-3"), None).await.unwrap(), None);
    assert_eq!(ledger.run_entries(run_id(3)).await.unwrap(), []);
    assert_eq!(ledger.prune(limits, now).await.unwrap(), (0, 1));
    assert_eq!(left().await, [run_id(6), run_id(5), run_id(1)]);
    assert_eq!(transcript(&*ledger, "a").await.len(), 11);
}

async fn the_newest_runs_are_counted_whatever_went_before(bed: impl Bed) {
    let ledger = bed.ledger();
    let run = async |number| {
        let begun = begin(&*ledger, number, "a", "x");
        ledger.begin_run(begun).await.unwrap();
        ledger
            .end_run(end(&*ledger, number, "a", &[]))
            .await
            .unwrap();
    };
    let prune = async |runs_max| {
        let limits = Retention {
            runs_max,
            ..KEEP_ALL
        };
        ledger.prune(limits, 90 * DAY_MS).await.unwrap()
    };
    ledger
        .begin_run(queue(&*ledger, 1, "a", "x"))
        .await
        .unwrap();
    for number in 2..=4 {
        run(number).await;
    }
    assert_eq!(prune(0).await, (0, 3));
    run(5).await;
    ledger.end_run(end(&*ledger, 1, "a", &[])).await.unwrap();
    assert_eq!(prune(2).await, (0, 0), "there are only two");
    assert_eq!(prune(1).await, (0, 1));
}

async fn archived_transcripts_are_pruned_by_age(bed: impl Bed) {
    let ledger = bed.ledger();
    ledger
        .begin_run(begin(&*ledger, 1, "a", "x"))
        .await
        .unwrap();
    let at = |at_ms: u64, number| SessionTarget {
        at_ms,
        ..target(&*ledger, "a", number)
    };
    ledger.reset_session(at(10 * DAY_MS, 2)).await.unwrap();
    ledger
        .begin_run(begin(&*ledger, 3, "a", "y"))
        .await
        .unwrap();
    ledger.reset_session(at(30 * DAY_MS, 3)).await.unwrap();
    let limits = Retention {
        days: 10,
        ..KEEP_ALL
    };
    ledger.prune(limits, 35 * DAY_MS).await.unwrap();
    let lease = ledger.lease();
    let placed = ledger.start_run(lease, run_id(1), 35 * DAY_MS).await;
    assert_eq!(texts(&placed.unwrap().input), [(1, "x")]);
    assert_eq!(ledger.run_entries(run_id(1)).await.unwrap().len(), 1);
    for number in [1, 3] {
        ledger
            .end_run(end(&*ledger, number, "a", &[]))
            .await
            .unwrap();
    }
    ledger.prune(limits, 35 * DAY_MS).await.unwrap();
    assert_eq!(ledger.run_entries(run_id(3)).await.unwrap().len(), 1);
    assert_eq!(ledger.run_entries(run_id(1)).await.unwrap(), []);
    assert!(ledger.session(key("a")).await.unwrap().is_some());
}

async fn a_restart_keeps_everything(bed: impl Bed) {
    let ledger = bed.ledger();
    let mut begin = begin(&*ledger, 1, "a", "hello");
    begin.run.idempotency = Some(scope("k", 1));
    ledger.begin_run(begin.clone()).await.unwrap();
    let mut end = end(&*ledger, 1, "a", &["hi"]);
    end.terminal.usage = Some(usage(3, 4));
    ledger.end_run(end).await.unwrap();
    let labelled = patch(Some(Some("Work")), json!({"model": "x"}));
    ledger
        .patch_session(target(&*ledger, "a", 2), labelled)
        .await
        .unwrap();
    let all = async |ledger: &dyn Ledger| {
        (
            ledger.session(key("a")).await.unwrap(),
            transcript(ledger, "a").await,
            ledger.list_runs(None, 9).await.unwrap(),
            ledger.run_entries(run_id(1)).await.unwrap(),
            ledger.list_sessions(SessionQuery::default()).await.unwrap(),
        )
    };
    let before = all(&*ledger).await;
    let bed = bed.reopen().await;
    let ledger = bed.ledger();
    assert_eq!(ledger.lease(), Lease { epoch: 2 });
    assert_eq!(all(&*ledger).await, before);
    begin.lease = ledger.lease();
    begin.run.run_id = run_id(9);
    assert!(matches!(
        ledger.begin_run(begin).await.unwrap(),
        Begun::Existing(run) if run == before.2[0]
    ));
    assert_eq!(before.2.len(), 1);
}
