//! From a URL to an accepted connection: TCP, upgrade, challenge, connect, hello.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::value::{RawValue, to_raw_value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::driver::{Driver, Pending, closed, failed};
use super::error::ConnectError;
use super::events::{Event, Events};
use super::frame::{Hello, Incoming};
use super::options::ClientOptions;
use super::{Client, Connected};
use crate::protocol::{
    ClientInfo, ConnectParams, EncodeError, FRAME_BYTES_MAX, NonEmpty, ProtocolNumber,
    RequestFrame, encode_request,
};

/// The port of a URL that names none.
const PORT_DEFAULT: u16 = 18_789;
/// The id of the `connect` request.
const CONNECT_ID: &str = "connect";
/// Frames a gateway may send before its answer to `connect`.
const EARLY_FRAMES_MAX: usize = 64;
/// Requests that may wait for the driver.
const COMMANDS_MAX: usize = 64;
/// Shortest time between two looks at whether the gateway fell silent.
const TICK_MIN: Duration = Duration::from_secs(1);

/// Connects to a gateway.
///
/// # Errors
/// [`ConnectError`] says how far it came.
///
/// # Cancel safety
/// Dropping the future closes the socket.
pub async fn connect(options: &ClientOptions) -> Result<Connected<TcpStream>, ConnectError> {
    let uri = parse(&options.url)?;
    let host = uri.host().ok_or(ConnectError::Url)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(PORT_DEFAULT);
    let connecting = async {
        let stream = TcpStream::connect((host, port)).await.map_err(|source| {
            let address = format!("{host}:{port}").into();
            ConnectError::Unreachable { address, source }
        })?;
        // Small frames must not wait for each other; without it they are only slower.
        stream.set_nodelay(true).ok();
        over(stream, &uri, options).await
    };
    timeout(options.connect_timeout, connecting)
        .await
        .map_err(|_elapsed| ConnectError::Timeout)?
}

/// Connects over a stream that is open already.
///
/// # Errors
/// As [`connect`].
///
/// # Cancel safety
/// As [`connect`].
pub async fn connect_over<S>(
    stream: S,
    options: &ClientOptions,
) -> Result<Connected<S>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let uri = parse(&options.url)?;
    timeout(options.connect_timeout, over(stream, &uri, options))
        .await
        .map_err(|_elapsed| ConnectError::Timeout)?
}

fn parse(url: &str) -> Result<Uri, ConnectError> {
    // The upgrade is made of a `ws:` URL; people also paste the address of the HTTP side.
    let url = match url.split_once("://") {
        Some(("http", rest)) => format!("ws://{rest}"),
        Some(("https", rest)) => format!("wss://{rest}"),
        Some(_) => url.to_owned(),
        None => format!("ws://{url}"),
    };
    let uri: Uri = url.parse().map_err(|_invalid| ConnectError::Url)?;
    match uri.scheme_str() {
        Some("ws") => Ok(uri),
        Some("wss") => Err(ConnectError::Tls),
        Some(_) | None => Err(ConnectError::Url),
    }
}

async fn over<S>(
    stream: S,
    uri: &Uri,
    options: &ClientOptions,
) -> Result<Connected<S>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let upgraded = client_async_with_config(uri.clone(), stream, Some(socket_config())).await;
    let mut socket = match upgraded {
        Ok((socket, _response)) => socket,
        Err(tungstenite::Error::Http(response)) => {
            let status = response.status().as_u16();
            return Err(ConnectError::NotUpgraded { status });
        }
        Err(error) => return Err(ConnectError::Closed(failed(error))),
    };
    challenge(&mut socket).await?;
    let request = connect_request(options)?;
    socket
        .send(Message::text(request))
        .await
        .map_err(|error| ConnectError::Closed(failed(error)))?;
    let hello = hello(&mut socket).await?;
    Ok(parts(socket, hello, options))
}

fn socket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_message_size(Some(FRAME_BYTES_MAX))
        .max_frame_size(Some(FRAME_BYTES_MAX))
        .max_write_buffer_size(2 * FRAME_BYTES_MAX)
}

fn parts<S>(socket: WebSocketStream<S>, hello: Hello, options: &ClientOptions) -> Connected<S> {
    let (commands, incoming) = mpsc::channel(COMMANDS_MAX);
    let (events, receiver) = broadcast::channel(options.events_max.max(1));
    let end = Arc::new(OnceLock::new());
    let tick = Duration::from_millis(hello.policy.tick_interval_ms).max(TICK_MIN);
    let client = Client {
        commands,
        hello: Arc::new(hello),
        end: Arc::clone(&end),
        request_timeout: options.request_timeout,
    };
    Connected {
        client,
        events: Events::new(receiver),
        driver: Driver {
            socket,
            commands: incoming,
            events,
            end,
            silence_max: tick.saturating_mul(2),
            pending: Pending::default(),
        },
    }
}

/// Waits for the challenge; a gateway says nothing else before it.
async fn challenge<S>(socket: &mut WebSocketStream<S>) -> Result<(), ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match incoming(socket).await? {
        Incoming::Event(Event { name, .. }) if &*name == "connect.challenge" => Ok(()),
        Incoming::Event(_) | Incoming::Response { .. } => {
            Err(ConnectError::Protocol("no challenge"))
        }
    }
}

async fn hello<S>(socket: &mut WebSocketStream<S>) -> Result<Hello, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for _ in 0..EARLY_FRAMES_MAX {
        match incoming(socket).await? {
            Incoming::Response { id, result } if &*id == CONNECT_ID => {
                let payload = result.map_err(ConnectError::Refused)?;
                return read_hello(payload);
            }
            Incoming::Response { .. } | Incoming::Event(_) => {}
        }
    }
    Err(ConnectError::Protocol("no answer to connect"))
}

fn read_hello(payload: Box<RawValue>) -> Result<Hello, ConnectError> {
    let hello: Hello =
        serde_json::from_str(payload.get()).map_err(|_form| ConnectError::Protocol("no hello"))?;
    Ok(Hello {
        raw: Some(payload),
        ..hello
    })
}

/// The next frame of the protocol.
async fn incoming<S>(socket: &mut WebSocketStream<S>) -> Result<Incoming, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let text = match socket.next().await {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(frame))) => return Err(ConnectError::Closed(closed(frame))),
            Some(Ok(_other)) => continue,
            Some(Err(error)) => return Err(ConnectError::Closed(failed(error))),
            None => {
                let gone = failed(tungstenite::Error::ConnectionClosed);
                return Err(ConnectError::Closed(gone));
            }
        };
        if let Some(frame) = Incoming::decode(&text) {
            return Ok(frame);
        }
    }
}

fn connect_request(options: &ClientOptions) -> Result<String, ConnectError> {
    let params = connect_params(options).ok_or(ConnectError::Protocol("empty connect options"))?;
    let params =
        to_raw_value(&params).map_err(|error| ConnectError::Encode(EncodeError::NotJson(error)))?;
    let mut frame = RequestFrame::new(CONNECT_ID, "connect");
    frame.params = Some(&params);
    encode_request(&frame).map_err(ConnectError::Encode)
}

/// The params of `connect`; `None` when an option that must say something is empty.
fn connect_params(options: &ClientOptions) -> Option<ConnectParams> {
    let text = |text: &str| NonEmpty::new(text).ok();
    let texts = |list: &[String]| {
        list.iter()
            .map(|item| text(item))
            .collect::<Option<Vec<_>>>()
    };
    let display_name = match &options.display_name {
        Some(name) => Some(text(name)?),
        None => None,
    };
    let offers = options.auth.token.is_some() || options.auth.password.is_some();
    Some(ConnectParams {
        min_protocol: ProtocolNumber::new(*options.protocols.start()).ok()?,
        max_protocol: ProtocolNumber::new(*options.protocols.end()).ok()?,
        client: ClientInfo {
            id: options.client_id,
            display_name,
            version: text(env!("CARGO_PKG_VERSION"))?,
            build_id: None,
            platform: text(std::env::consts::OS)?,
            device_family: None,
            model_identifier: None,
            time_zone: None,
            mode: options.client_mode,
            instance_id: None,
        },
        caps: texts(&options.caps)?,
        commands: Vec::new(),
        permissions: std::collections::BTreeMap::new(),
        path_env: None,
        role: text("operator"),
        scopes: texts(&options.scopes)?,
        device: None,
        auth: offers.then(|| options.auth.clone()),
        locale: None,
        user_agent: None,
    })
}
