//! `sessions.*`: lists, changes and subscriptions (`protocol-facts` §6.6–6.8).

use serde_json::value::RawValue;

use crate::dispatch::{
    DispatchError, FoundMessage, MessageSearch, SessionDelete, SessionList, SessionName,
    SessionReset, SessionTexts,
};
use crate::events::ChangeReason;
use crate::ids::SessionKey;
use crate::protocol::events::Event as Kind;
use crate::protocol::methods::sessions::{
    MessagesSubscribeParams, MessagesUnsubscribeParams, PageOf, PreviewStatus, ResetReason,
    ResolveCandidate, SEARCH_LIMIT_DEFAULT, SearchHit, SearchRole, SessionEntryResult,
    SessionPreview, SessionRef, SessionsDeleteParams, SessionsDeleteResult, SessionsDescribeParams,
    SessionsDescribeResult, SessionsListParams, SessionsListResult, SessionsPatchParams,
    SessionsPreviewParams, SessionsPreviewResult, SessionsResetParams, SessionsResolveParams,
    SessionsResolveResult, SessionsSearchParams, SessionsSearchResult, SubscribeResult, slug_of,
};
use crate::protocol::params::Patch;
use crate::protocol::row::SessionEntry;
use crate::protocol::{Bounded, ErrorBody};
use crate::run::EntryBody;
use crate::session::{SessionPatch, SessionRecord};
use crate::transport::ws::connection::Open;
use crate::transport::ws::interest::Scope;
use crate::transport::ws::rows;
use crate::transport::ws::runs::Watch;
use crate::transport::ws::viewer::SESSIONS_MAX;

use super::system::as_usize;
use super::{Call, Served, short};

/// Sessions among which one is looked for by the name that links show.
const SLUGS_MAX: u32 = 200;

pub(super) fn list(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: SessionsListParams = call.params(params)?;
    let call = call.clone();
    Ok(call.clone().large(
        open,
        async move { call.answer(read_list(&call, params).await) },
    ))
}

async fn read_list(
    call: &Call,
    params: SessionsListParams,
) -> Result<SessionsListResult, DispatchError> {
    let native = &call.native;
    let limit = params.limit_applied();
    let offset = params.offset.unwrap_or(0);
    let matches_nothing = params.matches_nothing();
    let agents = native.dispatch.agents();
    let agent = match &params.agent_id {
        Some(id) => crate::ids::AgentId::parse(id).ok(),
        None => agents.default_agent().ok(),
    };
    let defaults = rows::defaults(native, agent.and_then(|id| agents.get(&id)).as_deref());
    let list = list_of(params);
    let found = native
        .dispatch
        .sessions_list(&call.peer.caller, list)
        .await?;
    let (views, total) = if matches_nothing {
        (Vec::new(), 0)
    } else {
        (found.sessions, found.total)
    };
    let rows = views.iter().map(|view| rows::row(native, view)).collect();
    let page = PageOf {
        total,
        limit,
        offset,
    };
    let mut result = SessionsListResult::new(native.clock.now_ms(), page, defaults, rows);
    if call.peer.is_admin() {
        let place = native.dispatch.config().state_dir();
        place.as_ref().clone_into(&mut result.path);
    }
    Ok(result)
}

/// The list that is asked for.
fn list_of(params: SessionsListParams) -> SessionList {
    SessionList {
        archived: params.archived(),
        limit: u32::try_from(params.limit_applied()).unwrap_or(u32::MAX),
        agent_id: params.agent_id,
        active_minutes: params.active_minutes.map(Bounded::get),
        label: params.label.map(|label| label.to_string()),
        search: params.search,
        pinned: params.pinned,
        active_only: params.active_only.unwrap_or(false),
        offset: params.offset.unwrap_or(0),
        texts: SessionTexts {
            title: params.include_derived_titles.unwrap_or(false),
            last_message: params.include_last_message.unwrap_or(false),
        },
    }
}

pub(super) fn search(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: SessionsSearchParams = call.params(params)?;
    let call = call.clone();
    Ok(call.clone().large(open, async move {
        let found = find_messages(&call, params).await;
        call.answer(found)
    }))
}

async fn find_messages(
    call: &Call,
    params: SessionsSearchParams,
) -> Result<SessionsSearchResult, DispatchError> {
    let native = &call.native;
    let mut result = SessionsSearchResult {
        results: Vec::new(),
        sessions: Vec::new(),
        truncated: false,
    };
    let scope = params.scope.unwrap_or_default();
    let agent_id = params.agent_id.map(|id| id.to_string());
    let names_two = match (&agent_id, &scope.agent_id) {
        (Some(one), Some(other)) => one != other,
        (None, _) | (_, None) => false,
    };
    if names_two || scope.matches_nothing() {
        return Ok(result);
    }
    let scope = list_of(scope);
    let search = MessageSearch {
        list: SessionList {
            agent_id: agent_id.or(scope.agent_id),
            offset: 0,
            texts: SessionTexts::default(),
            ..scope
        },
        keys: params.session_keys.map(|keys| {
            keys.as_slice()
                .iter()
                .map(|key| (**key).to_owned())
                .collect()
        }),
        text: params.query.to_string(),
        limit: as_usize(params.limit.map_or(SEARCH_LIMIT_DEFAULT, Bounded::get)),
    };
    let found = native
        .dispatch
        .sessions_search(&call.peer.caller, search)
        .await?;
    result.truncated = found.is_truncated;
    for (view, messages) in &found.sessions {
        result.sessions.push(rows::row(native, view));
        let hits = messages.iter().map(|it| hit(&view.record, it));
        result.results.extend(hits);
    }
    Ok(result)
}

fn hit(session: &SessionRecord, found: &FoundMessage) -> SearchHit {
    SearchHit {
        session_key: session.key.as_str().to_owned(),
        session_id: session.session_id.to_string(),
        message_id: found.entry.id.to_string(),
        role: match &found.entry.body {
            EntryBody::User { .. } => SearchRole::User,
            EntryBody::Assistant { .. }
            | EntryBody::Tool { .. }
            | EntryBody::ToolResult { .. }
            | EntryBody::Injected { .. }
            | EntryBody::Command { .. }
            | EntryBody::Compaction { .. } => SearchRole::Assistant,
        },
        timestamp: found.entry.at_ms,
        snippet: found.snippet.clone(),
        score: u64::try_from(found.count).unwrap_or(u64::MAX),
    }
}

pub(super) fn describe(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: SessionsDescribeParams = call.params(params)?;
    let texts = SessionTexts {
        title: params.include_derived_titles.unwrap_or(false),
        last_message: params.include_last_message.unwrap_or(false),
    };
    let call = call.clone();
    Ok(call.clone().large(open, async move {
        let native = &call.native;
        let found = native
            .dispatch
            .session(
                &call.peer.caller,
                params.key.as_str(),
                params.agent_id.as_deref(),
                texts,
            )
            .await;
        call.answer(found.map(|view| SessionsDescribeResult {
            session: view.map(|view| rows::row(native, &view)),
        }))
    }))
}

pub(super) fn preview(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: SessionsPreviewParams = call.params(params)?;
    let call = call.clone();
    Ok(call.clone().large(open, async move {
        let mut previews = Vec::new();
        for key in params.sessions() {
            previews.push(preview_of(&call, key, &params).await);
        }
        let ts = call.native.clock.now_ms();
        call.ok(&SessionsPreviewResult { ts, previews })
    }))
}

async fn preview_of(call: &Call, key: String, params: &SessionsPreviewParams) -> SessionPreview {
    let dispatch = &call.native.dispatch;
    let limit = params.items_max();
    let found = dispatch.sessions_preview(&call.peer.caller, &key, limit);
    match found.await {
        Ok(Some(entries)) => SessionPreview::of(key, &entries, params.chars_max()),
        Ok(None) => SessionPreview::without(key, PreviewStatus::Missing),
        Err(error) => {
            tracing::warn!(session = key, %error, "a session could not be previewed");
            SessionPreview::without(key, PreviewStatus::Error)
        }
    }
}

pub(super) fn resolve(call: &Call, params: Option<&RawValue>) -> Result<Served, ErrorBody> {
    let params: SessionsResolveParams = call.params(params)?;
    params.name().map_err(|refusal| call.invalid(refusal))?;
    let call = call.clone();
    Ok(short(async move {
        match find(&call, &params).await {
            Ok(result) if call.is_v3() => call.ok(&result.for_v3()),
            Ok(result) => call.ok(&result),
            Err(error) => call.refuse(&error),
        }
    }))
}

pub(super) async fn find(
    call: &Call,
    params: &SessionsResolveParams,
) -> Result<SessionsResolveResult, ErrorBody> {
    let name = params.name().map_err(|refusal| call.invalid(refusal))?;
    let agent = params.agent_id.as_deref();
    let dispatch = &call.native.dispatch;
    let exactly = |name| dispatch.sessions_resolve(&call.peer.caller, name, agent);
    let found = match name {
        SessionRef::Key(key) => exactly(SessionName::Key(key.to_owned())).await,
        SessionRef::Id(id) => exactly(SessionName::Id(id.to_owned())).await,
        SessionRef::Label(label) => exactly(SessionName::Label(label.to_owned())).await,
        SessionRef::ShortId(digits) => find_short(call, digits, agent).await,
        SessionRef::Reference(reference) => {
            let exact = exactly(SessionName::Key(reference.key.clone())).await;
            // A name without a letter of ASCII is shown as nothing: it tells nobody apart.
            let slug = reference.slug.as_deref().filter(|slug| !slug.is_empty());
            match (exact, slug) {
                (Ok(exact), Some(slug)) if exact.is_empty() => find_slug(call, slug, agent).await,
                (exact, _) => exact,
            }
        }
    };
    let mut found = found.map_err(|error| call.error(&error))?;
    if params.spawned_by.is_some() {
        found.clear();
    }
    let may_miss = params.allow_missing.unwrap_or(false);
    match found.as_slice() {
        [one] => Ok(SessionsResolveResult {
            ok: true,
            key: Some(one.key.as_str().to_owned()),
            agent_id: Some(one.agent.as_str().to_owned()),
            candidates: Vec::new(),
        }),
        [] if may_miss => Ok(SessionsResolveResult::default()),
        [] => Err(call.invalid(name.not_found())),
        several if may_miss => Ok(SessionsResolveResult {
            candidates: several
                .iter()
                .take(ResolveCandidate::MAX)
                .map(candidate)
                .collect(),
            ..SessionsResolveResult::default()
        }),
        several => {
            let keys: Vec<_> = several.iter().map(|record| record.key.as_str()).collect();
            Err(call.invalid(name.ambiguous(&keys)))
        }
    }
}

/// Sessions whose key ends in an id and whose name is shown like this in links, among the newest.
async fn find_slug(
    call: &Call,
    slug: &str,
    agent: Option<&str>,
) -> Result<Vec<SessionRecord>, DispatchError> {
    let list = SessionList {
        agent_id: agent.map(str::to_owned),
        limit: SLUGS_MAX,
        texts: SessionTexts {
            title: true,
            last_message: false,
        },
        ..SessionList::default()
    };
    let dispatch = &call.native.dispatch;
    let page = dispatch.sessions_list(&call.peer.caller, list).await?;
    let named = page.sessions.into_iter().filter(|view| {
        let row = rows::row(&call.native, view);
        let names = [row.label, row.display_name, row.derived_title];
        let mut names = names.iter().flatten();
        last_id(&view.record).is_some() && names.any(|name| slug_of(name) == slug)
    });
    Ok(named.map(|view| view.record).collect())
}

/// The id a session's key ends in, without strokes.
fn last_id(record: &SessionRecord) -> Option<String> {
    let last = record.key.as_str().rsplit(':').next()?;
    let id = uuid::Uuid::try_parse(last).ok()?;
    Some(id.simple().to_string())
}

/// Sessions whose transcript id, or the id at the end of whose key, begins with these digits.
async fn find_short(
    call: &Call,
    digits: &str,
    agent: Option<&str>,
) -> Result<Vec<SessionRecord>, DispatchError> {
    let digits = digits.to_ascii_lowercase();
    // Ids are written in groups; the first group is searched for and the rest compared.
    let list = SessionList {
        agent_id: agent.map(str::to_owned),
        search: digits.get(..8).map(str::to_owned),
        limit: 100,
        ..SessionList::default()
    };
    let dispatch = &call.native.dispatch;
    let page = dispatch.sessions_list(&call.peer.caller, list).await?;
    let records = page.sessions.into_iter().map(|view| view.record);
    Ok(records
        .filter(|record| {
            let id = record.session_id.as_uuid().simple().to_string();
            id.starts_with(&digits) || last_id(record).is_some_and(|id| id.starts_with(&digits))
        })
        .collect())
}

fn candidate(record: &SessionRecord) -> ResolveCandidate {
    ResolveCandidate {
        key: record.key.as_str().to_owned(),
        agent_id: record.agent.as_str().to_owned(),
    }
}

pub(super) fn reset(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: SessionsResetParams = call.params(params)?;
    let turn = open.requests.turn(&params.key);
    let request = SessionReset {
        session_key: params.key.to_string(),
        agent_id: params.agent_id,
        reason: match params.reason.unwrap_or_default() {
            ResetReason::New => ChangeReason::New,
            ResetReason::Reset => ChangeReason::Reset,
        },
        expected_session_id: params.expected_session_id,
    };
    let call = call.clone();
    Ok(call.clone().change(turn, async move {
        let dispatch = &call.native.dispatch;
        let record = dispatch.sessions_reset(&call.peer.caller, request).await;
        call.answer(record.map(|record| entry(&call, &record)))
    }))
}

pub(super) fn delete(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: SessionsDeleteParams = call.params(params)?;
    let turn = open.requests.turn(&params.key);
    let call = call.clone();
    Ok(call.clone().change(turn, async move {
        let deleted = carry_out_delete(&call, params).await;
        call.answer(deleted.map(|(key, deleted)| SessionsDeleteResult::new(&key, deleted)))
    }))
}

async fn carry_out_delete(
    call: &Call,
    params: SessionsDeleteParams,
) -> Result<(SessionKey, bool), DispatchError> {
    let dispatch = &call.native.dispatch;
    let (key, _agent) = dispatch.resolve_key(&params.key, params.agent_id.as_deref())?;
    let request = SessionDelete {
        session_key: params.key.to_string(),
        agent_id: params.agent_id,
        expected_session_id: params.expected_session_id,
        archived_only: params.archived_only == Some(true),
    };
    let gone = dispatch.sessions_delete(&call.peer.caller, request).await?;
    Ok((key, gone.is_some()))
}

pub(super) fn patch(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: SessionsPatchParams = call.params(params)?;
    if let Some(refusal) = params.refusal() {
        return Err(call.invalid(refusal));
    }
    let turn = open.requests.turn(&params.key);
    let patch = SessionPatch {
        label: match &params.label {
            Patch::Keep => None,
            Patch::Clear => Some(None),
            Patch::Set(label) => Some(Some(label.clone())),
        },
        settings: params.settings(),
    };
    let call = call.clone();
    Ok(call.clone().change(turn, async move {
        let dispatch = &call.native.dispatch;
        let agent = params.agent_id.as_deref();
        let caller = &call.peer.caller;
        let record = dispatch
            .sessions_patch(caller, &params.key, agent, patch)
            .await;
        let place = dispatch.config().state_dir();
        let shown = if call.peer.is_admin() { &*place } else { "" };
        call.answer(record.map(|record| entry(&call, &record).with_path(shown)))
    }))
}

/// The session as the answers of changes show it.
pub(super) fn entry(call: &Call, record: &SessionRecord) -> SessionEntryResult {
    let model = rows::model_of(&call.native, &record.agent, Some(record));
    let facts = rows::record_facts(record);
    let entry = SessionEntry::new(&record.key, &facts, model.as_ref());
    SessionEntryResult::new(&record.key, entry, model.as_ref())
}

pub(super) fn subscribe(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: SessionsListParams = call.params(params)?;
    open.viewer.follow_list();
    if !open
        .follows
        .iter()
        .any(|follow| *follow.scope() == Scope::Everything)
    {
        let follow = call.native.followers.follow(Scope::Everything);
        open.follows.push(follow);
    }
    if params.is_empty() {
        return Ok(Served::Now(call.ok(&SubscribeResult::sessions(None))));
    }
    let call = call.clone();
    Ok(short(async move {
        let list = read_list(&call, params).await;
        call.answer(list.map(|list| SubscribeResult::sessions(Some(list))))
    }))
}

pub(super) fn subscribe_messages(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: MessagesSubscribeParams = call.params(params)?;
    let key = session_of(call, &params.key, params.agent_id.as_deref())?;
    let is_new = open.viewer.follow(&key).map_err(|_too_many| {
        let text = format!("a connection can follow at most {SESSIONS_MAX} sessions");
        call.invalid(text)
    })?;
    if is_new {
        let scope = Scope::Session(key.clone());
        open.follows
            .push(call.native.followers.follow(scope.clone()));
        if open.viewer.may_see(Kind::Chat) && !open.viewer.follows_every_run() {
            open.watches.push(Watch::new(&call.native, scope));
        }
    }
    Ok(Served::Now(call.ok(&SubscribeResult::messages(&key, true))))
}

pub(super) fn unsubscribe_messages(
    call: &Call,
    open: &mut Open,
    params: Option<&RawValue>,
) -> Result<Served, ErrorBody> {
    let params: MessagesUnsubscribeParams = call.params(params)?;
    let key = session_of(call, &params.key, params.agent_id.as_deref())?;
    if open.viewer.unfollow(&key) {
        let scope = Scope::Session(key.clone());
        open.follows.retain(|follow| *follow.scope() != scope);
        open.watches.retain(|watch| *watch.scope() != scope);
    }
    Ok(Served::Now(
        call.ok(&SubscribeResult::messages(&key, false)),
    ))
}

fn session_of(call: &Call, key: &str, agent: Option<&str>) -> Result<SessionKey, ErrorBody> {
    let resolved = call.native.dispatch.resolve_key(key, agent);
    let (key, _agent) = resolved.map_err(|error| call.error(&error))?;
    Ok(key)
}
