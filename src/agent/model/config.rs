//! What a model agent is configured with.
//!
//! Owns the checks of addresses, keys and headers, so that a call cannot fail on its own
//! configuration. Must not know where the values come from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::run::ModelRef;

/// Repeats of a call at one endpoint when the configuration says nothing.
pub const RETRIES_DEFAULT: u32 = 2;

/// Most repeats of a call at one endpoint.
pub const RETRIES_MAX: u32 = 10;

/// A model agent: the models it asks, in order, and what it always tells them.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// The model that is asked first, then the fallbacks.
    pub endpoints: Vec<Endpoint>,
    /// The agent's own system text.
    pub system: Option<Arc<str>>,
    /// How often a call is repeated at one endpoint before the next one is tried; never after the
    /// first byte of an answer.
    pub retries: u32,
}

/// One model at one OpenAI-compatible server.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Provider and model id; the model id is sent as it stands.
    pub model: ModelRef,
    /// Where the server is.
    pub base_url: BaseUrl,
    /// What authorizes the gateway there.
    pub api_key: Option<ApiKey>,
    /// Headers added to every call.
    pub headers: ExtraHeaders,
    /// How long the server may take.
    pub timeouts: Timeouts,
    /// Tokens the model can take in and give out together; `None` leaves the check to the server.
    pub context_window: Option<u64>,
    /// Most tokens of one answer.
    pub max_tokens: Option<u64>,
    /// The name of the request field that carries that limit.
    pub token_limit_field: TokenLimitField,
    /// Whether the model reasons before it answers.
    pub reasoning: bool,
    /// What the model takes in (`text`, `image`); empty when nobody said.
    pub input: Vec<Arc<str>>,
}

impl Endpoint {
    /// An endpoint with everything else at its default.
    pub fn new(model: ModelRef, base_url: BaseUrl) -> Self {
        Self {
            token_limit_field: TokenLimitField::usual_at(&base_url),
            model,
            base_url,
            api_key: None,
            headers: ExtraHeaders::default(),
            timeouts: Timeouts::default(),
            context_window: None,
            max_tokens: None,
            reasoning: false,
            input: Vec::new(),
        }
    }

    /// Whether the model is known not to take images.
    pub(super) fn refuses_images(&self) -> bool {
        !self.input.is_empty() && !self.input.iter().any(|kind| &**kind == "image")
    }
}

/// How long a model server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Name lookup, TCP and TLS.
    pub connect: Duration,
    /// From the start of a call to the first byte of the answer's body.
    pub first_byte: Duration,
    /// Silence inside the answer.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_mins(2),
            idle: Duration::from_mins(1),
        }
    }
}

impl Timeouts {
    /// The limits that `timeoutSeconds` of a provider stands for: the longest silence at any point.
    pub fn from_timeout(timeout: Duration) -> Self {
        Self {
            connect: timeout.min(Self::default().connect),
            first_byte: timeout,
            idle: timeout,
        }
    }
}

/// Which request field limits the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenLimitField {
    /// `max_tokens`, understood by local servers.
    MaxTokens,
    /// `max_completion_tokens`, demanded by newer models of `OpenAI`.
    MaxCompletionTokens,
}

impl TokenLimitField {
    /// The field the server at `base_url` most likely wants.
    pub fn usual_at(base_url: &BaseUrl) -> Self {
        let host = base_url.host();
        if host.ends_with(".openai.com") || host.ends_with(".azure.com") {
            Self::MaxCompletionTokens
        } else {
            Self::MaxTokens
        }
    }

    /// Reads the name of the field.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "max_tokens" => Some(Self::MaxTokens),
            "max_completion_tokens" => Some(Self::MaxCompletionTokens),
            _ => None,
        }
    }
}

/// A base URL that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// It does not parse as an absolute URL.
    #[error("not an absolute URL such as http://127.0.0.1:11434/v1")]
    NotAbsolute,
    /// It is neither `http` nor `https`.
    #[error("the scheme must be http or https")]
    Scheme,
    /// It carries a user name or a password.
    #[error("credentials do not belong in the URL; use apiKey")]
    Credentials,
    /// It carries a query.
    #[error("the URL must not have a query")]
    Query,
    /// It names the operation, which is added later.
    #[error("leave out /chat/completions; it is added to the base URL")]
    Operation,
}

/// The address of an OpenAI-compatible server, up to and including its version (`…/v1`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    text: Arc<str>,
    chat: Uri,
    models: Uri,
}

impl BaseUrl {
    /// Checks an address.
    ///
    /// # Errors
    /// [`BaseUrlError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, BaseUrlError> {
        let text = text.trim().trim_end_matches('/');
        let uri: Uri = text.parse().map_err(|_invalid| BaseUrlError::NotAbsolute)?;
        let authority = uri.authority().ok_or(BaseUrlError::NotAbsolute)?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            Some(_) => return Err(BaseUrlError::Scheme),
            None => return Err(BaseUrlError::NotAbsolute),
        }
        if authority.as_str().contains('@') {
            return Err(BaseUrlError::Credentials);
        }
        if text.contains(['?', '#']) {
            return Err(BaseUrlError::Query);
        }
        if uri.path().ends_with("/chat/completions") {
            return Err(BaseUrlError::Operation);
        }
        let join = |tail: &str| {
            let whole = format!("{text}{tail}");
            whole.parse().map_err(|_invalid| BaseUrlError::NotAbsolute)
        };
        Ok(Self {
            chat: join("/chat/completions")?,
            models: join("/models")?,
            text: text.into(),
        })
    }

    /// The address as it was given, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name or address of the host.
    pub fn host(&self) -> &str {
        self.chat.host().unwrap_or_default()
    }

    pub(super) const fn chat(&self) -> &Uri {
        &self.chat
    }

    pub(super) const fn models(&self) -> &Uri {
        &self.models
    }
}

/// A key or header that cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The name is not a header name.
    #[error("{name:?} is not a header name")]
    Name {
        /// The name.
        name: Arc<str>,
    },
    /// The value holds a character no header may hold.
    #[error("the value of {name} holds a character that cannot be sent")]
    Value {
        /// The name.
        name: Arc<str>,
    },
    /// The header is made by the client itself.
    #[error("{name} cannot be set")]
    Reserved {
        /// The name.
        name: Arc<str>,
    },
}

/// What authorizes the gateway at a model server. Never shown.
#[derive(Clone)]
pub struct ApiKey {
    header: HeaderValue,
    key: Arc<str>,
}

impl ApiKey {
    /// Checks that the key can be sent.
    ///
    /// # Errors
    /// [`HeaderError::Value`] when it cannot.
    pub fn parse(key: &str) -> Result<Self, HeaderError> {
        let key = key.trim();
        let mut header = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_invalid| {
            HeaderError::Value {
                name: "apiKey".into(),
            }
        })?;
        header.set_sensitive(true);
        Ok(Self {
            header,
            key: key.into(),
        })
    }

    pub(super) const fn header(&self) -> &HeaderValue {
        &self.header
    }

    pub(super) fn expose(&self) -> &str {
        &self.key
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Headers added to every call of an endpoint. Their values are never shown.
#[derive(Clone, Default)]
pub struct ExtraHeaders(HeaderMap);

impl ExtraHeaders {
    /// Adds a header.
    ///
    /// # Errors
    /// [`HeaderError`] when it cannot be sent, or when the client itself makes it.
    pub fn insert(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_invalid| HeaderError::Name { name: name.into() })?;
        if RESERVED.contains(&parsed.as_str()) {
            return Err(HeaderError::Reserved { name: name.into() });
        }
        let mut value = HeaderValue::from_str(value)
            .map_err(|_invalid| HeaderError::Value { name: name.into() })?;
        value.set_sensitive(true);
        self.0.insert(parsed, value);
        Ok(())
    }

    pub(super) const fn map(&self) -> &HeaderMap {
        &self.0
    }
}

/// Headers that frame the request; a second opinion on them would break it.
const RESERVED: [&str; 7] = [
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "upgrade",
];

impl fmt::Debug for ExtraHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.keys().map(|name| (name.as_str(), "[secret]"));
        f.debug_map().entries(names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<(&str, &str), BaseUrlError>) {
        let parsed = BaseUrl::parse(text);
        let seen = parsed
            .as_ref()
            .map(|url| (url.chat.to_string(), url.models.to_string()))
            .map_err(|e| *e);
        let expected = expected.map(|(chat, models)| (chat.to_owned(), models.to_owned()));
        assert_eq!(seen, expected, "{text}");
    }

    #[test]
    fn base_urls_are_checked_and_joined() {
        check(
            "http://127.0.0.1:11434/v1/",
            Ok((
                "http://127.0.0.1:11434/v1/chat/completions",
                "http://127.0.0.1:11434/v1/models",
            )),
        );
        check(
            " https://api.openai.com/v1 ",
            Ok((
                "https://api.openai.com/v1/chat/completions",
                "https://api.openai.com/v1/models",
            )),
        );
        check("127.0.0.1:8080", Err(BaseUrlError::NotAbsolute));
        check("/v1", Err(BaseUrlError::NotAbsolute));
        check("", Err(BaseUrlError::NotAbsolute));
        check("ftp://host/v1", Err(BaseUrlError::Scheme));
        check("http://me:pw@host/v1", Err(BaseUrlError::Credentials));
        check("http://host/v1?key=1", Err(BaseUrlError::Query));
        check(
            "http://host/v1/chat/completions",
            Err(BaseUrlError::Operation),
        );
    }

    #[test]
    fn secrets_are_never_shown() {
        let mut headers = ExtraHeaders::default();
        headers.insert("X-Team", "hush-hush").unwrap();
        let mut endpoint = Endpoint::new(
            ModelRef {
                provider: "p".into(),
                model: "m".into(),
            },
            BaseUrl::parse("http://host/v1").unwrap(),
        );
        endpoint.api_key = Some(ApiKey::parse("sk-very-secret").unwrap());
        endpoint.headers = headers;
        let shown = format!("{endpoint:?}");
        assert!(
            !shown.contains("very-secret") && !shown.contains("hush"),
            "{shown}"
        );
        assert!(
            shown.contains("x-team") && shown.contains("[secret]"),
            "{shown}"
        );
    }

    #[test]
    fn headers_that_frame_the_request_are_refused() {
        let mut headers = ExtraHeaders::default();
        assert!(matches!(
            headers.insert("Content-Length", "5"),
            Err(HeaderError::Reserved { .. })
        ));
        assert!(matches!(
            headers.insert("bad name", "5"),
            Err(HeaderError::Name { .. })
        ));
        assert!(matches!(
            headers.insert("x", "a\r\nb: c"),
            Err(HeaderError::Value { .. })
        ));
        assert!(ApiKey::parse("a\nb").is_err());
    }

    #[test]
    fn the_token_limit_field_follows_the_host() {
        let field = |url| TokenLimitField::usual_at(&BaseUrl::parse(url).unwrap());
        assert_eq!(
            field("https://api.openai.com/v1"),
            TokenLimitField::MaxCompletionTokens
        );
        assert_eq!(
            field("http://localhost:11434/v1"),
            TokenLimitField::MaxTokens
        );
    }

    #[test]
    fn one_timeout_bounds_every_silence() {
        let timeouts = Timeouts::from_timeout(Duration::from_secs(5));
        assert_eq!(timeouts.connect, Duration::from_secs(5));
        assert_eq!(timeouts.idle, Duration::from_secs(5));
        let timeouts = Timeouts::from_timeout(Duration::from_mins(5));
        assert_eq!(timeouts.connect, Duration::from_secs(10));
        assert_eq!(timeouts.first_byte, Duration::from_mins(5));
    }
}
