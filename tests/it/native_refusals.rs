//! What every native method refuses, by the table of methods: a caller without its scope, and
//! params of the wrong form; members it does not know are none of its business.

use clawport::internals::protocol::methods::{Method, ScopeRule};
use serde_json::json;

use crate::support::{Native, Served};

/// Methods of this gateway alone, whose params are closed: no client of them is newer.
const CLOSED: &[&str] = &["runs.get", "runs.list"];

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
async fn members_a_method_does_not_know_are_ignored_and_wrong_forms_are_refused() {
    let served = Served::start(json!({})).await;
    for row in Method::table() {
        let scopes: Vec<_> = needed(row.scope).into_iter().collect();
        let native = Native::scoped(served.addr(), &scopes).await;
        let start = format!("invalid {} params: ", row.name);
        let newer = native.try_call(row.name, json!({"newer": [1]})).await;
        let refusal = newer.err().map(|refusal| refusal.to_string());
        let names_it = refusal.is_some_and(|refusal| refusal.contains("newer"));
        assert_eq!(names_it, CLOSED.contains(&row.name), "{}", row.name);
        let refusal = native.refused(row.name, json!([1])).await;
        assert!(refusal.message.starts_with(&start), "{refusal}");
    }
}
