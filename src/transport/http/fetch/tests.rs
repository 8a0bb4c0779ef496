//! Fetches against servers on loopback: 127.0.0.2 stands for the internet, 127.0.0.1 for the
//! inside.

use std::net::Ipv4Addr;
use std::sync::Mutex;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const INSIDE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Names and what they are, one answer after the other; the last one stays.
#[derive(Debug, Default)]
struct Names(Mutex<Vec<(&'static str, Vec<IpAddr>)>>);

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let mut names = self.0.lock().unwrap();
        let found = names.iter().position(|(name, _)| *name == host);
        let is_last = |at: usize| !names[at + 1..].iter().any(|(name, _)| *name == host);
        let answer = match found {
            Some(at) if is_last(at) => Ok(names[at].1.clone()),
            Some(at) => Ok(names.remove(at).1),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        Box::pin(async move { answer })
    }
}

fn fetcher(hosts: &[&str], names: &[(&'static str, &[IpAddr])]) -> Fetcher {
    let names = names.iter().map(|(name, ips)| (*name, ips.to_vec()));
    Fetcher {
        hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        resolver: Arc::new(Names(Mutex::new(names.collect()))),
        is_allowed: |ip| ip == OUTSIDE,
        tls: Arc::new(tls()),
    }
}

/// A server that gives these answers, one a connection, and returns what it was asked.
async fn server(ip: IpAddr, answers: Vec<String>) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
    server_over(None, ip, answers).await
}

#[expect(
    clippy::disallowed_methods,
    reason = "the server of a test ends with the runtime of the test"
)]
async fn server_over(
    tls: Option<TlsAcceptor>,
    ip: IpAddr,
    answers: Vec<String>,
) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().await.unwrap();
            let Some(tls) = &tls else {
                asked.push(converse(stream, &answer).await);
                continue;
            };
            // A client that does not trust the certificate says so and goes.
            if let Ok(stream) = tls.accept(stream).await {
                asked.push(converse(stream, &answer).await);
            }
        }
        asked
    });
    (port, serving)
}

/// Reads one request, gives the answer and returns what was asked.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    // The reader may stop before the end of what is too large.
    stream.write_all(answer.as_bytes()).await.ok();
    stream.shutdown().await.ok();
    String::from_utf8(head).unwrap()
}

const AUTHORITY: &[u8] = include_bytes!("../../../../tests/tls/authority.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../../../tests/tls/cdn.com.pem");
const KEY: &[u8] = include_bytes!("../../../../tests/tls/cdn.com.key.pem");

/// TLS as `cdn.com` has it, signed by the authority of the tests.
fn acceptor() -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()],
            PrivateKeyDer::from_pem_slice(KEY).unwrap(),
        );
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

/// TLS that trusts the authority of the tests and no other.
fn trusting() -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(AUTHORITY).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn image(bytes: usize) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n{}",
        "i".repeat(bytes)
    )
}

fn moved(to: &str) -> String {
    format!(
        "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}

#[tokio::test]
async fn an_image_of_the_internet_is_fetched_without_anything_of_ours() {
    let (port, serving) = server(OUTSIDE, vec![image(5)]).await;
    let fetcher = fetcher(&["cdn.com"], &[("cdn.com", &[OUTSIDE])]);
    let url = format!("http://CDN.com:{port}/a.png?b");
    assert_eq!(fetcher.fetch(&url).await.unwrap(), "iiiii");
    let asked = serving.await.unwrap().concat().to_ascii_lowercase();
    assert!(asked.starts_with("get /a.png?b http/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("host: cdn.com:{port}")));
    assert!(!asked.contains("authorization") && !asked.contains("cookie"));
}

#[tokio::test]
async fn an_image_is_fetched_over_tls_from_the_host_its_url_names() {
    let answers = vec![moved("/b.png"), image(5)];
    let (port, serving) = server_over(Some(acceptor()), OUTSIDE, answers).await;
    let mut fetcher = fetcher(&[], &[("cdn.com", &[OUTSIDE])]);
    fetcher.tls = Arc::new(trusting());
    let url = format!("https://cdn.com:{port}/a.png");
    assert_eq!(fetcher.fetch(&url).await.unwrap(), "iiiii");
    let asked = serving.await.unwrap();
    assert!(asked[0].starts_with("GET /a.png HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[1].starts_with("GET /b.png HTTP/1.1\r\n"), "{asked:?}");
}

#[tokio::test]
async fn nobody_is_asked_over_tls_who_cannot_prove_the_name_of_the_url() {
    let names: &[(&'static str, &[IpAddr])] = &[("cdn.com", &[OUTSIDE]), ("other.com", &[OUTSIDE])];
    for (host, tls) in [("other.com", trusting()), ("cdn.com", tls())] {
        let (port, serving) = server_over(Some(acceptor()), OUTSIDE, vec![image(5)]).await;
        let mut fetcher = fetcher(&[], names);
        fetcher.tls = Arc::new(tls);
        let refused = fetcher.fetch(&format!("https://{host}:{port}/")).await;
        assert!(
            matches!(refused, Err(FetchError::Connect(_))),
            "{host}: {refused:?}"
        );
        assert!(serving.await.unwrap().is_empty(), "nothing was asked");
    }
}

#[tokio::test]
async fn nothing_inside_is_asked_by_name_by_number_or_beside_a_public_address() {
    let (port, serving) = server(INSIDE, vec![image(1)]).await;
    let fetcher = fetcher(
        &[],
        &[
            ("localhost", &[INSIDE]),
            ("evil.com", &[INSIDE]),
            ("both.com", &[OUTSIDE, INSIDE]),
        ],
    );
    for host in [
        "localhost",
        "evil.com",
        "both.com",
        "127.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
    ] {
        let refused = fetcher.fetch(&format!("http://{host}:{port}/x")).await;
        assert!(
            matches!(refused, Err(FetchError::NotPublic(_))),
            "{host}: {refused:?}"
        );
    }
    for host in ["2130706433", "0177.0.0.1", "0x7f.1", "127.1"] {
        let refused = fetcher.fetch(&format!("http://{host}:{port}/x")).await;
        assert!(
            matches!(refused, Err(FetchError::Url)),
            "{host}: {refused:?}"
        );
    }
    let unknown = fetcher.fetch("http://unknown.com/x").await;
    assert!(matches!(unknown, Err(FetchError::Connect(_))));
    assert!(!serving.is_finished(), "nobody was asked");
    serving.abort();
}

#[tokio::test]
async fn every_redirect_is_checked_like_the_first_url() {
    let (inside, serving) = server(INSIDE, vec![image(1)]).await;
    let names: &[(&'static str, &[IpAddr])] = &[
        ("a.com", &[OUTSIDE]),
        ("b.com", &[INSIDE]),
        ("c.com", &[OUTSIDE]),
    ];
    for to in [
        format!("http://127.0.0.1:{inside}/x"),
        format!("http://b.com:{inside}/x"),
        format!("http://[::ffff:7f00:1]:{inside}/x"),
    ] {
        let (port, _first) = server(OUTSIDE, vec![moved(&to)]).await;
        let refused = fetcher(&[], names)
            .fetch(&format!("http://a.com:{port}/"))
            .await;
        assert!(
            matches!(refused, Err(FetchError::NotPublic(_))),
            "{to}: {refused:?}"
        );
    }
    assert!(!serving.is_finished(), "nobody inside was asked");
    serving.abort();
    // Not on the list, although public.
    let (port, _first) = server(OUTSIDE, vec![moved("http://c.com/x")]).await;
    let refused = fetcher(&["a.com"], names)
        .fetch(&format!("http://a.com:{port}/"))
        .await;
    assert!(matches!(refused, Err(FetchError::NotListed)));
    // A path of the same host is followed, but not for ever.
    let (port, _first) = server(OUTSIDE, vec![moved("/1"), image(3)]).await;
    let found = fetcher(&[], names)
        .fetch(&format!("http://a.com:{port}/"))
        .await;
    assert_eq!(found.unwrap(), "iii");
    let (port, _first) = server(OUTSIDE, vec![moved("/1"); 5]).await;
    let refused = fetcher(&[], names)
        .fetch(&format!("http://a.com:{port}/"))
        .await;
    assert!(matches!(refused, Err(FetchError::Redirect)), "{refused:?}");
}

#[tokio::test]
async fn a_name_that_changes_its_mind_gains_nothing() {
    // The second lookup would say inside; there is one lookup for each connection, and each is
    // checked.
    let (port, _serving) = server(OUTSIDE, vec![moved("/again"), image(1)]).await;
    let fetcher = fetcher(&[], &[("r.com", &[OUTSIDE]), ("r.com", &[INSIDE])]);
    let refused = fetcher.fetch(&format!("http://r.com:{port}/")).await;
    assert!(
        matches!(refused, Err(FetchError::NotPublic(INSIDE))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_is_too_large_or_no_image_is_refused() {
    let names: &[(&'static str, &[IpAddr])] = &[("a.com", &[OUTSIDE])];
    let unending = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
        "i".repeat(IMAGE_BYTES_MAX + 1)
    );
    for answer in [image(IMAGE_BYTES_MAX + 1), unending] {
        let (port, _serving) = server(OUTSIDE, vec![answer]).await;
        let refused = fetcher(&[], names)
            .fetch(&format!("http://a.com:{port}/"))
            .await;
        assert!(matches!(refused, Err(FetchError::TooLarge)), "{refused:?}");
    }
    let gone = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned();
    let (port, _serving) = server(OUTSIDE, vec![gone]).await;
    let refused = fetcher(&[], names)
        .fetch(&format!("http://a.com:{port}/"))
        .await;
    assert!(matches!(
        refused,
        Err(FetchError::Status(StatusCode::NOT_FOUND))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind((OUTSIDE, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let fetcher = fetcher(&[], &[("a.com", &[OUTSIDE])]);
    let begun = tokio::time::Instant::now();
    let refused = fetcher.fetch(&format!("http://a.com:{port}/")).await;
    assert!(matches!(refused, Err(FetchError::Timeout)), "{refused:?}");
    assert_eq!(begun.elapsed(), TIME_MAX);
    drop(listener);
}
