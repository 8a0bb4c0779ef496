//! What a principal may do: roles, scopes, operations and the sets of scopes peers hold.
//!
//! Which operation needs which scope is said in one place, [`super::table`].

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::table;

/// Most scope names a set keeps; further ones are dropped, so that a peer cannot fill memory.
const SCOPE_NAMES_MAX: usize = 64;

/// Longest name a set keeps, in bytes; longer ones are dropped.
const SCOPE_NAME_BYTES_MAX: usize = 128;

/// What the names of an operator's scopes begin with.
const OPERATOR_PREFIX: &str = "operator.";

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
    /// Every scope there is.
    pub const ALL: [Self; 8] = [
        Self::Admin,
        Self::Read,
        Self::Write,
        Self::Approvals,
        Self::Questions,
        Self::Pairing,
        Self::Talk,
        Self::TalkSecrets,
    ];

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

    /// Whether holding this scope is enough where `needed` is asked (§4.2).
    pub const fn satisfies(self, needed: Self) -> bool {
        match self {
            Self::Admin => true,
            Self::Write => matches!(needed, Self::Write | Self::Read | Self::Talk),
            Self::Read
            | Self::Approvals
            | Self::Questions
            | Self::Pairing
            | Self::Talk
            | Self::TalkSecrets => needed.bit() == self.bit(),
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Admin => 1,
            Self::Read => 1 << 1,
            Self::Write => 1 << 2,
            Self::Approvals => 1 << 3,
            Self::Questions => 1 << 4,
            Self::Pairing => 1 << 5,
            Self::Talk => 1 << 6,
            Self::TalkSecrets => 1 << 7,
        }
    }
}

/// What kind of peer a principal is (§4.1).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A person or program that uses the gateway.
    #[default]
    Operator,
    /// A machine that offers its abilities to the gateway.
    Node,
}

impl Role {
    /// The wire name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Node => "node",
        }
    }

    /// The role of this wire name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Operator, Self::Node]
            .into_iter()
            .find(|role| role.as_str() == name)
    }
}

/// Which generation of the authorization rules holds for a peer: it goes with the protocol version
/// the connection negotiated. HTTP follows the current one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Rules {
    /// Protocol 3.
    V3,
    /// Protocol 4.
    #[default]
    V4,
}

/// The scopes a principal holds; cheap to clone.
///
/// Unknown names are kept as they came and satisfy only themselves.
#[derive(Clone, Default)]
pub struct ScopeSet {
    names: Option<Arc<[Box<str>]>>,
    known: u8,
}

impl ScopeSet {
    /// No scopes.
    pub const fn empty() -> Self {
        Self {
            names: None,
            known: 0,
        }
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

    /// The scopes of an `x-openclaw-scopes` header: separated by commas, trimmed.
    pub fn from_header(value: &str) -> Self {
        value
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect()
    }

    /// The names, in the order they were asked for.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names
            .iter()
            .flat_map(|names| names.iter())
            .map(|name| &**name)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_none()
    }

    /// Whether the holder may do what needs `scope`, implications included (§4.2).
    pub fn allows(&self, scope: Scope) -> bool {
        Scope::ALL
            .into_iter()
            .any(|held| self.known & held.bit() != 0 && held.satisfies(scope))
    }

    /// Whether the holder may do what needs the scope of this name, known to us or not.
    pub fn allows_name(&self, name: &str) -> bool {
        match Scope::from_name(name) {
            Some(scope) => self.allows(scope),
            None if name.starts_with(OPERATOR_PREFIX) => {
                self.allows(Scope::Admin) || self.names().any(|held| held == name)
            }
            None => self.names().any(|held| held == name),
        }
    }

    /// The scopes of this set that `cap` allows too.
    #[must_use]
    pub fn capped(&self, cap: &Self) -> Self {
        self.names().filter(|name| cap.allows_name(name)).collect()
    }

    /// The first scope of `asked` the holder lacks, implications included.
    pub fn lacks<'a>(&self, asked: &'a Self) -> Option<&'a str> {
        asked.names().find(|name| !self.allows_name(name))
    }

    /// The scopes of both.
    #[must_use]
    pub fn joined(&self, other: &Self) -> Self {
        self.names().chain(other.names()).collect()
    }

    /// The scopes a peer of this role can hold: an operator those of operators, a node the others
    /// (`protocol-facts` §3.8).
    #[must_use]
    pub fn of_role(&self, role: Role) -> Self {
        let is_operator = matches!(role, Role::Operator);
        self.names()
            .filter(|name| name.starts_with(OPERATOR_PREFIX) == is_operator)
            .collect()
    }

    /// The same scopes in the order of their names.
    #[must_use]
    pub fn sorted(&self) -> Self {
        let mut names: Vec<&str> = self.names().collect();
        names.sort_unstable();
        names.into_iter().collect()
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl PartialEq for ScopeSet {
    fn eq(&self, other: &Self) -> bool {
        self.names().eq(other.names())
    }
}

impl Eq for ScopeSet {}

impl Serialize for ScopeSet {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.names())
    }
}

impl<'de> Deserialize<'de> for ScopeSet {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let names = Vec::<Box<str>>::deserialize(from)?;
        Ok(names.iter().map(AsRef::as_ref).collect())
    }
}

impl<'a> FromIterator<&'a str> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Self {
        let mut kept: Vec<Box<str>> = Vec::new();
        let mut known = 0;
        for name in names {
            if kept.len() == SCOPE_NAMES_MAX {
                break;
            }
            let is_kept = kept.iter().any(|earlier| **earlier == *name);
            if !is_kept && name.len() <= SCOPE_NAME_BYTES_MAX {
                known |= Scope::from_name(name).map_or(0, Scope::bit);
                kept.push(name.into());
            }
        }
        Self {
            names: (!kept.is_empty()).then(|| kept.into()),
            known,
        }
    }
}

/// Everything a front can ask for. Routes and methods map to operations, operations to scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation<'a> {
    /// `POST /v1/chat/completions`.
    ChatCompletion,
    /// `GET /v1/models` and `GET /v1/models/{id}`.
    ListModels,
    /// `GET /v1/runs/{id}` and `GET /v1/runs/{id}/events`.
    ReadRun,
    /// `POST /v1/runs/{id}/cancel`.
    CancelRun,
    /// `GET /metrics`.
    ReadMetrics,
    /// Choosing the model with `x-openclaw-model`.
    ModelOverride,
    /// A native method, by name; unknown names need `operator.admin` (§4.3). For a method whose
    /// scope depends on its params this is the strictest case: use [`Operation::Call`].
    Method(&'a str),
    /// A native method together with what its scope depends on.
    Call(&'a str, CallFacts<'a>),
}

/// What the scope of some methods depends on, read from their params (§4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CallFacts<'a> {
    /// Names of all params that are present.
    pub fields: &'a [&'a str],
    /// `message` of `agent`.
    pub message: Option<&'a str>,
    /// `permissionMode` of `sessions.create` and `sessions.patch`, when it is text.
    pub permission_mode: Option<&'a str>,
    /// Whether `archivedOnly` of `sessions.delete` is `true`.
    pub archived_only: bool,
    /// Whether `incognito` of `sessions.create` is `true`.
    pub incognito: bool,
}

impl<'a> Operation<'a> {
    /// The scope the operation needs; `None` when everybody may do it.
    pub fn required(self, rules: Rules) -> Option<Scope> {
        match self {
            Self::Call(method, facts) => table::required_for_call(method, &facts, rules),
            Self::ChatCompletion
            | Self::ListModels
            | Self::ReadRun
            | Self::CancelRun
            | Self::ReadMetrics
            | Self::ModelOverride
            | Self::Method(_) => table::required(self.name(), rules),
        }
    }

    /// Whether the operation is for peers of this role at all; asked before scopes (§4.1).
    pub fn permits(self, role: Role) -> bool {
        table::permits(self.name(), role)
    }

    /// The operation's name in the table.
    pub const fn name(self) -> &'a str {
        match self {
            Self::ChatCompletion => "POST /v1/chat/completions",
            Self::ListModels => "GET /v1/models",
            Self::ReadRun => "GET /v1/runs",
            Self::CancelRun => "POST /v1/runs/cancel",
            Self::ReadMetrics => "GET /metrics",
            Self::ModelOverride => "header x-openclaw-model",
            Self::Method(name) | Self::Call(name, _) => name,
        }
    }

    /// Whether the scope of this method depends on its params, so that [`Operation::Call`] is the
    /// operation to ask for.
    pub fn depends_on_params(method: &str) -> bool {
        table::DYNAMIC.contains(&method)
    }
}

/// Who may see an event (§4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventGate {
    /// Every connection.
    Everyone,
    /// Operators with this scope.
    Scope(Scope),
    /// Nobody: the event is not known, and what is not known is not sent.
    Nobody,
}

impl EventGate {
    /// The gate of an event.
    pub fn of(event: &str) -> Self {
        table::event_gate(event)
    }

    /// Whether a peer of this role with these scopes passes.
    pub fn passes(self, role: Role, scopes: &ScopeSet) -> bool {
        match self {
            Self::Everyone => true,
            Self::Scope(scope) => matches!(role, Role::Operator) && scopes.allows(scope),
            Self::Nobody => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &str) -> ScopeSet {
        ScopeSet::from_header(names)
    }

    fn check_allows(held: &str, allowed: &str) {
        let held = set(held);
        let all: Vec<_> = Scope::ALL
            .into_iter()
            .filter(|scope| held.allows(*scope))
            .map(|scope| scope.as_str().trim_start_matches("operator."))
            .collect();
        assert_eq!(all.join(" "), allowed, "{held:?}");
    }

    #[test]
    fn admin_implies_all_and_write_implies_read_and_talk() {
        check_allows("", "");
        check_allows(
            "operator.admin",
            "admin read write approvals questions pairing talk talk.secrets",
        );
        check_allows("operator.write", "read write talk");
        check_allows("operator.read", "read");
        check_allows("operator.approvals", "approvals");
        check_allows("operator.questions", "questions");
        check_allows("operator.pairing", "pairing");
        check_allows("operator.talk", "talk");
        check_allows("operator.talk.secrets", "talk.secrets");
        check_allows("operator.Admin", "");
        check_allows("operator.administrator,admin,*", "");
    }

    #[test]
    fn the_full_set_names_what_shared_secret_callers_hold() {
        let names: Vec<_> = ScopeSet::full().names().map(str::to_owned).collect();
        assert_eq!(
            names,
            [
                "operator.admin",
                "operator.read",
                "operator.write",
                "operator.approvals",
                "operator.questions",
                "operator.pairing",
                "operator.talk.secrets",
            ]
        );
    }

    #[test]
    fn unknown_names_are_kept_and_satisfy_only_themselves() {
        let held = set("operator.future, node.camera ,operator.read,operator.future,");
        let names: Vec<_> = held.names().collect();
        assert_eq!(names, ["operator.future", "node.camera", "operator.read"]);
        assert!(held.allows_name("operator.future"));
        assert!(held.allows_name("node.camera"));
        assert!(!held.allows_name("operator.futures"));
        assert!(!held.allows_name("operator.write"));
        assert!(set("operator.admin").allows_name("operator.future"));
        assert!(!set("operator.admin").allows_name("node.camera"));
        assert!(!set("operator.write").allows_name("operator.future"));
    }

    #[test]
    fn a_cap_takes_away_and_never_adds() {
        let asked = set("operator.read,operator.write,operator.admin,x");
        assert_eq!(
            asked.capped(&set("operator.write")),
            set("operator.read,operator.write")
        );
        assert_eq!(asked.capped(&ScopeSet::empty()), ScopeSet::empty());
        assert_eq!(
            set("operator.read").capped(&ScopeSet::full()),
            set("operator.read")
        );
        assert_eq!(asked.capped(&set("x")), set("x"));
    }

    #[test]
    fn a_set_keeps_a_bounded_number_of_names() {
        let names: Vec<String> = (0..1000).map(|n| format!("operator.n{n}")).collect();
        let held: ScopeSet = names.iter().map(String::as_str).collect();
        assert_eq!(held.names().count(), SCOPE_NAMES_MAX);
        let long = "n".repeat(SCOPE_NAME_BYTES_MAX);
        assert_eq!(set(&format!("{long}n,{long},a")), set(&format!("{long},a")));
    }

    fn check_lacks(held: &str, asked: &str, expected: Option<&str>) {
        let asked = set(asked);
        assert_eq!(set(held).lacks(&asked), expected, "{held:?} {asked:?}");
    }

    #[test]
    fn what_a_holder_lacks_is_the_first_scope_nothing_of_its_own_implies() {
        check_lacks("", "", None);
        check_lacks("operator.write", "operator.read,operator.talk", None);
        check_lacks("operator.admin", "operator.pairing,operator.new", None);
        check_lacks("operator.read", "operator.write", Some("operator.write"));
        check_lacks("operator.admin", "operator.read,x", Some("x"));
        check_lacks("x", "x,y,z", Some("y"));
    }

    #[test]
    fn scopes_belong_to_operators_or_to_nodes() {
        let both = set("operator.read,camera,operator.,operatorx");
        assert_eq!(both.of_role(Role::Operator), set("operator.read,operator."));
        assert_eq!(both.of_role(Role::Node), set("camera,operatorx"));
        assert_eq!(Role::from_name("node"), Some(Role::Node));
        assert_eq!(Role::from_name("Node"), None);
    }

    #[test]
    fn sets_are_written_as_lists() {
        let held = set("operator.write,a");
        let json = serde_json::to_string(&held).unwrap();
        assert_eq!(json, r#"["operator.write","a"]"#);
        let read: ScopeSet = serde_json::from_str(&json).unwrap();
        assert_eq!(read, held);
        assert!(read.allows(Scope::Read));
        assert_eq!(set("b,a").sorted(), set("a,b"));
        assert_eq!(set("a,b").joined(&set("b,c")), set("a,b,c"));
    }

    #[test]
    fn nodes_see_only_what_everybody_sees() {
        let admin = set("operator.admin");
        assert!(EventGate::Everyone.passes(Role::Node, &ScopeSet::empty()));
        assert!(!EventGate::Scope(Scope::Read).passes(Role::Node, &admin));
        assert!(EventGate::Scope(Scope::Read).passes(Role::Operator, &admin));
        assert!(!EventGate::Scope(Scope::Read).passes(Role::Operator, &ScopeSet::empty()));
        assert!(!EventGate::Nobody.passes(Role::Operator, &admin));
    }
}
