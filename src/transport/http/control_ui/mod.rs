//! Serves the original's Control UI from a folder (`gateway.controlUi.root`).
//!
//! Owns which files are public, how the document is rewritten and what the page may do in a
//! browser. Nothing of it needs a secret; everything the page shows comes over the native protocol,
//! which does.

mod document;
mod file;
mod path;
mod settings;

pub(super) use file::Pieces;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG,
    HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, LOCATION, VARY, X_FRAME_OPTIONS,
};
use hyper::http::request;
use hyper::{Method, Response, StatusCode};
use sha2::{Digest, Sha256};

use crate::transport::ControlUiConfig;

use super::body::Body;
use super::respond;

use document::{document, policy};
use file::{Found, open};
use path::{Asked, INDEX, asked, content_type, is_asset, is_fingerprinted};

static PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// What the page may ask a person for.
const PERMISSIONS: &str =
    "camera=(self), microphone=(self), geolocation=(self), clipboard-write=(self)";

/// What a person is told who opens the page's address where no page is served.
const UNSERVED: &str = "The gateway is up. To have its Control UI here, set gateway.controlUi.root \
                        to the folder dist/control-ui of the npm package openclaw, and start the \
                        gateway again.\n";

/// Largest document in bytes; the original's has 18 KB.
const DOCUMENT_BYTES_MAX: u64 = 1024 * 1024;

/// Most bytes of a path that is looked up; longer ones are places inside the page.
const PATH_BYTES_MAX: usize = 1024;

/// What a compressed file beside the plain one is called.
const BROTLI: &str = ".br";

/// The page, as it is served.
#[derive(Debug)]
pub(super) struct ControlUi {
    base: Arc<str>,
    folder: Option<Arc<Folder>>,
}

/// Where the page is on disk.
#[derive(Debug)]
struct Folder {
    root: PathBuf,
    base: Arc<str>,
    /// Whether it was said that the document cannot be read, so that it is said once until it can.
    is_missed: AtomicBool,
}

/// A file, and what the asking browser can do with it.
#[derive(Debug)]
struct Wanted {
    file: String,
    takes_document: bool,
    takes_brotli: bool,
    known: Option<HeaderValue>,
}

impl ControlUi {
    /// The page as it is configured, with or without a folder.
    pub(super) fn new(config: &ControlUiConfig) -> Self {
        let base: Arc<str> = config.base_path.as_str().into();
        let folder = config.root.as_ref().map(|root| Folder {
            root: root.clone(),
            base: Arc::clone(&base),
            is_missed: AtomicBool::new(false),
        });
        Self {
            base,
            folder: folder.map(Arc::new),
        }
    }

    /// The answer to a request; `None` when it is none of the page's.
    ///
    /// # Cancel safety
    /// Cancel safe: nothing but a read is lost.
    pub(super) async fn answer(&self, head: &request::Parts) -> Option<Response<Body>> {
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return None;
        }
        let Some(folder) = &self.folder else {
            let unserved = || guarded(respond::text(StatusCode::OK, UNSERVED));
            return self.is_opened_by_browser(head).then(unserved);
        };
        Some(guarded(match asked(head.uri.path(), &self.base) {
            Asked::Nothing => return None,
            Asked::Settings => settings::settings(&self.base),
            Asked::Redirect => {
                let query = head.uri.query();
                let query = query.map_or(String::new(), |query| format!("?{query}"));
                let location = HeaderValue::from_str(&format!("{}/{query}", self.base));
                redirect(location.ok()?)
            }
            Asked::File(file) => {
                let wanted = Wanted {
                    file: file.into_owned(),
                    takes_document: takes_document(&head.headers),
                    takes_brotli: takes_brotli(&head.headers),
                    known: head.headers.get(IF_NONE_MATCH).cloned(),
                };
                let folder = Arc::clone(folder);
                let read = tokio::task::spawn_blocking(move || folder.answer(&wanted));
                read.await.unwrap_or_else(|_aborted| unavailable())
            }
        }))
    }

    /// Whether somebody opens the address of the page, which other programs print, in a browser.
    fn is_opened_by_browser(&self, head: &request::Parts) -> bool {
        let accepted = head.headers.get(ACCEPT).map(HeaderValue::to_str);
        let is_browser = accepted.is_some_and(|it| it.is_ok_and(|it| takes(it, "text/html")));
        let below = head.uri.path().strip_prefix(&*self.base);
        is_browser && matches!(below, Some("" | "/"))
    }
}

impl Folder {
    fn answer(&self, wanted: &Wanted) -> Response<Body> {
        self.try_answer(wanted).unwrap_or_else(|error| {
            if !self.is_missed.swap(true, Ordering::Relaxed) {
                let root = self.root.display();
                tracing::warn!(%root, %error, "the Control UI cannot be served from its folder");
            }
            unavailable()
        })
    }

    fn try_answer(&self, wanted: &Wanted) -> io::Result<Response<Body>> {
        let found = if wanted.file.len() > PATH_BYTES_MAX || wanted.file == INDEX {
            None
        } else {
            open(&self.root, &wanted.file)?
        };
        match found {
            Some(found) => Ok(self.file(found, wanted)),
            None if is_asset(&wanted.file) || !wanted.takes_document => Ok(respond::not_found()),
            None => self.document(wanted),
        }
    }

    fn file(&self, plain: Found, wanted: &Wanted) -> Response<Body> {
        let never_changes = is_fingerprinted(&wanted.file);
        let compressed = (never_changes && wanted.takes_brotli)
            .then(|| {
                open(&self.root, &format!("{}{BROTLI}", wanted.file))
                    .ok()
                    .flatten()
            })
            .flatten();
        let is_compressed = compressed.is_some();
        let found = compressed.unwrap_or(plain);
        let tag = HeaderValue::from_str(&format!("W/\"{}\"", found.version)).ok();
        let content_type = content_type(&wanted.file).unwrap_or("application/octet-stream");
        let mut response = match &tag {
            Some(tag) if wanted.knows(tag) => unmodified(),
            Some(_) | None => respond::file(content_type, found.pieces()),
        };
        let headers = response.headers_mut();
        if let Some(tag) = tag {
            headers.insert(ETAG, tag);
        }
        if never_changes {
            headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        if is_compressed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("br"));
        }
        headers.insert(
            CACHE_CONTROL,
            HeaderValue::from_static(if never_changes {
                "public, max-age=31536000, immutable"
            } else {
                "no-cache"
            }),
        );
        response
    }

    fn document(&self, wanted: &Wanted) -> io::Result<Response<Body>> {
        let found = open(&self.root, INDEX)?.ok_or(io::ErrorKind::NotFound)?;
        let text = document(&found.text(DOCUMENT_BYTES_MAX)?, &self.base);
        let policy = HeaderValue::from_str(&policy(&text));
        let hash = Sha256::digest(&text);
        let hash = hash.iter().take(16).map(|byte| format!("{byte:02x}"));
        let tag = HeaderValue::from_str(&format!("\"{}\"", hash.collect::<String>()));
        let (Ok(policy), Ok(tag)) = (policy, tag) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut response = if wanted.knows(&tag) {
            unmodified()
        } else {
            respond::html(text)
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, policy);
        headers.insert(ETAG, tag);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        self.is_missed.store(false, Ordering::Relaxed);
        Ok(response)
    }
}

impl Wanted {
    /// Whether the browser has this very version (RFC 9110 §13.1.2, compared weakly).
    fn knows(&self, tag: &HeaderValue) -> bool {
        let strong = |tag: &[u8]| tag.strip_prefix(b"W/").unwrap_or(tag).to_vec();
        let known = self.known.as_ref().map(HeaderValue::as_bytes);
        known.is_some_and(|known| {
            let tags = known.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            let mut tags = tags.filter(|it| *it == b"*" || strong(it) == strong(tag.as_bytes()));
            tags.next().is_some()
        })
    }
}

/// Whether a browser that asks for a place inside the page takes the document. What asks for
/// images, scripts or JSON only is told that there is none.
fn takes_document(headers: &HeaderMap) -> bool {
    let Some(accepted) = headers.get(ACCEPT) else {
        return true;
    };
    let accepted = accepted.to_str().unwrap_or_default().to_ascii_lowercase();
    accepted.trim().is_empty()
        || ["text/html", "application/xhtml+xml", "text/*", "*/*"]
            .iter()
            .any(|wide| takes(&accepted, wide))
}

fn takes_brotli(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).map(HeaderValue::to_str);
    accepted.is_some_and(|text| text.is_ok_and(|text| takes(&text.to_ascii_lowercase(), "br")))
}

/// Whether a list of what is accepted names this, and does not refuse it with a weight of zero.
fn takes(accepted: &str, wanted: &str) -> bool {
    accepted.split(',').any(|item| {
        let mut parts = item.split(';').map(str::trim);
        parts.next() == Some(wanted)
            && !parts.any(|part| {
                part.strip_prefix("q=")
                    .is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0))
            })
    })
}

/// Sends a browser to the base path with its slash.
fn redirect(location: HeaderValue) -> Response<Body> {
    let mut response = respond::no_content();
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(LOCATION, location);
    response
}

fn unmodified() -> Response<Body> {
    let mut response = respond::no_content();
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

fn unavailable() -> Response<Body> {
    let text = "The Control UI is not where gateway.controlUi.root says.";
    let mut response = respond::text(StatusCode::SERVICE_UNAVAILABLE, text);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Adds what keeps a browser from more than the page needs.
fn guarded(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(
        PERMISSIONS_POLICY.clone(),
        HeaderValue::from_static(PERMISSIONS),
    );
    if !headers.contains_key(CONTENT_SECURITY_POLICY)
        && let Ok(policy) = HeaderValue::from_str(&policy(""))
    {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_place_inside_the_page_is_for_those_who_read_documents() {
        assert!(takes_document(&HeaderMap::new()));
        for (accept, expected) in [
            ("", true),
            ("text/html,application/xhtml+xml;q=0.9", true),
            ("*/*", true),
            ("Text/HTML", true),
            ("image/avif,image/webp,image/*;q=0.8", false),
            ("application/json", false),
            ("text/html;q=0", false),
        ] {
            assert_eq!(
                takes_document(&headers(ACCEPT, accept)),
                expected,
                "{accept}"
            );
        }
    }

    #[test]
    fn compressed_files_are_for_those_who_ask() {
        assert!(!takes_brotli(&HeaderMap::new()));
        for (encoding, expected) in [
            ("gzip, deflate, br, zstd", true),
            ("gzip, br;q=0.5", true),
            ("br;q=0", false),
            ("br;q=0.000", false),
            ("brotli", false),
            ("", false),
        ] {
            let headers = headers(ACCEPT_ENCODING, encoding);
            assert_eq!(takes_brotli(&headers), expected, "{encoding}");
        }
    }

    #[test]
    fn a_version_that_is_known_is_not_sent_again() {
        let check = |known: Option<&'static str>, tag: &'static str, expected| {
            let wanted = Wanted {
                file: String::new(),
                takes_document: true,
                takes_brotli: false,
                known: known.map(HeaderValue::from_static),
            };
            assert_eq!(
                wanted.knows(&HeaderValue::from_static(tag)),
                expected,
                "{known:?}"
            );
        };
        check(None, "\"a\"", false);
        check(Some("\"a\""), "\"a\"", true);
        check(Some("W/\"a\""), "\"a\"", true);
        check(Some("\"a\""), "W/\"a\"", true);
        check(Some("\"b\", W/\"a\""), "W/\"a\"", true);
        check(Some("*"), "\"a\"", true);
        check(Some("\"b\""), "\"a\"", false);
        check(Some("a"), "\"a\"", false);
    }
}
