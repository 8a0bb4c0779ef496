//! `POST /v1/chat/completions`: from a checked request to an answer, whole or streamed.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::try_join_all;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use sha2::{Digest, Sha256};

use crate::auth::{Operation, Principal};
use crate::dispatch::{
    Admitted, AgentChoice, Caller, ChatCompletion, EndedRun, HttpSession, Started,
};
use crate::error::ErrorCode;
use crate::events::{Item, Log, Record, Subscription};
use crate::ids::WireId;
use crate::openai::{
    Answer, ApiError, ChatRequest, Draft, FetchedImages, ModelTarget, ReplyHead, RequestError,
    Stream, StreamOptions, message_channel, model_override,
};
use crate::run::{Event, OnDisconnect, Turn};

use super::body::Body;
use super::guard::RunGuard;
use super::respond::{self, Refused};
use super::service::HttpFront;
use super::sse_body::{Frames, SseBody};
use super::timing::{self, Timing};

static X_OPENCLAW_RUN_ID: HeaderName = HeaderName::from_static("x-openclaw-run-id");

const AGENT_ID: &str = "x-openclaw-agent-id";
const AGENT: &str = "x-openclaw-agent";
const SESSION_KEY: &str = "x-openclaw-session-key";
const MODEL: &str = "x-openclaw-model";
const CHANNEL: &str = "x-openclaw-message-channel";
const ON_DISCONNECT: &str = "x-openclaw-on-disconnect";
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const OPEN_WEBUI_CHAT: &str = "x-openwebui-chat-id";

/// A call whose caller is authenticated.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) front: &'a HttpFront,
    pub(super) headers: &'a HeaderMap,
    pub(super) principal: Principal,
}

/// A call that was found to be right.
#[derive(Debug)]
struct Checked {
    caller: Caller,
    completion: ChatCompletion,
    model: String,
    delivery: Delivery,
}

/// How the answer is sent.
#[derive(Clone, Copy, Debug)]
struct Delivery {
    is_stream: bool,
    /// Whether a stream may end with a trailer.
    takes_trailers: bool,
    options: StreamOptions,
}

impl Call<'_> {
    /// Checks the request, runs it and answers.
    pub(super) async fn answer(self, body: Bytes) -> Result<Response<Body>, Refused> {
        let checked = self.check(&body).await?;
        // A large body must not be kept while its run goes on.
        drop(body);
        let Checked {
            caller,
            completion,
            model,
            delivery,
        } = checked;
        // The caller may go at any time from here on, also before it is known that a run began.
        let mut guard = match completion.on_disconnect {
            OnDisconnect::CancelRun => self.front.guard(completion.wire_id.clone()),
            OnDisconnect::Continue => RunGuard::none(),
        };
        let dispatch = self.front.dispatch();
        let started = dispatch.chat_completion(&caller, completion).await;
        if !matches!(started, Ok(Started::New(_))) {
            // No run of ours: it was refused, or another one answers.
            guard.release();
        }
        self.deliver(started?, model, delivery, guard).await
    }

    /// Looks at everything in the documented order (`http-facts` §1.4).
    async fn check(&self, body: &[u8]) -> Result<Checked, Refused> {
        let draft = Draft::read(body)?;
        let mut caller = Caller {
            principal: self.principal.clone(),
            connection: None,
            user: None,
        };
        let dispatch = self.front.dispatch();
        let asked_model = text(self.headers, MODEL)?;
        if asked_model.is_some() {
            dispatch.require(&caller, Operation::ModelOverride)?;
        }
        let request = draft.check()?;
        let agent = self.agent(&request)?;
        let session = self.session(&request)?;
        dispatch.check_target(&agent, &session)?;
        let override_model = asked_model.map(model_override).transpose()?;
        let channel = text(self.headers, CHANNEL)?.map(message_channel);
        let delivery = Delivery {
            is_stream: request.is_stream(),
            takes_trailers: timing::takes_trailers(self.headers),
            options: StreamOptions {
                include_usage: request.includes_usage(),
                show_reasoning: false,
            },
        };
        let model = request.model().to_owned();
        caller.user = request.user().map(str::to_owned);
        let fetched = self.fetch_images(&request).await?;
        let turn = Turn {
            model: override_model,
            channel: channel.transpose()?,
            ..request.into_turn_with(&fetched)?
        };
        let idempotency_key = text(self.headers, IDEMPOTENCY_KEY)?;
        let completion = ChatCompletion {
            wire_id: self.front.mint_wire_id()?,
            agent,
            session,
            turn,
            on_disconnect: self.on_disconnect(),
            fingerprint: self.fingerprint(body, idempotency_key.is_some()),
            idempotency_key: idempotency_key.map(str::to_owned),
        };
        Ok(Checked {
            caller,
            completion,
            model,
            delivery,
        })
    }

    /// Fetches the images a request only names, where that is allowed.
    async fn fetch_images(&self, request: &ChatRequest<'_>) -> Result<FetchedImages, Refused> {
        let Some(fetcher) = self.front.image_fetcher() else {
            return Ok(FetchedImages::new());
        };
        let fetching = request.remote_images().into_iter().map(async |url| {
            let file = fetcher.fetch(url).await.map_err(|error| {
                tracing::debug!(%error, "an image was not fetched");
                Refused::from(RequestError::Image)
            })?;
            Ok((url.to_owned(), file))
        });
        try_join_all(fetching).await.map(FetchedImages::from_iter)
    }

    /// The agent: the header wins, but a `model` outside the grammar is refused even then.
    fn agent(&self, request: &ChatRequest<'_>) -> Result<AgentChoice, Refused> {
        let by_model = match request.target() {
            ModelTarget::Default => AgentChoice::Default,
            ModelTarget::Agent(id) => AgentChoice::Named(id.as_str().to_owned()),
            ModelTarget::Other(model) => {
                let alias = self.front.dispatch().agents().alias(model);
                let id = alias.ok_or(RequestError::Model)?;
                AgentChoice::Named(id.as_str().to_owned())
            }
        };
        let header = match text(self.headers, AGENT_ID)? {
            Some(id) => Some(id),
            None => text(self.headers, AGENT)?,
        };
        Ok(header.map_or(by_model, |id| AgentChoice::Named(id.to_owned())))
    }

    fn session(&self, request: &ChatRequest<'_>) -> Result<HttpSession, Refused> {
        let key = text(self.headers, SESSION_KEY)?;
        let key = key.map(|key| HttpSession::Key(key.to_owned()));
        let user = request.user().map(str::to_owned);
        let chat = match text(self.headers, OPEN_WEBUI_CHAT)? {
            Some(id) if self.front.maps_open_webui_chats() => Some(format!("owui-{id}")),
            Some(_) | None => None,
        };
        let user = user.or(chat).map(HttpSession::User);
        Ok(key.or(user).unwrap_or(HttpSession::Fresh))
    }

    fn on_disconnect(&self) -> OnDisconnect {
        let header = self.headers.get(ON_DISCONNECT);
        match header {
            Some(value) if value.as_bytes().eq_ignore_ascii_case(b"continue") => {
                OnDisconnect::Continue
            }
            Some(_) | None => OnDisconnect::CancelRun,
        }
    }

    /// A digest of everything that decides what runs; only a call with a key needs it.
    fn fingerprint(&self, body: &[u8], needed: bool) -> [u8; 32] {
        if !needed {
            return [0; 32];
        }
        let mut digest = Sha256::new();
        for name in [
            AGENT_ID,
            AGENT,
            SESSION_KEY,
            MODEL,
            CHANNEL,
            OPEN_WEBUI_CHAT,
        ] {
            let value = self.headers.get(name).map(HeaderValue::as_bytes);
            digest.update(value.unwrap_or_default());
            digest.update([0]);
        }
        digest.update(body);
        digest.finalize().into()
    }

    async fn deliver(
        &self,
        started: Started,
        model: String,
        delivery: Delivery,
        guard: RunGuard,
    ) -> Result<Response<Body>, Refused> {
        match started {
            Started::New(admitted) => self.new_run(admitted, model, delivery, guard).await,
            Started::InFlight {
                wire_id,
                log: Some(log),
                ..
            } => {
                let head = head(&wire_id, log.info().accepted_at_ms, model);
                self.follow(log, head, delivery, RunGuard::none()).await
            }
            Started::InFlight { log: None, .. } => {
                Err(Refused::failed_run(ApiError::run_elsewhere()))
            }
            Started::Ended(run) => self.ended_run(run, model, delivery).await,
            // Only chat messages can be stop commands.
            Started::Stopped(_) => Err(ApiError::new(ErrorCode::Internal, "").into()),
        }
    }

    async fn new_run(
        &self,
        admitted: Admitted,
        model: String,
        delivery: Delivery,
        mut guard: RunGuard,
    ) -> Result<Response<Body>, Refused> {
        let Admitted { info, log, .. } = admitted;
        guard.accepted(info.run_id);
        tracing::debug!(run_id = %info.run_id, wire_id = %info.wire_id, "chat completion");
        let head = head(&info.wire_id, info.accepted_at_ms, model);
        self.follow(log, head, delivery, guard).await
    }

    /// Answers with a run that may still be going on.
    async fn follow(
        &self,
        log: Arc<Log>,
        head: ReplyHead,
        mut delivery: Delivery,
        guard: RunGuard,
    ) -> Result<Response<Body>, Refused> {
        let agent = self.front.dispatch().agents().get(&log.info().agent);
        delivery.options.show_reasoning = agent.is_some_and(|agent| agent.show_reasoning);
        let run_id = run_id(&head.id);
        let subscription = Subscription::from_start(log);
        let mut response = if delivery.is_stream {
            let stream = Frames::Chat(Stream::new(&head, delivery.options));
            let heartbeat = self.front.sse_heartbeat();
            let body = SseBody::new(subscription, stream, guard, heartbeat);
            if delivery.takes_trailers {
                let mut response = respond::live_events(body.timed(Timing::start()));
                timing::announce(response.headers_mut());
                response
            } else {
                respond::live_events(body)
            }
        } else {
            let answer = Answer::new(head, delivery.options.show_reasoning);
            let mut timing = Timing::start();
            let gathered = gather(subscription, answer, guard, &mut timing).await;
            let mut response = match gathered {
                Ok(body) => respond::json(StatusCode::OK, body.freeze()),
                Err(refused) => refused.into_response(),
            };
            timing.add_to(response.headers_mut());
            response
        };
        response.headers_mut().extend(run_id);
        Ok(response)
    }

    /// Answers with a run that ended earlier, from its log or from what the ledger kept.
    async fn ended_run(
        &self,
        run: EndedRun,
        model: String,
        delivery: Delivery,
    ) -> Result<Response<Body>, Refused> {
        let at_ms = run
            .terminal
            .started_at_ms
            .unwrap_or(run.terminal.ended_at_ms);
        let head = head(&run.wire_id, at_ms, model);
        let logs = self.front.dispatch().logs().by_wire_id(&run.wire_id);
        let log = logs
            .into_iter()
            .find(|log| log.info().session == run.session);
        if let Some(log) = log {
            return self.follow(log, head, delivery, RunGuard::none()).await;
        }
        let run_id = run_id(&head.id);
        let agents = self.front.dispatch().agents();
        let agent = run
            .record
            .as_ref()
            .and_then(|record| agents.get(&record.agent));
        let show_reasoning = agent.is_some_and(|agent| agent.show_reasoning);
        let options = StreamOptions {
            show_reasoning,
            ..delivery.options
        };
        let reasoning = Event::Reasoning(run.reasoning);
        let mut response = if delivery.is_stream {
            let mut frames = BytesMut::with_capacity(1024 + run.text.len());
            let mut stream = Stream::new(&head, options);
            stream.open(&mut frames);
            stream.push_event(&mut frames, &reasoning);
            stream.push_text(&mut frames, &run.text);
            stream.push_calls(&mut frames, &run.calls);
            stream.finish(&mut frames, &run.terminal);
            respond::events(Body::whole(frames.freeze()))
        } else {
            let mut answer = Answer::new(head, show_reasoning);
            answer.push_event(&reasoning);
            answer.push_text(run.text);
            answer.push_calls(run.calls);
            match answer.finish(&run.terminal) {
                Ok(body) => respond::json(StatusCode::OK, body.freeze()),
                Err(error) => Refused::unsuccessful(error, &run.terminal).into_response(),
            }
        };
        response.headers_mut().extend(run_id);
        Ok(response)
    }
}

fn head(wire_id: &WireId, at_ms: u64, model: String) -> ReplyHead {
    ReplyHead {
        id: wire_id.as_str().to_owned(),
        created: at_ms / 1000,
        model,
    }
}

/// Waits for the end of a run and makes one JSON body of it.
///
/// # Cancel safety
/// Dropping the future drops the guard, which cancels the run.
async fn gather(
    mut subscription: Subscription,
    mut answer: Answer,
    mut guard: RunGuard,
    timing: &mut Timing,
) -> Result<BytesMut, Refused> {
    let terminal = loop {
        let item = subscription.next().await;
        if let Some(item) = &item {
            timing.note(item);
        }
        match item {
            Some(Item::Text { text, .. }) => answer.push_text(text),
            Some(Item::Record { record, .. }) => {
                if let Record::Event(event) = &*record {
                    answer.push_event(event);
                }
            }
            // Only what is not part of the answer can be missing.
            Some(Item::Gap { .. }) => {}
            Some(Item::End { terminal, .. }) => break Some(terminal),
            None => break subscription.log().terminal(),
        }
    };
    guard.release();
    let lost = || ApiError::new(ErrorCode::Internal, "");
    let terminal = terminal.ok_or_else(|| Refused::failed_run(lost()))?;
    let answered = answer.finish(&terminal);
    answered.map_err(|error| Refused::unsuccessful(error, &terminal))
}

fn run_id(wire_id: &str) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::from_str(wire_id).ok()?;
    Some((X_OPENCLAW_RUN_ID.clone(), value))
}

/// The text of a header, trimmed; a blank one counts as absent.
fn text<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Refused> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_bad| {
        let message = format!("The header `{name}` is not valid UTF-8.");
        ApiError::new(ErrorCode::InvalidRequest, message)
    })?;
    let text = text.trim();
    Ok((!text.is_empty()).then_some(text))
}
