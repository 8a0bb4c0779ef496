//! `quickstart`: the main job once, on both sides of the port, and then a gateway to play with.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::args::QuickstartArgs;
use super::remote::reachable;
use super::serve::{Prepared, Signals, prepare, start, until_stopped};
use super::{Context, Failure, chain};
use crate::client::{ClientOptions, connect};
use crate::config::{LogLevel, Overrides};
use crate::gateway::Gateway;
use crate::ids::{IdSource, SystemIds};

/// How long each side may take to answer.
const PATIENCE: Duration = Duration::from_mins(2);
/// Most bytes of the answer over HTTP.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// What is asked over HTTP.
const QUESTION_HTTP: &str = "hello over HTTP";
/// What is asked over the native protocol.
const QUESTION_NATIVE: &str = "hello over WebSocket";

pub(super) fn run(context: Context<'_>, args: &QuickstartArgs) -> Result<(), Failure> {
    let overrides = Overrides {
        port: args.port,
        chat_enabled: Some(true),
        ..Overrides::default()
    };
    let Prepared {
        config,
        logs,
        runtime,
        paths: _,
    } = prepare(context, &overrides, Some(LogLevel::Warn))?;
    let mut address = reachable(&config);
    let result = runtime.block_on(async {
        let mut signals = Signals::new().map_err(|error| context.fail(&error))?;
        let (gateway, _started) = start(context, config, &logs, None).await?;
        address.set_port(gateway.addr().port());
        tokio::select! {
            biased;
            () = signals.next() => {}
            tried = try_both(context, &gateway, address) => {
                tried?;
                until_stopped(&gateway, &mut signals).await?;
                return Ok(());
            }
        }
        gateway.shutdown();
        gateway.closed().await;
        Ok(())
    });
    runtime.shutdown_background();
    drop(logs);
    result
}

async fn try_both(
    context: Context<'_>,
    gateway: &Gateway,
    address: SocketAddr,
) -> Result<(), Failure> {
    let output = context.output;
    let secret = gateway.secret().map(|secret| secret.expose().to_owned());
    output.answer_line(&format!(
        "clawport is up on http://{address} and ws://{address}"
    ));
    let said = timeout(PATIENCE, over_http(address, secret.as_deref())).await;
    let said = said.unwrap_or(Err(TryError::Timeout));
    let said = said.map_err(|error| failed(context, "over HTTP", &error))?;
    output.answer_line(&format!("\n> {QUESTION_HTTP}\n{said}"));
    let said = timeout(PATIENCE, over_websocket(address, secret.as_deref())).await;
    let said = said.unwrap_or(Err(TryError::Timeout));
    let said = said.map_err(|error| failed(context, "over WebSocket", &error))?;
    output.answer_line(&format!("\n> {QUESTION_NATIVE}\n{said}"));
    output.answer(&how_to_call(address, secret.as_deref()));
    Ok(())
}

fn failed(context: Context<'_>, side: &str, error: &TryError) -> Failure {
    context.output.error(&format!("{side}: {}", chain(error)));
    Failure::Failed
}

/// Why a try came to nothing.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error("no answer in time")]
    Timeout,
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    #[error("the exchange failed")]
    Http(#[source] hyper::Error),
    #[error("the answer could not be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer was HTTP {status}: {body}")]
    Status { status: u16, body: Box<str> },
    #[error("the answer held no text: {0}")]
    NoText(Box<str>),
    #[error("the connection was refused")]
    Refused(#[source] crate::client::ConnectError),
    #[error("the run failed")]
    Run(#[source] crate::client::RequestError),
}

/// One chat completion.
async fn over_http(address: SocketAddr, secret: Option<&str>) -> Result<String, TryError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(TryError::Connect)?;
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = http1::handshake(io).await.map_err(TryError::Http)?;
    let exchange = async {
        let response = sender.send_request(chat_request(address, secret)).await;
        let response = response.map_err(TryError::Http)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(TryError::Body)?.to_bytes();
        let text = String::from_utf8_lossy(&body);
        if !status.is_success() {
            return Err(TryError::Status {
                status: status.as_u16(),
                body: text.as_ref().into(),
            });
        }
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        text_at(&answer, "/choices/0/message/content")
    };
    // The connection has to be polled for the exchange to go on.
    tokio::select! {
        result = exchange => result,
        ended = async { connection.await.err() } => match ended {
            Some(error) => Err(TryError::Http(error)),
            None => Err(TryError::NoText("the connection ended".into())),
        },
    }
}

fn chat_request(address: SocketAddr, secret: Option<&str>) -> Request<Full<Bytes>> {
    let body = json!({
        "model": "openclaw",
        "messages": [{ "role": "user", "content": QUESTION_HTTP }],
    });
    let mut request = Request::new(Full::new(Bytes::from(body.to_string())));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = hyper::Uri::from_static("/v1/chat/completions");
    let headers = [
        (HOST, address.to_string()),
        (CONTENT_TYPE, "application/json".to_owned()),
        (
            AUTHORIZATION,
            format!("Bearer {}", secret.unwrap_or("none")),
        ),
    ];
    for (name, value) in headers {
        // A secret that cannot be a header cannot be used over HTTP at all: 401 says so.
        if let Ok(value) = value.parse() {
            request.headers_mut().insert(name, value);
        }
    }
    request
}

/// One agent run.
async fn over_websocket(address: SocketAddr, secret: Option<&str>) -> Result<String, TryError> {
    let mut options = ClientOptions::new(format!("ws://{address}"));
    options.auth.token = secret.map(str::to_owned);
    let connected = connect(&options).await.map_err(TryError::Refused)?;
    let client = connected.client;
    let run = async move {
        let params = json!({
            "message": QUESTION_NATIVE,
            "idempotencyKey": SystemIds.random().to_string(),
        });
        let answer = client.request_final("agent", &params).await;
        let answer = answer.map_err(TryError::Run)?;
        let answer: Value = serde_json::from_str(answer.get()).unwrap_or_default();
        text_at(&answer, "/result/payloads/0/text")
    };
    let (answer, _end) = tokio::join!(run, connected.driver.run());
    answer
}

fn text_at(answer: &Value, pointer: &str) -> Result<String, TryError> {
    let text = answer.pointer(pointer).and_then(Value::as_str);
    text.filter(|text| !text.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| TryError::NoText(answer.to_string().into()))
}

/// Ready lines for the usual clients.
fn how_to_call(address: SocketAddr, secret: Option<&str>) -> String {
    let token = secret.unwrap_or("none");
    let secret_line = match secret {
        Some(secret) => format!("\ntoken: {secret}\n"),
        None => "\nno token is needed\n".to_owned(),
    };
    let base = format!("http://{address}/v1");
    let curl_body = r#"{"model":"openclaw","messages":[{"role":"user","content":"hi"}]}"#;
    let python = format!(
        "from openai import OpenAI\n\
         client = OpenAI(base_url=\"{base}\", api_key={token:?})\n\
         answer = client.chat.completions.create(model=\"openclaw\", \
         messages=[{{\"role\": \"user\", \"content\": \"hi\"}}])\n\
         print(answer.choices[0].message.content)"
    );
    let node = format!(
        "import OpenAI from \"openai\";\n\
         const client = new OpenAI({{ baseURL: \"{base}\", apiKey: {token:?} }});\n\
         const answer = await client.chat.completions.create({{ model: \"openclaw\", \
         messages: [{{ role: \"user\", content: \"hi\" }}] }});\n\
         console.log(answer.choices[0].message.content);"
    );
    let bearer = shell_quoted(&format!("Authorization: Bearer {token}"));
    format!(
        "{secret_line}\n\
         curl -sS {base}/chat/completions -H {bearer} -H 'Content-Type: application/json' -d {}\n\n\
         python3 -c {}\n\n\
         node --input-type=module -e {}\n\n\
         clawport agent -m hi --url ws://{address} --token {}\n\n\
         Ctrl-C stops it.\n",
        shell_quoted(curl_body),
        shell_quoted(&python),
        shell_quoted(&node),
        shell_quoted(token),
    )
}

/// A word for the shell.
fn shell_quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_lines_carry_address_and_secret() {
        let address = "127.0.0.1:18789".parse().unwrap();
        let lines = how_to_call(address, Some("it's"));
        assert!(lines.contains("token: it's\n"), "{lines}");
        assert!(
            lines.contains(r"'Authorization: Bearer it'\''s'"),
            "{lines}"
        );
        for part in [
            "curl -sS http://127.0.0.1:18789/v1/chat/completions",
            "python3 -c '",
            "node --input-type=module -e '",
        ] {
            assert!(lines.contains(part), "{part} in {lines}");
        }
        assert!(how_to_call(address, None).contains("no token is needed"));
    }
}
