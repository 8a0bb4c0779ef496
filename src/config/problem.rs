//! Everything that can be wrong with a configuration, and the list of what is.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::agent::model::{BaseUrlError, HeaderError};
use crate::agent::sim::{SimConfigError, SimScriptError};
use crate::ids::IdError;

use super::json5::SyntaxError;
use super::source::Span;
use super::value::KeyPath;

/// Most problems that are kept.
pub const PROBLEMS_MAX: usize = 200;

/// Whether a problem keeps the gateway from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Unreadable(#[source] Arc<io::Error>),
    /// A file that was named is not there.
    #[error("the file does not exist")]
    NoSuchFile,
    /// The file is not UTF-8.
    #[error("the file is not UTF-8 text")]
    NotUtf8,
    /// The text is not JSON5.
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// The file holds something else than an object.
    #[error("a configuration is an object, found {0}")]
    NotAnObject(&'static str),
    /// An include cannot be followed.
    #[error(transparent)]
    Include(#[from] IncludeError),
    /// A variable is missing or empty.
    #[error("the variable {0} is not set")]
    VariableMissing(String),
    /// A value that is not what it should be.
    #[error("expected {expected}, found {found:?}")]
    BadValue {
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A key that is near one we know.
    #[error("unknown key `{key}`; did you mean `{nearest}`?")]
    UnknownKey {
        /// The key.
        key: String,
        /// The key that was meant.
        nearest: String,
    },
    /// A key of ours' section that clawport does not use.
    #[error("not used by clawport")]
    UnusedKey,
    /// A section that clawport does not use.
    #[error("the section is not used by clawport")]
    UnusedSection,
    /// A key that must be there is not.
    #[error("the key `{0}` is missing")]
    MissingKey(String),
    /// A value of another type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What may stand here.
        expected: String,
        /// What stands here.
        found: &'static str,
    },
    /// A number outside of its range.
    #[error("expected a whole number from {min} to {max}, found {found}")]
    OutOfRange {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
        /// The value.
        found: String,
    },
    /// A word that is not one of those that may stand here.
    #[error("expected {allowed}, found \"{found}\"")]
    NotOneOf {
        /// The words.
        allowed: String,
        /// The word.
        found: String,
    },
    /// The checked file does not fit our own types after all.
    #[error("the configuration cannot be taken in: {0}")]
    Unfit(#[source] Arc<serde_json::Error>),
    /// There is no home directory to keep state in.
    #[error("there is no home directory; set OPENCLAW_STATE_DIR")]
    NoHome,
    /// `gateway.bind: "custom"` without an address.
    #[error("bind \"custom\" needs `gateway.customBindHost`")]
    NoBindHost,
    /// A way to bind that clawport does not know how to follow.
    #[error("bind \"tailnet\" is not supported; loopback is used")]
    TailnetBind,
    /// Everybody who reaches the port could use it.
    #[error(
        "refusing to listen on {address} without a secret of your own; set OPENCLAW_GATEWAY_TOKEN \
         or `gateway.auth.token`, or bind to loopback"
    )]
    OpenBind {
        /// The address.
        address: std::net::IpAddr,
    },
    /// Token and password without a mode.
    #[error("token and password are both set; say which one counts with `gateway.auth.mode`")]
    TwoSecrets,
    /// The mode asks for a secret that is nowhere.
    #[error("mode \"password\" needs `gateway.auth.password` or OPENCLAW_GATEWAY_PASSWORD")]
    NoPassword,
    /// A mode that clawport does not support.
    #[error("mode \"trusted-proxy\" is not supported; use \"token\" or \"password\"")]
    TrustedProxy,
    /// A secret that is none.
    #[error("{0}")]
    BadSecret(SecretFlaw),
    /// A secret that is easily guessed.
    #[error("the secret is shorter than {0} characters and easily guessed")]
    ShortSecret(usize),
    /// A secret kept where clawport cannot read it.
    #[error("secrets of source \"{0}\" are not supported; use \"env\" or ${{NAME}}")]
    SecretSource(String),
    /// The file with the generated token cannot be read or written.
    #[error("the token cannot be kept: {0}")]
    TokenFile(#[source] Arc<io::Error>),
    /// Others may read the file with the generated token.
    #[error("other users may read this file; it should have mode 0600")]
    TokenFileOpen,
    /// `Strict-Transport-Security` cannot be sent.
    #[error("expected a header value or false")]
    BadHsts,
    /// The folder of the Control UI is not there.
    #[error("there is no folder {}", .0.display())]
    NoControlUiFolder(PathBuf),
    /// The folder of the Control UI holds something else.
    #[error("there is no index.html in {}", .0.display())]
    NoControlUiDocument(PathBuf),
    /// An agent id that is not in the grammar.
    #[error("not an agent id: {0}")]
    BadAgentId(IdError),
    /// Two agents of one id.
    #[error("there are two agents with the id `{0}`")]
    DuplicateAgent(String),
    /// A second default.
    #[error("another agent is the default already; this mark is ignored")]
    SecondDefault,
    /// Several agents and no default.
    #[error("several agents and none has `default: true`; every request has to name one")]
    NoDefault,
    /// An alias of an agent that is not there.
    #[error("there is no agent `{0}`")]
    UnknownAgent(String),
    /// A model that does not name a provider.
    #[error("expected \"provider/model\", found \"{0}\"")]
    BadModel(String),
    /// A provider that is near one that is configured.
    #[error("there is no provider `{provider}`; did you mean `{nearest}`?")]
    MistypedProvider {
        /// The provider.
        provider: String,
        /// The provider that was meant.
        nearest: String,
    },
    /// A provider that is not configured.
    #[error("there is no `models.providers.{0}`; runs that need it will fail")]
    NoProvider(String),
    /// A model that is not in the provider's list, but near one that is.
    #[error("not in the models of provider `{provider}`; did you mean `{nearest}`?")]
    MistypedModel {
        /// The provider.
        provider: String,
        /// The model that was meant.
        nearest: String,
    },
    /// A model that is not in the provider's list.
    #[error("not in the models of provider `{0}`; its context window is not known")]
    UnlistedModel(String),
    /// A provider name that means something else.
    #[error("the name `sim` is taken by the built-in simulated models")]
    SimProvider,
    /// A simulated model beside others.
    #[error("a simulated model has no fallbacks and is none")]
    SimFallback,
    /// A simulated model that means nothing.
    #[error(transparent)]
    Sim(#[from] SimConfigError),
    /// `sim/script` without a script.
    #[error("sim/script needs a script: `sim/script?file=PATH`")]
    NoScript,
    /// The script cannot be used.
    #[error("the script cannot be used: {0}")]
    Script(#[source] Arc<SimScriptError>),
    /// A provider without an address.
    #[error("the provider has no `baseUrl`; runs that need it will fail")]
    NoBaseUrl,
    /// A provider whose secret is kept where clawport cannot read it.
    #[error("secrets of source \"{0}\" are not supported; runs that need it will fail")]
    ProviderSecret(String),
    /// An address that cannot be called.
    #[error(transparent)]
    BaseUrl(#[from] BaseUrlError),
    /// A key or header that cannot be sent.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A dialect clawport does not speak.
    #[error("api \"{0}\" is not supported; runs that need it will fail")]
    UnsupportedApi(String),
    /// A main key that cannot be part of a session key.
    #[error("expected 1 to {0} characters without `:`, space or control characters")]
    BadMainKey(usize),
}

/// Why a secret is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretFlaw {
    /// It is empty or white space.
    #[error("the secret is blank")]
    Blank,
    /// It is what somebody forgot to replace.
    #[error("the secret is a placeholder; choose one of your own")]
    Placeholder,
    /// It still holds a `${…}`.
    #[error("the secret holds an unresolved ${{…}}; names are upper case")]
    Unresolved,
    /// It is what `config.get` shows in place of a secret.
    #[error("the secret was replaced when this configuration was shown; put it in again")]
    Redacted,
}

/// Why an include cannot be followed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IncludeError {
    /// Neither a path nor a list of paths.
    #[error("expected a path or a list of paths, found {0}")]
    Form(&'static str),
    /// The file is not there or cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// The path, made absolute.
        path: String,
        /// What the operating system says.
        source: Arc<io::Error>,
    },
    /// The file is not UTF-8.
    #[error("{0} is not UTF-8 text")]
    NotUtf8(String),
    /// The file is not under the directory of the configuration.
    #[error("{0} is outside of the directory of the configuration")]
    Outside(String),
    /// The file includes itself.
    #[error("{0} includes itself")]
    Circle(String),
    /// Too many files inside each other.
    #[error("more than {0} files inside each other")]
    TooDeep(usize),
    /// Too many files.
    #[error("more than {0} files")]
    TooMany(usize),
    /// Keys beside an include of something that has no keys.
    #[error("with keys beside it, what is included must be an object, found {0}")]
    NotAnObject(&'static str),
}

impl Fault {
    /// Whether the gateway can start in spite of it.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::UnusedKey
            | Self::UnusedSection
            | Self::TailnetBind
            | Self::ShortSecret(_)
            | Self::TokenFileOpen
            | Self::NoControlUiFolder(_)
            | Self::NoControlUiDocument(_)
            | Self::SecondDefault
            | Self::NoDefault
            | Self::NoProvider(_)
            | Self::MistypedModel { .. }
            | Self::UnlistedModel(_)
            | Self::ProviderSecret(_)
            | Self::NoBaseUrl
            | Self::UnsupportedApi(_) => Severity::Warning,
            Self::Unreadable(_)
            | Self::NoSuchFile
            | Self::NotUtf8
            | Self::Syntax(_)
            | Self::NotAnObject(_)
            | Self::Include(_)
            | Self::VariableMissing(_)
            | Self::BadValue { .. }
            | Self::UnknownKey { .. }
            | Self::MissingKey(_)
            | Self::WrongType { .. }
            | Self::OutOfRange { .. }
            | Self::NotOneOf { .. }
            | Self::Unfit(_)
            | Self::NoHome
            | Self::NoBindHost
            | Self::OpenBind { .. }
            | Self::TwoSecrets
            | Self::NoPassword
            | Self::TrustedProxy
            | Self::BadSecret(_)
            | Self::SecretSource(_)
            | Self::TokenFile(_)
            | Self::BadHsts
            | Self::BadAgentId(_)
            | Self::DuplicateAgent(_)
            | Self::UnknownAgent(_)
            | Self::BadModel(_)
            | Self::MistypedProvider { .. }
            | Self::SimProvider
            | Self::SimFallback
            | Self::Sim(_)
            | Self::NoScript
            | Self::Script(_)
            | Self::BaseUrl(_)
            | Self::Header(_)
            | Self::BadMainKey(_) => Severity::Error,
        }
    }
}

/// A fault and where it is.
#[derive(Clone, Debug)]
pub struct Problem {
    /// What is wrong.
    pub fault: Fault,
    /// The key it is at; empty when it is the whole file, or no key at all.
    pub path: KeyPath,
    /// Where it is written.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A place in a file, and an earlier one that belongs to it.
    Text {
        /// The place.
        span: Span,
        /// The earlier place.
        related: Option<Span>,
    },
    /// A flag, a variable or a file as a whole, by name.
    Named(Cow<'static, str>),
    /// Nowhere: nothing was written.
    Absent,
}

/// What is wrong, in the order it was found; bounded by [`PROBLEMS_MAX`].
#[derive(Clone, Debug, Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// Adds a problem.
    pub(super) fn push(&mut self, path: KeyPath, origin: Origin, fault: impl Into<Fault>) {
        let fault = fault.into();
        // Warnings leave room for errors, which matter more.
        let room = match fault.severity() {
            Severity::Error => PROBLEMS_MAX,
            Severity::Warning => PROBLEMS_MAX / 2,
        };
        if self.list.len() < room {
            self.list.push(Problem {
                fault,
                path,
                origin,
            });
        }
    }

    /// Adds a problem at a place in a file.
    pub(super) fn at(&mut self, path: KeyPath, span: Span, fault: impl Into<Fault>) {
        let related = None;
        self.push(path, Origin::Text { span, related }, fault);
    }

    /// Whether something keeps the gateway from starting.
    pub(super) fn have_errors(&self) -> bool {
        let is_error = |problem: &Problem| problem.fault.severity() == Severity::Error;
        self.list.iter().any(is_error)
    }

    /// The warnings, as path and message.
    pub(super) fn warnings(&self) -> Vec<(Arc<str>, Arc<str>)> {
        let is_warning = |problem: &&Problem| problem.fault.severity() == Severity::Warning;
        let warnings = self.list.iter().filter(is_warning);
        warnings
            .map(|problem| {
                (
                    problem.path.to_string().into(),
                    problem.fault.to_string().into(),
                )
            })
            .collect()
    }

    pub(super) fn into_list(self) -> Vec<Problem> {
        self.list
    }
}
