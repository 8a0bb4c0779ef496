//! The OpenAPI document of the HTTP side, made from [`types`].
//!
//! `proto/openapi.json` is this document; a test fails when they differ.

pub mod run;
pub mod types;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use run::{Run, RunEvent};
use types::{
    ChatCompletion, ChatCompletionChunk, ChatCompletionRequest, ErrorEnvelope, Live, Model, Models,
    Readiness, Startup,
};

/// The OpenAPI 3.1 document of the HTTP side.
pub fn openapi() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
        .into_generator();
    let paths = json!({
        "/v1/chat/completions": { "post": chat(&mut generator) },
        "/v1/runs/{id}": { "get": run(&mut generator) },
        "/v1/runs/{id}/events": { "get": run_events(&mut generator) },
        "/v1/runs/{id}/cancel": { "post": cancel_run(&mut generator) },
        "/v1/models": { "get": models(&mut generator) },
        "/v1/models/{id}": { "get": model(&mut generator) },
        "/healthz": probe::<Live>(&mut generator, "Whether the process answers.", false),
        "/readyz": probe::<Readiness>(&mut generator, "Whether new work is taken.", true),
        "/startupz": probe::<Startup>(&mut generator, "Whether the process has come up.", true),
        "/metrics": { "get": metrics(&mut generator) },
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "clawport",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Agents behind an OpenAI-compatible API. The chat and model paths \
                exist only while `gateway.http.endpoints.chatCompletions.enabled` is true; \
                otherwise they are 404. `/health`, `/ready` and `/startup` are the probes without \
                their `z`.",
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The gateway's token, or its password in password mode.",
                },
            },
        },
    })
}

fn reference<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn content<T: JsonSchema>(generator: &mut SchemaGenerator, description: &str) -> Value {
    json!({
        "description": description,
        "content": { "application/json": { "schema": reference::<T>(generator) } },
    })
}

fn chat(generator: &mut SchemaGenerator) -> Value {
    let mut responses = errors(generator, &CHAT_ERRORS);
    let done = content::<ChatCompletion>(generator, "The answer: JSON, or events when `stream`.");
    let done = with_stream(done, &reference::<ChatCompletionChunk>(generator));
    responses.insert("200".to_owned(), done);
    json!({
        "operationId": "createChatCompletion",
        "summary": "Run an agent on a conversation.",
        "description": "A stream is `data:` lines: a role chunk at once, content chunks, one \
            finish chunk, a usage chunk when asked for, `[DONE]`. A run that fails sends an error \
            object instead of the finish chunk. Comments fill silences. When the caller goes away \
            its run is cancelled, unless `x-openclaw-on-disconnect` is `continue`.",
        "security": [{ "bearer": [] }],
        "parameters": CHAT_HEADERS.map(|(name, description)| json!({
            "name": name,
            "in": "header",
            "description": description,
            "schema": { "type": "string" },
        })),
        "requestBody": {
            "required": true,
            "content": {
                "application/json": { "schema": reference::<ChatCompletionRequest>(generator) },
            },
        },
        "responses": responses,
    })
}

const CHAT_HEADERS: [(&str, &str); 9] = [
    (
        "x-openclaw-agent-id",
        "The agent; wins over `model`. `x-openclaw-agent` is the same.",
    ),
    (
        "x-openclaw-session-key",
        "The session; wins over `user`. Must not be in a reserved namespace.",
    ),
    (
        "x-openclaw-model",
        "Another model for this call; needs the scope `operator.admin`.",
    ),
    (
        "x-openclaw-message-channel",
        "The channel the message came through, for the agent; at most 64 bytes.",
    ),
    (
        "x-openclaw-on-disconnect",
        "`continue` lets the run go on when the caller goes away.",
    ),
    (
        "x-openclaw-scopes",
        "Narrows the scopes of a caller without a shared secret.",
    ),
    (
        "x-openwebui-chat-id",
        "Names the session of a call without `user`, where that is switched on.",
    ),
    (
        "idempotency-key",
        "The same key and the same request give the same run; another request is 409.",
    ),
    (
        "x-request-id",
        "Echoed in the answer; made up when absent or longer than 128 bytes.",
    ),
];

const CHAT_ERRORS: [(&str, &str); 13] = [
    ("400", "The request is not valid, or names no agent."),
    ("401", "No valid secret."),
    ("402", "The account at the model server has no funds."),
    (
        "403",
        "A scope is missing, or forwarding headers came from an untrusted peer.",
    ),
    ("404", "Nobody knows the model asked for."),
    ("408", "The body did not arrive in time."),
    ("409", "The idempotency key belongs to another request."),
    (
        "413",
        "The body is too large, or the conversation too long for the model.",
    ),
    (
        "429",
        "Too many failed authentications, or the model server limits the rate.",
    ),
    ("500", "The run failed or was aborted."),
    ("502", "The model server failed or refused our key."),
    (
        "503",
        "A queue is full or the gateway restarts; see `Retry-After` and `x-should-retry`.",
    ),
    ("504", "The run or the model server took too long."),
];

fn models(generator: &mut SchemaGenerator) -> Value {
    let mut responses = errors(generator, &MODEL_ERRORS);
    let list = content::<Models>(generator, "Every agent, the default one first.");
    responses.insert("200".to_owned(), list);
    json!({
        "operationId": "listModels",
        "summary": "List the agents as models.",
        "security": [{ "bearer": [] }],
        "responses": responses,
    })
}

fn model(generator: &mut SchemaGenerator) -> Value {
    let mut responses = errors(generator, &MODEL_ERRORS);
    responses.extend(errors(
        generator,
        &[
            ("400", "Not a model id."),
            ("404", "No such agent, or not spelled as listed."),
        ],
    ));
    let one = content::<Model>(generator, "One agent.");
    responses.insert("200".to_owned(), one);
    json!({
        "operationId": "retrieveModel",
        "summary": "One agent as a model.",
        "security": [{ "bearer": [] }],
        "parameters": [{
            "name": "id",
            "in": "path",
            "required": true,
            "description": "The id; its slash may be escaped.",
            "schema": { "type": "string" },
        }],
        "responses": responses,
    })
}

fn run(generator: &mut SchemaGenerator) -> Value {
    let mut responses = errors(generator, &RUN_ERRORS);
    let state = content::<Run>(generator, "The run as it is now.");
    responses.insert("200".to_owned(), state);
    json!({
        "operationId": "retrieveRun",
        "summary": "One run: where it is, its answer so far, how it ended.",
        "description": "Any run the caller may see: its own, or with `operator.admin` everybody's; \
            others are 404. A run of a stored session is found as long as the session is kept, \
            also after a restart; any other as long as its events are kept.",
        "security": [{ "bearer": [] }],
        "parameters": [run_id()],
        "responses": responses,
    })
}

fn run_events(generator: &mut SchemaGenerator) -> Value {
    let mut responses = errors(generator, &RUN_ERRORS);
    responses.extend(errors(
        generator,
        &[
            ("400", "The cursor is not a number."),
            (
                "410",
                "The cursor is not in the log any more, or never was.",
            ),
        ],
    ));
    let ended = json!({ "description": "The run has ended and the caller has every event." });
    responses.insert("204".to_owned(), ended);
    let events = json!({
        "description": "The events after the cursor, and those to come until the run ends. Each \
            frame has an `event:` line with the type, an `id:` line with its position where the \
            caller can go on from it, and one `data:` line. Of a run only the store still knows \
            there are the text and the end.",
        "content": { "text/event-stream": { "schema": reference::<RunEvent>(generator) } },
    });
    responses.insert("200".to_owned(), events);
    let number = json!({ "type": "integer", "minimum": 0 });
    json!({
        "operationId": "streamRunEvents",
        "summary": "The events of a run, from any place on.",
        "security": [{ "bearer": [] }],
        "parameters": [
            run_id(),
            parameter("after", "query", "The last event the caller has.", &number),
            parameter("last-event-id", "header", "The same; wins over `after`.", &number),
        ],
        "responses": responses,
    })
}

fn cancel_run(generator: &mut SchemaGenerator) -> Value {
    let mut responses = errors(generator, &RUN_ERRORS);
    let state = content::<Run>(
        generator,
        "The run after its end; one that had ended is unchanged.",
    );
    responses.insert("200".to_owned(), state);
    json!({
        "operationId": "cancelRun",
        "summary": "Stop a run, keeping what it has written.",
        "security": [{ "bearer": [] }],
        "parameters": [run_id()],
        "responses": responses,
    })
}

fn parameter(name: &str, place: &str, description: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": place, "description": description, "schema": schema })
}

fn run_id() -> Value {
    json!({
        "name": "id",
        "in": "path",
        "required": true,
        "description": "The id of the completion, or the idempotency key of the native request.",
        "schema": { "type": "string", "minLength": 1, "maxLength": 256 },
    })
}

const RUN_ERRORS: [(&str, &str); 5] = [
    ("401", "No valid secret."),
    (
        "403",
        "A scope is missing: `operator.read`, or `operator.write` to cancel.",
    ),
    ("404", "No such run, or not for this caller."),
    ("429", "Too many failed authentications."),
    ("503", "The store failed."),
];

const MODEL_ERRORS: [(&str, &str); 4] = [
    ("401", "No valid secret."),
    ("403", "The scope `operator.read` is missing."),
    ("429", "Too many failed authentications."),
    ("503", "The gateway restarts."),
];

fn probe<T: JsonSchema>(generator: &mut SchemaGenerator, summary: &str, may_fail: bool) -> Value {
    let mut responses = Map::new();
    responses.insert("200".to_owned(), content::<T>(generator, "Yes."));
    if may_fail {
        responses.insert("503".to_owned(), content::<T>(generator, "Not now."));
    }
    let operation = json!({ "summary": summary, "security": [], "responses": responses });
    json!({ "get": operation, "head": operation })
}

fn metrics(generator: &mut SchemaGenerator) -> Value {
    let mut responses = errors(
        generator,
        &[
            ("401", "No secret, or a wrong one."),
            ("403", "Not the scope `operator.read`."),
            ("429", "Too many failed authentications from here."),
        ],
    );
    let off = json!({ "description": "The page is off." });
    responses.insert("404".to_owned(), off);
    let page = json!({ "text/plain": { "schema": { "type": "string" } } });
    let page = json!({ "description": "The page, in text format 0.0.4.", "content": page });
    responses.insert("200".to_owned(), page);
    json!({
        "summary": "The numbers of the process, as Prometheus reads them.",
        "description": "There only while `gateway.http.endpoints.metrics.enabled` is true.",
        "security": [{ "bearer": [] }],
        "responses": responses,
    })
}

fn errors(generator: &mut SchemaGenerator, list: &[(&str, &str)]) -> Map<String, Value> {
    let entry = |(status, description): &(&str, &str)| {
        let answer = content::<ErrorEnvelope>(generator, description);
        ((*status).to_owned(), answer)
    };
    list.iter().map(entry).collect()
}

fn with_stream(mut response: Value, chunk: &Value) -> Value {
    if let Some(content) = response.get_mut("content").and_then(Value::as_object_mut) {
        content.insert("text/event-stream".to_owned(), json!({ "schema": chunk }));
    }
    response
}

#[cfg(test)]
mod tests;
