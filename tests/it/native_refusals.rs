//! What every native method refuses, by the table of methods: a caller without its scope, and
//! params it does not know.

use clawport::internals::protocol::methods::{Method, ScopeRule};
use serde_json::json;

use crate::support::{Native, Served};

/// Methods that let unknown members through.
const TOLERANT: &[&str] = &[
    "exec.approval.list",
    "health",
    "last-heartbeat",
    "openclaw.approval.list",
    "plugin.approval.list",
    "status",
    "update.run",
    "usage.cost",
    "usage.status",
];

/// The scope a call with an unknown member needs.
fn needed(rule: ScopeRule) -> Option<&'static str> {
    match rule {
        ScopeRule::Open => None,
        ScopeRule::Static(scope) => Some(scope),
        ScopeRule::AgentMessage | ScopeRule::CreateMembers => Some("operator.write"),
        ScopeRule::PatchMembers | ScopeRule::ArchivedOnly => Some("operator.admin"),
    }
}

#[tokio::test]
async fn a_caller_without_the_scope_of_a_method_is_told_which_one_it_needs() {
    let served = Served::start(json!({})).await;
    let nobody = Native::scoped(served.addr(), &[]).await;
    for row in Method::table() {
        let Some(scope) = needed(row.scope) else {
            nobody.call(row.name, json!({})).await;
            continue;
        };
        let refusal = nobody.refused(row.name, json!({"bogus": 1})).await;
        let said = refusal.message.to_string();
        assert_eq!(said, format!("missing scope: {scope}"), "{}", row.name);
    }
    // What does not exist is nobody's business but an administrator's.
    let refusal = nobody.refused("no.such.method", json!({})).await;
    assert_eq!(&*refusal.message, "missing scope: operator.admin");
}

#[tokio::test]
async fn params_a_method_does_not_know_are_refused_and_named() {
    let served = Served::start(json!({})).await;
    for row in Method::table() {
        let scopes: Vec<_> = needed(row.scope).into_iter().collect();
        let native = Native::scoped(served.addr(), &scopes).await;
        let start = format!("invalid {} params: ", row.name);
        if TOLERANT.contains(&row.name) {
            native.call(row.name, json!({"bogus": 1})).await;
        } else {
            let refusal = native.refused(row.name, json!({"bogus": 1})).await;
            assert_eq!(&*refusal.code, "INVALID_REQUEST", "{refusal}");
            assert!(refusal.message.starts_with(&start), "{refusal}");
            assert!(refusal.message.contains("bogus"), "{refusal}");
        }
        let refusal = native.refused(row.name, json!([1])).await;
        assert!(refusal.message.starts_with(&start), "{refusal}");
    }
}
