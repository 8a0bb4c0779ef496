//! What stubs answer.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::*;
use crate::protocol::methods::Method;
use crate::protocol::{ErrorBody, decode_params};

/// Answers at 7 ms.
struct Answering<'a> {
    stub: Stub,
    params: &'a RawValue,
}

impl Visit for Answering<'_> {
    type Output = Result<Value, ErrorBody>;

    fn visit<P, R>(self) -> Self::Output
    where
        P: DeserializeOwned + JsonSchema + 'static,
        R: Answer<P>,
    {
        let params: P = decode_params(self.stub.name(), Some(self.params))?;
        Ok(serde_json::to_value(R::answer(&params, 7)).unwrap())
    }
}

fn reply(stub: Stub, params: &Value) -> Result<Value, ErrorBody> {
    let params = RawValue::from_string(params.to_string()).unwrap();
    stub.visit(Answering {
        stub,
        params: &params,
    })
}

fn check(stub: Stub, params: &Value, expected: &Value) {
    assert_eq!(&reply(stub, params).unwrap(), expected, "{stub:?}");
}

#[test]
fn what_is_not_there_is_answered_as_none() {
    let none = json!({});
    check(Stub::QuestionList, &none, &json!({"questions": []}));
    check(Stub::ExecApprovalList, &none, &json!([]));
    check(Stub::PluginApprovalList, &none, &json!([]));
    check(Stub::OpenclawApprovalList, &none, &json!([]));
    check(
        Stub::TaskSuggestionsList,
        &none,
        &json!({"suggestions": []}),
    );
    check(
        Stub::TasksList,
        &json!({"status": ["running", "timed_out"], "limit": 500}),
        &json!({"tasks": []}),
    );
    check(
        Stub::CronStatus,
        &none,
        &json!({"enabled": false, "jobs": 0, "storePath": "", "nextWakeAtMs": null}),
    );
    check(Stub::GroupsList, &none, &json!({"groups": []}));
    check(
        Stub::BranchesList,
        &json!({"sessionKey": "main"}),
        &json!({"branches": []}),
    );
    check(Stub::ProjectsList, &none, &json!({"projects": []}));
    check(
        Stub::SkillsStatus,
        &none,
        &json!({"workspaceDir": "", "managedSkillsDir": "", "skills": []}),
    );
    check(Stub::NodeList, &none, &json!({"ts": 7, "nodes": []}));
    check(
        Stub::UsageStatus,
        &none,
        &json!({"updatedAt": 7, "providers": []}),
    );
    let totals = json!({
        "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0, "totalTokens": 0,
        "totalCost": 0, "inputCost": 0, "outputCost": 0, "cacheReadCost": 0,
        "cacheWriteCost": 0, "missingCostEntries": 0,
    });
    check(
        Stub::UsageCost,
        &none,
        &json!({"updatedAt": 7, "days": 0, "daily": [], "totals": totals}),
    );
    let messages = json!({
        "total": 0, "user": 0, "assistant": 0, "toolCalls": 0, "toolResults": 0, "errors": 0,
    });
    let tools = json!({"totalCalls": 0, "uniqueTools": 0, "tools": []});
    let aggregates = json!({
        "messages": messages, "tools": tools, "byModel": [], "byProvider": [], "byAgent": [],
        "byChannel": [], "daily": [],
    });
    check(
        Stub::SessionsUsage,
        &json!({"startDate": "2026-01-01", "mode": "utc", "groupBy": "family", "limit": 5}),
        &json!({"updatedAt": 7, "startDate": "", "endDate": "", "sessions": [],
            "totals": totals, "aggregates": aggregates}),
    );
    check(Stub::LastHeartbeat, &none, &Value::Null);
    check(
        Stub::UpdateStatus,
        &none,
        &json!({"sentinel": null, "updateAvailable": null}),
    );
}

#[test]
fn an_update_is_not_made() {
    let skipped = json!({
        "status": "skipped", "mode": "unknown", "reason": "not-supported",
        "steps": [], "durationMs": 0,
    });
    check(
        Stub::UpdateRun,
        &json!({}),
        &json!({"ok": false, "result": skipped, "restart": null, "sentinel": null}),
    );
}

#[test]
fn a_page_of_no_jobs_is_the_page_that_was_asked_for() {
    let page = |offset: u64, limit: u64| {
        json!({
            "jobs": [], "snapshotRevision": "empty", "total": 0, "offset": offset, "limit": limit,
            "hasMore": false, "nextOffset": null,
        })
    };
    check(Stub::CronList, &json!({}), &page(0, 50));
    let asked = json!({
        "agentId": "main", "includeDisabled": true, "includeDeliveryPreviews": false,
        "compact": true, "limit": 20, "offset": 40, "enabled": "all", "sortBy": "nextRunAtMs",
        "sortDir": "asc", "scheduleKind": "on-exit", "lastRunStatus": "ok",
        "trigger": "conditional", "query": "",
    });
    check(Stub::CronList, &asked, &page(40, 20));
}

#[test]
fn params_that_break_their_form_are_refused() {
    for (stub, params, expected) in [
        (
            Stub::CronList,
            json!({"limit": 201}),
            "invalid cron.list params: at /limit: must be <= 200",
        ),
        (
            Stub::BranchesList,
            json!({}),
            "invalid sessions.branches.list params: must have required property 'sessionKey'",
        ),
        (
            Stub::UsageStatus,
            json!([]),
            "invalid usage.status params: must be object",
        ),
    ] {
        let refusal = reply(stub, &params).unwrap_err();
        assert_eq!(refusal.message, expected, "{stub:?}");
    }
}

#[test]
fn every_stub_method_is_in_the_table_of_methods() {
    for stub in Stub::ALL {
        let row = Method::find(stub.name()).unwrap();
        assert_eq!(row.method, Method::Stub(*stub));
        assert_eq!(row.scope, stub.scope());
    }
}

#[test]
fn what_people_and_machines_lack_is_answered_as_none() {
    let none = json!({});
    let agent = json!({"agentId": "main", "sessionKey": "main", "selectedScope": "agent"});
    check(Stub::UsersList, &none, &json!({"profiles": []}));
    check(Stub::WorktreesList, &none, &json!({"worktrees": []}));
    check(
        Stub::NodePairList,
        &none,
        &json!({"pending": [], "paired": []}),
    );
    check(Stub::ProgressCardGet, &agent, &json!({"card": null}));
    check(Stub::CompanionState, &agent, &json!({"exchanges": []}));
    check(Stub::ApprovalHistory, &none, &json!({"items": []}));
    check(Stub::SkillsSearch, &none, &json!({"results": []}));
    check(
        Stub::PluginsList,
        &none,
        &json!({"plugins": [], "diagnostics": [], "mutationAllowed": false}),
    );
    check(
        Stub::TranscriptsList,
        &none,
        &json!({"sessions": [], "nextCursor": null}),
    );
    check(
        Stub::CronRuns,
        &json!({"scope": "all", "limit": 20, "offset": 40}),
        &json!({"entries": [], "total": 0, "offset": 40, "limit": 20, "hasMore": false,
            "nextOffset": null}),
    );
    check(
        Stub::MemoryPlan,
        &agent,
        &json!({"agentId": "main", "workspace": "", "providers": []}),
    );
    let memory = reply(Stub::MemoryStatus, &agent).unwrap();
    assert_eq!(
        (&memory["agentId"], &memory["embedding"]["ok"]),
        (&json!("main"), &json!(false))
    );
    let github = reply(Stub::GithubStatus, &agent).unwrap();
    assert_eq!(
        github["selected"],
        json!({"scope": "agent", "configured": false, "identity": null})
    );
    let rules = reply(Stub::ExecApprovalsGet, &none).unwrap();
    assert_eq!(
        (&rules["exists"], &rules["file"]["defaults"]["security"]),
        (&json!(false), &json!("deny"))
    );
}
