//! Paired devices, their tokens and their requests.

use proptest::prelude::*;

use crate::session::devices::{
    DeviceBounds, DevicePut, DeviceRow, PairingRow, PutDevice, RequestRow, TokenRow,
};

use super::*;

const ROOMY: DeviceBounds = DeviceBounds {
    devices_max: 100,
    requests_max: 100,
    requests_since_ms: 0,
};

fn row(name: &str) -> DeviceRow {
    DeviceRow::new(name.into())
}

fn pairing(is_expendable: bool, last_seen_at_ms: u64) -> PairingRow {
    PairingRow {
        details: format!(r#"{{"seen":{last_seen_at_ms}}}"#),
        is_expendable,
        last_seen_at_ms,
    }
}

fn request(id: &str, at_ms: u64) -> RequestRow {
    RequestRow {
        request_id: id.into(),
        at_ms,
        details: format!(r#"{{"asks":"{id}"}}"#),
    }
}

fn token(role: &str, digests: &[u8]) -> TokenRow {
    TokenRow {
        role: role.into(),
        digests: digests.iter().map(|byte| [*byte; 32]).collect(),
        scopes: vec!["operator.read".into(), "x \"y\"".into()],
        created_at_ms: 1,
        rotated_at_ms: Some(2),
        revoked_at_ms: None,
        last_used_at_ms: Some(u64::from(u32::MAX) + 1),
    }
}

async fn put_within(ledger: &dyn Ledger, row: DeviceRow, bounds: DeviceBounds) -> DevicePut {
    ledger.put_device(PutDevice { row, bounds }).await.unwrap()
}

/// Stores the row, which must find room; returns its revision.
async fn put(ledger: &dyn Ledger, row: DeviceRow) -> u64 {
    match put_within(ledger, row, ROOMY).await {
        DevicePut::Done {
            revision,
            forgotten: None,
        } => revision,
        other => panic!("{other:?}"),
    }
}

async fn find(ledger: &dyn Ledger, name: &str) -> Option<DeviceRow> {
    ledger.device(name.into()).await.unwrap()
}

async fn names(ledger: &dyn Ledger) -> Vec<String> {
    let rows = ledger.devices(999).await.unwrap();
    rows.iter().map(|row| row.device.to_string()).collect()
}

async fn a_device_is_kept_whole_over_a_restart(bed: impl Bed) {
    let ledger = bed.ledger();
    let mut whole = row("a");
    whole.pairing = Some(pairing(true, 5));
    whole.tokens = vec![token("node", &[]), token("operator", &[1, 2, 3])];
    whole.request = Some(request("r1", 7));
    whole.revision = put(&*ledger, whole.clone()).await;
    let mut asking = row("b");
    asking.request = Some(request("r2", 8));
    asking.revision = put(&*ledger, asking.clone()).await;
    drop(ledger);

    let bed = bed.reopen().await;
    let ledger = bed.ledger();
    assert_eq!(find(&*ledger, "a").await.as_ref(), Some(&whole));
    assert_eq!(find(&*ledger, "A").await, None);
    for (id, expected) in [("r1", Some(&whole)), ("r2", Some(&asking)), ("r3", None)] {
        let found = ledger.device_of_request(id.into()).await.unwrap();
        assert_eq!(found.as_ref(), expected, "{id}");
    }
    assert_eq!(ledger.devices(9).await.unwrap(), [whole.clone(), asking]);
    assert_eq!(ledger.devices(1).await.unwrap(), [whole.clone()]);

    whole.tokens.remove(0);
    whole.request = None;
    whole.revision = put(&*ledger, whole.clone()).await;
    assert_eq!(find(&*ledger, "a").await, Some(whole));
    assert_eq!(ledger.device_of_request("r1".into()).await.unwrap(), None);
}

async fn a_change_on_an_old_row_changes_nothing(bed: impl Bed) {
    let ledger = bed.ledger();
    let mut first = row("a");
    first.pairing = Some(pairing(false, 1));
    let never_read = first.clone();
    first.revision = put(&*ledger, first.clone()).await;
    let changed = put_within(&*ledger, never_read.clone(), ROOMY).await;
    assert_eq!(changed, DevicePut::Changed);

    let mut second = first.clone();
    second.tokens.push(token("operator", &[1]));
    second.revision = put(&*ledger, second.clone()).await;
    for stale in [first.clone(), row("b")].map(|row| DeviceRow {
        revision: first.revision,
        pairing: None,
        ..row
    }) {
        let changed = put_within(&*ledger, stale, ROOMY).await;
        assert_eq!(changed, DevicePut::Changed);
    }
    assert_eq!(find(&*ledger, "a").await, Some(second.clone()));

    // A device that was removed and came back is another one to whoever read the old row.
    let gone = DeviceRow {
        pairing: None,
        tokens: Vec::new(),
        ..second.clone()
    };
    assert_eq!(put(&*ledger, gone).await, 0);
    assert_eq!(find(&*ledger, "a").await, None);
    let again = put(&*ledger, never_read).await;
    assert!(again > second.revision);
    let changed = put_within(&*ledger, second, ROOMY).await;
    assert_eq!(changed, DevicePut::Changed);
}

async fn requests_are_few_and_old_ones_make_room(bed: impl Bed) {
    let ledger = bed.ledger();
    let bounds = |since| DeviceBounds {
        requests_max: 2,
        requests_since_ms: since,
        ..ROOMY
    };
    let asking = |name: &str, at_ms| {
        let mut row = row(name);
        row.request = Some(request(name, at_ms));
        row
    };
    let mut paired = asking("paired", 10);
    paired.pairing = Some(pairing(false, 1));
    let first = put(&*ledger, paired.clone()).await;
    put(&*ledger, asking("b", 20)).await;
    let full = put_within(&*ledger, asking("c", 30), bounds(10)).await;
    assert_eq!(full, DevicePut::RequestsFull);
    assert_eq!(find(&*ledger, "c").await, None);

    // Whoever asks already asks again, and a device without a request takes no place.
    let mut again = find(&*ledger, "b").await.unwrap();
    again.request = Some(request("b2", 21));
    let done = put_within(&*ledger, again, bounds(10)).await;
    assert!(matches!(done, DevicePut::Done { .. }), "{done:?}");
    let mut quiet = row("quiet");
    quiet.pairing = Some(pairing(false, 1));
    let done = put_within(&*ledger, quiet, bounds(10)).await;
    assert!(matches!(done, DevicePut::Done { .. }), "{done:?}");

    let done = put_within(&*ledger, asking("c", 30), bounds(11)).await;
    assert!(matches!(done, DevicePut::Done { .. }), "{done:?}");
    let stays = find(&*ledger, "paired").await.unwrap();
    assert_eq!((&stays.request, &stays.pairing), (&None, &paired.pairing));
    assert!(stays.revision > first);
    let done = put_within(&*ledger, asking("d", 31), bounds(30)).await;
    assert!(matches!(done, DevicePut::Done { .. }), "{done:?}");
    assert_eq!(names(&*ledger).await, ["paired", "quiet", "c", "d"]);
}

async fn too_many_devices_cost_the_expendable_one_seen_longest_ago(bed: impl Bed) {
    let ledger = bed.ledger();
    let bounds = DeviceBounds {
        devices_max: 3,
        ..ROOMY
    };
    let paired = |name: &str, is_expendable, seen| {
        let mut row = row(name);
        row.pairing = Some(pairing(is_expendable, seen));
        row.tokens = vec![token("operator", &[9])];
        row
    };
    put(&*ledger, paired("kept", false, 1)).await;
    put(&*ledger, paired("new", true, 9)).await;
    put(&*ledger, paired("old", true, 3)).await;
    // One that only asks has no place yet.
    let mut asking = row("asking");
    asking.request = Some(request("r", 1));
    assert_ne!(put(&*ledger, asking).await, 0);

    let forgotten = |name: &str| Some(Arc::<str>::from(name));
    for (name, is_expendable, expected) in [
        ("x", false, forgotten("old")),
        ("y", false, forgotten("new")),
    ] {
        match put_within(&*ledger, paired(name, is_expendable, 2), bounds).await {
            DevicePut::Done { forgotten, .. } => assert_eq!(forgotten, expected),
            other => panic!("{other:?}"),
        }
    }
    let full = put_within(&*ledger, paired("z", true, 2), bounds).await;
    assert_eq!(full, DevicePut::DevicesFull);
    assert_eq!(names(&*ledger).await, ["kept", "asking", "x", "y"]);

    // One of those that are there may change, and only it.
    let mut seen = find(&*ledger, "x").await.unwrap();
    seen.pairing = Some(pairing(false, 99));
    let done = put_within(&*ledger, seen, bounds).await;
    assert!(matches!(
        done,
        DevicePut::Done {
            forgotten: None,
            ..
        }
    ));
}

against_every_ledger! {
    a_device_is_kept_whole_over_a_restart
    a_change_on_an_old_row_changes_nothing
    requests_are_few_and_old_ones_make_room
    too_many_devices_cost_the_expendable_one_seen_longest_ago
}

#[derive(Clone, Debug)]
struct Change {
    device: u8,
    /// Whether it knows the stored row.
    is_fresh: bool,
    pairing: Option<(bool, u64)>,
    tokens: u8,
    request: Option<(u8, u64)>,
    bounds: (u64, u64, u64),
}

fn change() -> impl Strategy<Value = Change> {
    (
        0..6_u8,
        proptest::bool::weighted(0.9),
        proptest::option::of((any::<bool>(), 0..5_u64)),
        0..3_u8,
        proptest::option::of((0..6_u8, 0..5_u64)),
        (0..4_u64, 0..4_u64, 0..5_u64),
    )
        .prop_map(
            |(device, is_fresh, pairing, tokens, request, bounds)| Change {
                device,
                is_fresh,
                pairing,
                tokens,
                request,
                bounds,
            },
        )
}

async fn make(ledger: &dyn Ledger, change: &Change) -> DevicePut {
    let name = format!("d{}", change.device);
    let stored = find(ledger, &name).await;
    let revision = stored.map_or(0, |row| row.revision);
    let mut row = row(&name);
    row.revision = revision + u64::from(!change.is_fresh);
    row.pairing = change
        .pairing
        .map(|(is_expendable, seen)| pairing(is_expendable, seen));
    row.tokens = (0..change.tokens)
        .map(|number| token(&format!("role{number}"), &[number]))
        .collect();
    row.request = change
        .request
        .map(|(id, at_ms)| request(&format!("{name}/{id}"), at_ms));
    if row.pairing.is_none() {
        row.tokens.clear();
    }
    let (devices_max, requests_max, requests_since_ms) = change.bounds;
    let bounds = DeviceBounds {
        devices_max,
        requests_max,
        requests_since_ms,
    };
    put_within(ledger, row, bounds).await
}

/// Which revision a change got is the store's own business.
fn without_revision(put: DevicePut) -> DevicePut {
    match put {
        DevicePut::Done {
            revision,
            forgotten,
        } => DevicePut::Done {
            revision: revision.min(1),
            forgotten,
        },
        DevicePut::Changed | DevicePut::RequestsFull | DevicePut::DevicesFull => put,
    }
}

async fn rows(ledger: &dyn Ledger) -> Vec<DeviceRow> {
    let mut rows = ledger.devices(999).await.unwrap();
    for row in &mut rows {
        assert_ne!(row.revision, 0);
        row.revision = 0;
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn both_ledgers_keep_the_same_devices(
        changes in proptest::collection::vec(change(), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (memory, sqlite) = (Memory::new(), Sqlite::new().await);
            let (memory, sqlite) = (memory.ledger(), sqlite.ledger());
            for change in &changes {
                let one = without_revision(make(&*memory, change).await);
                let other = without_revision(make(&*sqlite, change).await);
                assert_eq!(one, other, "{change:?}");
                assert_eq!(rows(&*memory).await, rows(&*sqlite).await, "{change:?}");
            }
        });
    }
}
