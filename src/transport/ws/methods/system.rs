//! `health`, `status`, `system-presence`, `system.info`, `logs.tail` and `config.get`
//! (`protocol-facts` §6.2, §6.10).

use std::sync::Arc;

use serde_json::value::RawValue;

use crate::dispatch::{DispatchError, LogTailQuery, SessionList, SessionView};
use crate::protocol::methods::config::{
    ConfigGetParams, ConfigGetResult, ConfigIssue, ConfigParts,
};
use crate::protocol::methods::system::{
    HealthParams, LOG_BYTES_DEFAULT, LOG_LINES_DEFAULT, LogsTailParams, LogsTailResult,
    ProcessMemory, StatusAgentSessions, StatusDefaults, StatusHeartbeat, StatusHeartbeatAgent,
    StatusParams, StatusResult, StatusRow, StatusRuns, StatusSessions, SystemInfoParams,
    SystemInfoResult, SystemPresenceParams, SystemPresenceResult,
};
use crate::protocol::row::SessionKind;
use crate::protocol::{Bounded, ErrorBody};
use crate::transport::ws::native::{Health, as_ms};
use crate::transport::ws::{rows, watch};
use crate::version::PROGRAM;

use super::machine::Machine;
use super::{Call, Served, short};

/// Sessions per agent in `status`.
const RECENT_MAX: u32 = 10;

pub(super) fn health(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: HealthParams = call.params(params)?;
    let health = call.native.health.read();
    // Right after the start there is no snapshot yet.
    if params.probe != Some(true) && health.full.get() != "{}" {
        return Ok(Served::Now(call.ok(form(call, &health))));
    }
    drop(health);
    let call = call.clone();
    Ok(short(async move {
        match watch::take_health(&call.native).await {
            Ok(health) => call.ok(form(&call, &health)),
            Err(error) => call.refuse(&call.error(&error)),
        }
    }))
}

/// The form of a snapshot this caller may see.
fn form<'a>(call: &Call, health: &'a Health) -> &'a Arc<RawValue> {
    if call.peer.is_admin() {
        &health.full
    } else {
        &health.public
    }
}

pub(super) fn status(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let _params: StatusParams = call.params(params)?;
    let call = call.clone();
    Ok(short(async move { call.answer(read_status(&call).await) }))
}

async fn read_status(call: &Call) -> Result<StatusResult, DispatchError> {
    let native = &call.native;
    let report = native.dispatch.status().await?;
    let agents = native.dispatch.agents().list();
    let default = native.dispatch.agents().default_agent().ok();
    let mut by_agent = Vec::new();
    let mut recent = Vec::new();
    for entry in &agents {
        let list = SessionList {
            agent_id: Some(entry.id.as_str().to_owned()),
            limit: RECENT_MAX,
            ..SessionList::default()
        };
        let page = native.dispatch.sessions_list(&native.itself, list).await?;
        let rows: Vec<_> = page.sessions.iter().map(|view| row(call, view)).collect();
        recent.extend(rows.iter().cloned());
        by_agent.push(StatusAgentSessions {
            agent_id: entry.id.as_str().to_owned(),
            path: native.dispatch.config().state_dir().as_ref().to_owned(),
            count: page.total,
            recent: rows,
        });
    }
    recent.sort_by_key(|row: &StatusRow| std::cmp::Reverse(row.updated_at));
    recent.truncate(usize::try_from(RECENT_MAX).unwrap_or(usize::MAX));
    let first = default
        .as_ref()
        .and_then(|id| agents.iter().find(|entry| entry.id == *id));
    let model = first.and_then(|entry| rows::first_model(entry));
    let result = StatusResult {
        runtime_version: PROGRAM.to_owned(),
        heartbeat: StatusHeartbeat {
            default_agent_id: default.map_or_else(String::new, |id| id.as_str().to_owned()),
            agents: agents
                .iter()
                .map(|entry| StatusHeartbeatAgent::disabled(entry.id.as_str()))
                .collect(),
        },
        channel_summary: Vec::new(),
        queued_system_events: Vec::new(),
        sessions: StatusSessions {
            paths: vec![native.dispatch.config().state_dir().as_ref().to_owned()],
            count: report.sessions,
            defaults: StatusDefaults {
                model: model.as_ref().map(|model| model.model.as_ref().to_owned()),
                context_tokens: rows::context_tokens(native, model.as_ref()),
            },
            recent,
            by_agent,
        },
        runs: StatusRuns {
            active: report.active,
            waiting: report.waiting,
            lanes: report.lanes,
            oldest_wait_ms: as_ms(report.oldest_wait),
            waited_ms: as_ms(report.waited),
        },
        uptime_ms: as_ms(report.uptime),
        pid: std::process::id(),
    };
    Ok(if call.peer.is_admin() {
        result
    } else {
        result.for_public()
    })
}

fn row(call: &Call, view: &SessionView) -> StatusRow {
    let native = &call.native;
    let record = &view.record;
    let model = rows::model_of(native, &record.agent, Some(record));
    let context_tokens = rows::context_tokens(native, model.as_ref());
    let last = record.last_run.as_ref();
    let total_tokens = last
        .and_then(|last| last.terminal.usage)
        .map(|usage| usage.input);
    StatusRow {
        agent_id: Some(record.agent.as_str().to_owned()),
        key: record.key.as_str().to_owned(),
        kind: SessionKind::of(&record.key).as_str().to_owned(),
        session_id: Some(record.session_id.to_string()),
        updated_at: Some(record.updated_at_ms),
        age: Some(native.clock.now_ms().saturating_sub(record.updated_at_ms)),
        aborted_last_run: None,
        model: model.map(|model| model.model.as_ref().to_owned()),
        context_tokens,
        total_tokens,
        remaining_tokens: context_tokens
            .zip(total_tokens)
            .map(|(context, total)| context.saturating_sub(total)),
        percent_used: context_tokens
            .zip(total_tokens)
            .and_then(|(context, total)| total.saturating_mul(100).checked_div(context)),
        flags: Vec::new(),
    }
}

pub(super) fn presence(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let _params: SystemPresenceParams = call.params(params)?;
    let (entries, _version) = call.native.presence.list();
    Ok(Served::Now(call.ok(&SystemPresenceResult(entries))))
}

pub(super) fn info(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let _params: SystemInfoParams = call.params(params)?;
    let native = &call.native;
    let machine = Machine::read();
    let memory = machine.process_bytes.map(|bytes| ProcessMemory {
        rss_bytes: bytes,
        heap_used_bytes: bytes,
        heap_total_bytes: bytes,
    });
    Ok(Served::Now(call.ok(&SystemInfoResult {
        machine_name: machine.hostname.clone(),
        os_label: format!("{} {}", machine.platform, machine.release),
        hostname: machine.hostname,
        platform: machine.platform.to_owned(),
        release: machine.release,
        arch: machine.arch.to_owned(),
        node_version: PROGRAM.to_owned(),
        pid: std::process::id(),
        process_instance_id: native.boot_id.as_ref().to_owned(),
        uptime_ms: as_ms(native.started.elapsed()),
        cpu_count: machine.cpus,
        load_average: machine.load,
        memory_total_bytes: machine.memory_bytes,
        memory_free_bytes: machine.memory_free_bytes,
        process_memory: memory,
    })))
}

pub(super) fn logs_tail(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: LogsTailParams = call.params(params)?;
    let tail = call.native.dispatch.log_tail(LogTailQuery {
        cursor: params.cursor,
        lines_max: as_usize(params.limit.map_or(LOG_LINES_DEFAULT, Bounded::get)),
        bytes_max: as_usize(params.max_bytes.map_or(LOG_BYTES_DEFAULT, Bounded::get)),
    });
    Ok(Served::Now(call.ok(&LogsTailResult {
        file: tail.file.as_ref().to_owned(),
        cursor: tail.cursor,
        size: tail.size,
        lines: tail.lines,
        truncated: tail.truncated,
        reset: tail.reset,
    })))
}

pub(super) fn config_get(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let _params: ConfigGetParams = call.params(params)?;
    let shown = call.native.dispatch.config().snapshot();
    let warnings = shown.warnings.iter().map(|(path, message)| ConfigIssue {
        path: path.as_ref().to_owned(),
        message: message.as_ref().to_owned(),
    });
    let result = ConfigGetResult::from(ConfigParts {
        path: shown.path.as_ref().to_owned(),
        exists: shown.exists,
        raw: shown.raw.as_deref().map(str::to_owned),
        warnings: warnings.collect(),
        parsed: shown.parsed,
        effective: shown.effective,
        hash: shown.hash.as_ref().to_owned(),
    });
    Ok(Served::Now(call.ok(&result)))
}

pub(super) fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
