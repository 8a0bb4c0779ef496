//! Fetches images by URL, where that is allowed, from the public internet only.
//!
//! Names are looked up once and the connection goes to an address that was checked, so an answer
//! that changes between check and use gains nothing; every redirect is checked like the first URL.
//! Owns its sockets for the time of a fetch; nothing is kept, sent along or remembered.

mod public;
mod target;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::header::{ACCEPT, HOST, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::openai::IMAGE_BYTES_MAX;

use public::is_public;
use target::Target;

/// Redirects that are followed (`http-facts` §3.3).
const REDIRECTS_MAX: usize = 3;

/// How long one image may take, redirects and lookups included.
const TIME_MAX: Duration = Duration::from_secs(10);

/// Why an image was not fetched. The caller is told only that it was not.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// The URL is not one that is fetched.
    #[error("not a URL that is fetched")]
    Url,
    /// The host is not on the list.
    #[error("the host is not on the list")]
    NotListed,
    /// The host, or one of its addresses, is not of the public internet.
    #[error("{0} is not a public address")]
    NotPublic(IpAddr),
    /// The name has no address.
    #[error("the name has no address")]
    NoAddress,
    /// The name could not be looked up, or no connection made.
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// The server broke the protocol.
    #[error("no answer")]
    Http(#[source] hyper::Error),
    /// The answer is not an image.
    #[error("answered with status {0}")]
    Status(StatusCode),
    /// More redirects than are followed, or one that leads nowhere.
    #[error("redirected too often or nowhere")]
    Redirect,
    /// The image is larger than an image may be.
    #[error("the image is too large")]
    TooLarge,
    /// It took too long.
    #[error("it took too long")]
    Timeout,
}

/// Looks up names.
trait Resolve: Send + Sync + std::fmt::Debug {
    /// The addresses of a host.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>>;
}

/// The resolver of the system.
#[derive(Debug)]
struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Fetches images.
#[derive(Debug)]
pub(super) struct Fetcher {
    hosts: Vec<String>,
    resolver: Arc<dyn Resolve>,
    is_allowed: fn(IpAddr) -> bool,
    tls: Arc<rustls::ClientConfig>,
}

impl Fetcher {
    /// Fetches from these hosts, in lower case; from every public one when there are none.
    pub(super) fn new(hosts: &[String]) -> Self {
        Self {
            hosts: hosts.to_vec(),
            resolver: Arc::new(SystemResolver),
            is_allowed: is_public,
            tls: Arc::new(tls()),
        }
    }

    /// The bytes of one image.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(super) async fn fetch(&self, url: &str) -> Result<Bytes, FetchError> {
        let fetching = timeout(TIME_MAX, self.follow(url));
        fetching.await.unwrap_or(Err(FetchError::Timeout))
    }

    async fn follow(&self, url: &str) -> Result<Bytes, FetchError> {
        let mut target = Target::parse(url)?;
        for _ in 0..=REDIRECTS_MAX {
            let stream = self.connect(&target).await?;
            let got = if target.is_tls {
                let name = ServerName::try_from(target.host.clone());
                let name = name.map_err(|_bad| FetchError::Url)?;
                let connector = TlsConnector::from(Arc::clone(&self.tls));
                let stream = connector.connect(name, stream).await;
                get(stream.map_err(FetchError::Connect)?, &target).await?
            } else {
                get(stream, &target).await?
            };
            match got {
                Got::Image(bytes) => return Ok(bytes),
                Got::Moved(location) => target = target.follow(&location)?,
            }
        }
        Err(FetchError::Redirect)
    }

    /// Connects to an address of the target that was checked.
    async fn connect(&self, target: &Target) -> Result<TcpStream, FetchError> {
        if !target.is_listed(&self.hosts) {
            return Err(FetchError::NotListed);
        }
        let addresses = if let Some(address) = target.address() {
            vec![address]
        } else {
            let found = self.resolver.resolve(&target.host).await;
            found.map_err(FetchError::Connect)?
        };
        // One private address is enough to distrust the name.
        let inside = addresses.iter().find(|ip| !(self.is_allowed)(**ip));
        if let Some(address) = inside {
            return Err(FetchError::NotPublic(*address));
        }
        let mut failed = FetchError::NoAddress;
        for address in addresses {
            match TcpStream::connect(SocketAddr::new(address, target.port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = FetchError::Connect(error),
            }
        }
        Err(failed)
    }
}

/// What a server gave.
enum Got {
    Image(Bytes),
    Moved(String),
}

async fn get<S>(stream: S, target: &Target) -> Result<Got, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(FetchError::Http)?;
    let asking = async {
        let response = sender.send_request(request(target)?).await;
        read(response.map_err(FetchError::Http)?).await
    };
    let (mut asking, connection) = (pin!(asking), pin!(connection));
    tokio::select! {
        biased;
        got = &mut asking => got,
        // The connection has done its part; what it has read is still to be taken.
        _ended = connection => asking.await,
    }
}

fn request(target: &Target) -> Result<Request<Empty<Bytes>>, FetchError> {
    const AGENT: &str = concat!("clawport/", env!("CARGO_PKG_VERSION"));
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = target.path().parse().map_err(|_bad| FetchError::Url)?;
    let host = HeaderValue::from_str(target.authority()).map_err(|_bad| FetchError::Url)?;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("image/*"));
    Ok(request)
}

async fn read(response: Response<hyper::body::Incoming>) -> Result<Got, FetchError> {
    let status = response.status();
    if status.is_redirection() {
        let location = response.headers().get(LOCATION);
        let location = location.and_then(|value| value.to_str().ok());
        let location = location.ok_or(FetchError::Redirect)?;
        return Ok(Got::Moved(location.to_owned()));
    }
    if status != StatusCode::OK {
        return Err(FetchError::Status(status));
    }
    let body = Limited::new(response.into_body(), IMAGE_BYTES_MAX);
    match body.collect().await {
        Ok(body) => Ok(Got::Image(body.to_bytes())),
        Err(error) => Err(match error.downcast::<hyper::Error>() {
            Ok(error) => FetchError::Http(*error),
            Err(error) if error.is::<LengthLimitError>() => FetchError::TooLarge,
            Err(_unknown) => FetchError::Redirect,
        }),
    }
}

fn tls() -> rustls::ClientConfig {
    use hyper_rustls::ConfigBuilderExt;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the default TLS versions")
        .with_webpki_roots()
        .with_no_client_auth()
}

#[cfg(test)]
mod tests;
