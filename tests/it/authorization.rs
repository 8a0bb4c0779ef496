//! The dialect's tables and the table of scopes say the same.

use clawport::internals::auth::{CallFacts, EventGate, Operation, Rules, Scope};
use clawport::internals::protocol::events::{Delivery, Event};
use clawport::internals::protocol::methods::{Method, ScopeRule};

/// The scope a row says, and the least one the method can need with the friendliest params.
fn stated(rule: ScopeRule) -> (Option<&'static str>, Option<&'static str>) {
    let admin = Some(Scope::Admin.as_str());
    let write = Some(Scope::Write.as_str());
    match rule {
        ScopeRule::Open => (None, None),
        ScopeRule::Static(scope) => (Some(scope), Some(scope)),
        ScopeRule::AgentMessage
        | ScopeRule::PatchMembers
        | ScopeRule::CreateMembers
        | ScopeRule::ArchivedOnly => (admin, write),
    }
}

fn check(name: &str, rule: ScopeRule, rules: Rules) {
    let friendly = CallFacts {
        fields: &["key"],
        archived_only: true,
        ..CallFacts::default()
    };
    let strictest = Operation::Method(name).required(rules);
    let least = Operation::Call(name, friendly).required(rules);
    let found = (strictest.map(Scope::as_str), least.map(Scope::as_str));
    assert_eq!(found, stated(rule), "{name} {rules:?}");
}

#[test]
fn every_method_served_needs_what_its_row_says() {
    for row in Method::table() {
        check(row.name, row.scope, Rules::V4);
        check(row.name, row.scope_v3, Rules::V3);
        let depends = !matches!(row.scope, ScopeRule::Open | ScopeRule::Static(_));
        assert_eq!(
            Operation::depends_on_params(row.name),
            depends,
            "{}",
            row.name
        );
    }
}

#[test]
fn every_event_sent_passes_the_gate_its_row_says() {
    for row in Event::table() {
        if row.delivery == Delivery::Handshake {
            continue;
        }
        let found = match EventGate::of(row.name) {
            EventGate::Everyone => Some(None),
            EventGate::Scope(scope) => Some(Some(scope.as_str())),
            EventGate::Nobody => None,
        };
        assert_eq!(found, Some(stated(row.scope).0), "{}", row.name);
    }
}
