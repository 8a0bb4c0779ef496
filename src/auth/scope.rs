//! What a principal may do: scopes, operations, and the one table between them.

use std::fmt;

/// A right, as `protocol-facts` §4.2 names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Everything.
    Admin,
    /// Reading state and events.
    Read,
    /// Sending messages and stopping runs.
    Write,
    /// Deciding approvals.
    Approvals,
    /// Answering questions.
    Questions,
    /// Pairing devices.
    Pairing,
    /// Talk mode.
    Talk,
    /// Secrets of talk mode.
    TalkSecrets,
}

impl Scope {
    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "operator.admin",
            Self::Read => "operator.read",
            Self::Write => "operator.write",
            Self::Approvals => "operator.approvals",
            Self::Questions => "operator.questions",
            Self::Pairing => "operator.pairing",
            Self::Talk => "operator.talk",
            Self::TalkSecrets => "operator.talk.secrets",
        }
    }
}

/// The scopes a principal holds. Unknown names are kept as they came and satisfy only themselves.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ScopeSet {
    names: Vec<std::sync::Arc<str>>,
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.names).finish()
    }
}

impl ScopeSet {
    /// No scopes.
    pub const fn empty() -> Self {
        Self { names: Vec::new() }
    }

    /// Every scope an operator with the shared secret holds over HTTP (`http-facts` §2.6).
    pub fn full() -> Self {
        let all = [
            Scope::Admin,
            Scope::Read,
            Scope::Write,
            Scope::Approvals,
            Scope::Questions,
            Scope::Pairing,
            Scope::TalkSecrets,
        ];
        all.iter().map(|scope| scope.as_str()).collect()
    }

    /// The names, in the order they were asked for.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether the holder may do what needs `scope`, implications included (§4.2).
    pub fn allows(&self, scope: Scope) -> bool {
        self.names().any(|name| {
            name == Scope::Admin.as_str()
                || name == scope.as_str()
                || (name == Scope::Write.as_str() && matches!(scope, Scope::Read | Scope::Talk))
        })
    }
}

impl<'a> FromIterator<&'a str> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let mut set = Self::empty();
        for name in names {
            if !set.names.iter().any(|known| &**known == name) {
                set.names.push(name.into());
            }
        }
        set
    }
}

/// Everything a front can ask for. Routes and methods map to operations, operations to scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `POST /v1/chat/completions`.
    ChatCompletion,
    /// `GET /v1/models`.
    ListModels,
    /// A native method, by name; unknown names need `operator.admin` (§4.3).
    Method(&'static str),
}

impl Operation {
    /// The scope the operation needs; `None` when everybody may do it.
    pub fn required(self) -> Option<Scope> {
        match self {
            Self::ChatCompletion => Some(Scope::Write),
            Self::ListModels => Some(Scope::Read),
            Self::Method(_name) => Some(Scope::Admin),
        }
    }
}
