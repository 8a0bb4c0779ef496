//! Why a call of a model server failed, and what a peer is told about it.
//!
//! Owns the way from statuses and error bodies to one `RunError`. Nothing a server sent reaches a
//! peer but a short, cleaned excerpt of its message, and never a secret of ours.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};

use crate::agent::status;
use crate::error::ErrorCode;
use crate::run::RunError;

use super::chunk::Complaint;
use super::config::{ApiKey, Endpoint};
use super::sse::SseError;

/// Longest wait a server can ask for before a call is repeated.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// Most characters of a server's message that are passed on.
const EXCERPT_CHARS_MAX: usize = 300;

/// Shortest secret that is looked for inside of words; shorter ones are ordinary words.
const SECRET_BYTES_MIN: usize = 8;

/// Longest error code of a server that is passed on.
const CODE_BYTES_MAX: usize = 64;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// No connection was made.
    #[error("no connection to the model server")]
    Connect(#[source] hyper_util::client::legacy::Error),
    /// No connection was made in time.
    #[error("no connection to the model server within {0:?}")]
    ConnectTimeout(Duration),
    /// The connection ended before the first byte of an answer.
    #[error("the model server closed the connection before it answered")]
    Closed(#[source] Option<ClosedBy>),
    /// The first byte of the answer did not come in time.
    #[error("the model server sent no answer within {0:?}")]
    FirstByte(Duration),
    /// The answer stopped in the middle.
    #[error("the model server was silent for {0:?} in the middle of its answer")]
    Idle(Duration),
    /// The server answered with another status than 200.
    #[error("the model server answered {}", .0.status)]
    Refused(Refusal),
    /// The connection broke in the middle of the answer.
    #[error("the connection to the model server broke in the middle of its answer")]
    Broken(#[source] hyper::Error),
    /// The answer ended without saying that it ends.
    #[error("the model server ended its answer early")]
    Truncated,
    /// The answer is no stream of events.
    #[error("the model server sent a malformed stream")]
    Stream(#[from] SseError),
    /// An event is not JSON.
    #[error("the model server sent an event that is not valid JSON")]
    NotJson(#[source] serde_json::Error),
    /// The server reported a failure inside its answer.
    #[error("the model server reported a failure in the middle of its answer")]
    Complained(Complaint),
    /// The server's content filter ended the answer.
    #[error("the content filter of the model server stopped the answer")]
    Filtered,
    /// The answer calls too many tools, or none by name.
    #[error("the model server sent more tool calls than can be handled")]
    TooManyCalls,
    /// The model takes no images.
    #[error("the model does not take images")]
    NoImages,
    /// What is to be answered is larger than the model's context window.
    #[error("the message does not fit the context window of the model")]
    Overflow,
    /// The call could not be written down.
    #[error("the call could not be encoded")]
    Encode(#[source] serde_json::Error),
}

/// What noticed that a connection was closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClosedBy {
    /// The call was being sent, or its answer waited for.
    #[error(transparent)]
    Sending(hyper_util::client::legacy::Error),
    /// The answer had begun, without a byte of its body.
    #[error(transparent)]
    Reading(hyper::Error),
}

/// An answer with another status than 200.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) complaint: Option<Complaint>,
    pub(super) retry_after: Option<Duration>,
}

impl CallError {
    /// Whether the same call may be sent to the same server again: nothing of an answer came, and a
    /// moment later it may.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Connect(_) | Self::ConnectTimeout(_) | Self::Closed(_) => true,
            Self::Refused(refusal) => {
                status::is_passing(refusal.status)
                    && self.code() != ErrorCode::UpstreamBilling
                    && refusal
                        .retry_after
                        .is_none_or(|wait| wait <= RETRY_AFTER_MAX)
            }
            Self::FirstByte(_)
            | Self::Idle(_)
            | Self::Broken(_)
            | Self::Truncated
            | Self::Stream(_)
            | Self::NotJson(_)
            | Self::Complained(_)
            | Self::Filtered
            | Self::TooManyCalls
            | Self::NoImages
            | Self::Overflow
            | Self::Encode(_) => false,
        }
    }

    /// How long the server asks to wait before the next call.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }

    /// The class of the failure.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::Connect(_) | Self::ConnectTimeout(_) => ErrorCode::UpstreamConnect,
            Self::FirstByte(_) | Self::Idle(_) => ErrorCode::UpstreamTimeout,
            Self::Refused(refusal) => {
                let by_text = refusal.complaint.as_ref().and_then(told_code);
                by_text.unwrap_or_else(|| status::code(refusal.status))
            }
            Self::Complained(complaint) => {
                let by_status = complaint.status.map(status::code);
                told_code(complaint)
                    .or(by_status)
                    .unwrap_or(ErrorCode::UpstreamFailed)
            }
            Self::Closed(_)
            | Self::Broken(_)
            | Self::Truncated
            | Self::Stream(_)
            | Self::NotJson(_)
            | Self::TooManyCalls => ErrorCode::UpstreamFailed,
            Self::Filtered | Self::NoImages => ErrorCode::UpstreamRequest,
            Self::Overflow => ErrorCode::ContextOverflow,
            Self::Encode(_) => ErrorCode::Internal,
        }
    }

    /// What the run ends with.
    pub(super) fn run_error(&self, endpoint: &Endpoint) -> RunError {
        let code = self.code();
        let complaint = match self {
            Self::Refused(refusal) => refusal.complaint.as_ref(),
            Self::Complained(complaint) => Some(complaint),
            _ => None,
        };
        let upstream_code = complaint.and_then(|complaint| complaint.code.as_deref());
        RunError {
            code,
            message: self.message(code, endpoint).into(),
            upstream_code: upstream_code.filter(|code| is_plain(code)).map(Arc::from),
        }
    }

    fn message(&self, code: ErrorCode, endpoint: &Endpoint) -> String {
        if code == ErrorCode::UpstreamAuth {
            // Servers quote the key they refuse.
            return "the model server refused the gateway's API key".to_owned();
        }
        match self {
            Self::Refused(refusal) if (300..400).contains(&refusal.status) => format!(
                "the model server redirects ({}), which is not followed",
                refusal.status
            ),
            Self::Refused(refusal) => match told(refusal.complaint.as_ref(), endpoint) {
                Some(text) => format!("{} {text}", refusal.status),
                None => self.to_string(),
            },
            Self::Complained(complaint) => {
                told(Some(complaint), endpoint).unwrap_or_else(|| self.to_string())
            }
            _ => self.to_string(),
        }
    }
}

/// The class of failure a server's own words stand for, where they say more than the status.
fn told_code(complaint: &Complaint) -> Option<ErrorCode> {
    let by_code = match complaint.code.as_deref() {
        Some("context_length_exceeded" | "exceed_context_size_error") => {
            Some(ErrorCode::ContextOverflow)
        }
        Some("insufficient_quota" | "billing_hard_limit_reached") => {
            Some(ErrorCode::UpstreamBilling)
        }
        Some("model_not_found") => Some(ErrorCode::UpstreamModel),
        Some("rate_limit_exceeded" | "rate_limit_error") => Some(ErrorCode::UpstreamRateLimit),
        Some("overloaded_error") => Some(ErrorCode::UpstreamOverloaded),
        _ => None,
    };
    by_code.or_else(|| {
        let text = complaint.message.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        let too_long = has(&["context length", "context window", "context size"])
            && has(&["exceed", "maximum", "larger than", "too long"]);
        too_long.then_some(ErrorCode::ContextOverflow)
    })
}

/// An excerpt of a server's message without control characters and secrets.
fn told(complaint: Option<&Complaint>, endpoint: &Endpoint) -> Option<String> {
    let mut clean = String::new();
    let mut chars_left = EXCERPT_CHARS_MAX;
    let mut after_bearer = false;
    for word in complaint?.message.split_whitespace() {
        let shown = if after_bearer || is_secret(word, endpoint) {
            "[secret]"
        } else {
            word
        };
        after_bearer = word.eq_ignore_ascii_case("bearer");
        if !clean.is_empty() {
            clean.push(' ');
        }
        let printable = shown.chars().filter(|c| !c.is_control());
        for shown in printable {
            if chars_left == 0 {
                clean.push('…');
                return Some(clean);
            }
            chars_left -= 1;
            clean.push(shown);
        }
    }
    Some(clean).filter(|clean| !clean.is_empty())
}

fn is_secret(word: &str, endpoint: &Endpoint) -> bool {
    let key = endpoint.api_key.as_ref().map(ApiKey::expose);
    let values = endpoint.headers.map().values();
    let values = values.filter_map(|value| value.to_str().ok());
    let holds = |secret: &str| {
        word == secret || (secret.len() >= SECRET_BYTES_MIN && word.contains(secret))
    };
    let looks_like_a_key = word
        .split_once("sk-")
        .is_some_and(|(_, rest)| rest.len() >= SECRET_BYTES_MIN);
    looks_like_a_key || key.into_iter().chain(values).any(holds)
}

fn is_plain(code: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    code.len() <= CODE_BYTES_MAX && !code.is_empty() && code.bytes().all(fits)
}

/// How long the headers of an answer ask to wait. A date counts from the server's own clock.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |value: &HeaderValue| value.to_str().ok().map(|text| text.trim().to_owned());
    let seconds = |text: &str, unit: f64| {
        let number = text.parse::<f64>().ok()?;
        Duration::try_from_secs_f64(number * unit).ok()
    };
    let precise = headers.get("retry-after-ms").and_then(text);
    if let Some(wait) = precise.and_then(|text| seconds(&text, 0.001)) {
        return Some(wait);
    }
    let asked = headers.get(RETRY_AFTER).and_then(text)?;
    seconds(&asked, 1.0).or_else(|| {
        let until = httpdate::parse_http_date(&asked).ok()?;
        let now = httpdate::parse_http_date(&text(headers.get(DATE)?)?).ok()?;
        Some(until.duration_since(now).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::model::BaseUrl;
    use crate::run::ModelRef;

    fn endpoint() -> Endpoint {
        let mut endpoint = Endpoint::new(
            ModelRef {
                provider: "p".into(),
                model: "m".into(),
            },
            BaseUrl::parse("http://127.0.0.1:1/v1").unwrap(),
        );
        endpoint.api_key = Some(ApiKey::parse("hush-hush-1").unwrap());
        endpoint.headers.insert("x-key", "header-secret").unwrap();
        endpoint
    }

    fn refused(status: u16, body: &str) -> CallError {
        CallError::Refused(Refusal {
            status,
            complaint: Complaint::from_body(body.as_bytes()),
            retry_after: None,
        })
    }

    fn check(status: u16, body: &str, code: ErrorCode, message: &str) {
        let error = refused(status, body).run_error(&endpoint());
        assert_eq!(
            (error.code, &*error.message),
            (code, message),
            "{status} {body}"
        );
    }

    #[test]
    fn refusals_have_one_meaning_and_a_safe_message() {
        check(
            400,
            r#"{"error":{"message":"Invalid value for parameter temperature"}}"#,
            ErrorCode::UpstreamRequest,
            "400 Invalid value for parameter temperature",
        );
        check(
            401,
            r#"{"error":{"message":"Incorrect API key provided: hush"}}"#,
            ErrorCode::UpstreamAuth,
            "the model server refused the gateway's API key",
        );
        check(
            400,
            r#"{"error":{"message":"too much","code":"context_length_exceeded"}}"#,
            ErrorCode::ContextOverflow,
            "400 too much",
        );
        check(
            400,
            r#"{"error":{"message":"This model's maximum context length is 4096 tokens"}}"#,
            ErrorCode::ContextOverflow,
            "400 This model's maximum context length is 4096 tokens",
        );
        check(
            429,
            r#"{"error":{"message":"pay","code":"insufficient_quota"}}"#,
            ErrorCode::UpstreamBilling,
            "429 pay",
        );
        check(
            400,
            r#"{"error":{"message":"m?","code":"model_not_found"}}"#,
            ErrorCode::UpstreamModel,
            "400 m?",
        );
        check(
            500,
            "<html>",
            ErrorCode::UpstreamFailed,
            "the model server answered 500",
        );
        check(
            503,
            "",
            ErrorCode::UpstreamOverloaded,
            "the model server answered 503",
        );
        check(
            302,
            "",
            ErrorCode::UpstreamFailed,
            "the model server redirects (302), which is not followed",
        );
    }

    #[test]
    fn secrets_and_control_characters_never_pass() {
        for (said, expected) in [
            ("key hush-hush-1 refused", "500 key [secret] refused"),
            ("key=hush-hush-1, sir", "500 [secret] sir"),
            ("header-secret", "500 [secret]"),
            ("got sk-proj-12345678 there", "500 got [secret] there"),
            (
                "Authorization: Bearer abc def",
                "500 Authorization: Bearer [secret] def",
            ),
            ("a\\u0000b\\u001b[31m\\n  c", "500 ab[31m c"),
            ("a task-based approach", "500 a task-based approach"),
        ] {
            let body = format!(r#"{{"error":{{"message":"{said}"}}}}"#);
            let error = refused(500, &body).run_error(&endpoint());
            assert_eq!(&*error.message, expected);
        }
        let long = format!(r#"{{"error":"{}"}}"#, "ä".repeat(5_000));
        let message = refused(500, &long).run_error(&endpoint()).message;
        assert_eq!(message.chars().count(), 4 + EXCERPT_CHARS_MAX + 1);
    }

    #[test]
    fn a_servers_code_is_passed_on_when_it_is_plain() {
        let code = |code: &str| {
            let body = format!(r#"{{"error":{{"message":"m","code":"{code}"}}}}"#);
            refused(400, &body).run_error(&endpoint()).upstream_code
        };
        assert_eq!(code("bad_thing-1.0").as_deref(), Some("bad_thing-1.0"));
        assert_eq!(code("bad thing"), None);
        assert_eq!(code(&"x".repeat(65)), None);
    }

    #[test]
    fn only_what_may_pass_is_repeated() {
        let passing = |status, body| refused(status, body).is_passing();
        assert!(passing(429, "") && passing(500, "") && passing(408, "") && passing(409, ""));
        assert!(!passing(400, "") && !passing(401, "") && !passing(404, "") && !passing(302, ""));
        assert!(!passing(429, r#"{"error":{"code":"insufficient_quota"}}"#));
        let asks = |seconds| {
            CallError::Refused(Refusal {
                status: 429,
                complaint: None,
                retry_after: Some(Duration::from_secs(seconds)),
            })
        };
        assert!(asks(30).is_passing() && !asks(31).is_passing());
        assert!(CallError::Closed(None).is_passing());
        assert!(!CallError::FirstByte(Duration::ZERO).is_passing());
        assert!(!CallError::Truncated.is_passing());
    }

    #[test]
    fn failures_inside_a_stream_keep_their_class() {
        let code = |error: &str| {
            let raw: Box<serde_json::value::RawValue> = serde_json::from_str(error).unwrap();
            CallError::Complained(Complaint::from_error(&raw)).code()
        };
        assert_eq!(
            code(r#"{"message":"x","code":429}"#),
            ErrorCode::UpstreamRateLimit
        );
        assert_eq!(code(r#"{"message":"x"}"#), ErrorCode::UpstreamFailed);
        assert_eq!(code(r#""x""#), ErrorCode::UpstreamFailed);
        assert_eq!(
            code(r#"{"type":"overloaded_error"}"#),
            ErrorCode::UpstreamOverloaded
        );
    }

    #[test]
    fn the_wait_a_server_asks_for_is_read_in_every_form() {
        let wait = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_str(value).unwrap());
            }
            retry_after(&headers)
        };
        let date = "Sun, 22 Nov 2026 10:00:00 GMT";
        let later = "Sun, 22 Nov 2026 10:00:20 GMT";
        assert_eq!(wait(&[]), None);
        assert_eq!(
            wait(&[("retry-after", " 5 ")]),
            Some(Duration::from_secs(5))
        );
        assert_eq!(
            wait(&[("retry-after", "0.5")]),
            Some(Duration::from_millis(500))
        );
        assert_eq!(wait(&[("retry-after", "-1")]), None);
        assert_eq!(wait(&[("retry-after", "soon")]), None);
        assert_eq!(
            wait(&[("retry-after-ms", "250"), ("retry-after", "9")]),
            Some(Duration::from_millis(250))
        );
        assert_eq!(
            wait(&[("retry-after", later), ("date", date)]),
            Some(Duration::from_secs(20))
        );
        assert_eq!(
            wait(&[("retry-after", date), ("date", later)]),
            Some(Duration::ZERO)
        );
        assert_eq!(wait(&[("retry-after", later)]), None);
    }
}
