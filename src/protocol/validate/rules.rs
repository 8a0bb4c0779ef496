//! A JSON Schema made ready for checking: references resolved, keywords typed.
//!
//! Knows exactly the keywords our own types produce; `unknown_keywords` names any other,
//! so that a test can hold the types to it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Number, Value};

/// The rules of one type. Nodes refer to each other by index, so recursive types are finite.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Rules {
    nodes: Vec<Node>,
    unknown_keywords: BTreeSet<String>,
}

/// Index of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(usize);

/// The rules of one value.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// Allowed types; none means any.
    pub(super) types: Vec<Kind>,
    /// Allowed values; none means any.
    pub(super) allowed: Vec<Value>,
    /// Whether `allowed` came from `const`.
    pub(super) is_constant: bool,
    /// The value must follow one of these, if there are any.
    pub(super) any_of: Vec<NodeId>,
    /// Members of an object.
    pub(super) members: Vec<Member>,
    /// Members an object may have besides.
    pub(super) others: Others,
    /// Elements of an array.
    pub(super) items: Option<NodeId>,
    pub(super) minimum: Option<Number>,
    pub(super) maximum: Option<Number>,
    pub(super) chars_min: Option<u64>,
    pub(super) chars_max: Option<u64>,
    pub(super) items_min: Option<u64>,
    pub(super) items_max: Option<u64>,
}

/// A member an object knows.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: Box<str>,
    pub(super) node: NodeId,
    /// Place among the required members, if it is one.
    pub(super) required: Option<usize>,
}

/// What holds for members an object does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Others {
    /// Nothing.
    #[default]
    Free,
    /// There must be none.
    Refused,
    /// They must follow this.
    Follow(NodeId),
}

/// A type of JSON values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let all = [
            Self::Null,
            Self::Boolean,
            Self::Integer,
            Self::Number,
            Self::String,
            Self::Array,
            Self::Object,
        ];
        all.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl Rules {
    /// The rules of a schema document.
    pub(in crate::protocol) fn of(schema: &Value) -> Self {
        let definitions = schema.get("$defs").and_then(Value::as_object);
        let mut compiler = Compiler {
            rules: Self::default(),
            definitions,
            known: BTreeMap::new(),
        };
        compiler.node(schema);
        let mut rules = compiler.rules;
        let mut done = BTreeSet::new();
        for index in 0..rules.nodes.len() {
            rules.simplify_choice(NodeId(index), &mut done);
        }
        rules
    }

    /// Keywords of the schema that are not checked.
    #[cfg(test)]
    pub(in crate::protocol) fn unknown_keywords(&self) -> impl Iterator<Item = &str> {
        self.unknown_keywords.iter().map(String::as_str)
    }

    /// Whether the whole value is an object with a member of this name.
    pub(super) fn knows_member(&self, name: &str) -> bool {
        let members = &self.node(Self::root()).members;
        members.iter().any(|member| *member.name == *name)
    }

    /// The rules of the whole value.
    pub(super) const fn root() -> NodeId {
        NodeId(0)
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        self.nodes
            .get(id.0)
            .expect("ids are only made by the compiler, which makes the node first")
    }
}

impl Node {
    /// Whether nothing but the options says what the value may be.
    pub(super) fn is_bare_choice(&self) -> bool {
        self.types.is_empty() && self.members.is_empty() && self.allowed.is_empty()
    }
}

impl Rules {
    fn put(&mut self, id: NodeId, node: Node) {
        if let Some(slot) = self.nodes.get_mut(id.0) {
            *slot = node;
        }
    }

    /// Turns the two forms of choice that have a simpler reading into it: "this or null", and a
    /// list of constants. Options come first, because one of them may be a choice itself.
    fn simplify_choice(&mut self, id: NodeId, done: &mut BTreeSet<NodeId>) {
        if !done.insert(id) {
            return;
        }
        let node = self.node(id);
        if !node.is_bare_choice() {
            return;
        }
        let options = node.any_of.clone();
        for option in &options {
            self.simplify_choice(*option, done);
        }
        let is_null = |option: &NodeId| self.node(*option).types == [Kind::Null];
        let (nulls, others): (Vec<NodeId>, Vec<NodeId>) =
            options.into_iter().partition(|id| is_null(id));
        let rest: Vec<&Node> = others.iter().map(|option| self.node(*option)).collect();
        let mut simple = match rest.as_slice() {
            [only] => (*only).clone(),
            [first, ..] if rest.iter().all(|option| option.is_constant) => Node {
                types: first.types.clone(),
                allowed: rest
                    .iter()
                    .flat_map(|option| option.allowed.clone())
                    .collect(),
                ..Node::default()
            },
            [..] => return,
        };
        if !simple.any_of.is_empty() {
            simple.any_of.extend(nulls);
        } else if !nulls.is_empty() && !simple.types.is_empty() {
            simple.types.push(Kind::Null);
        }
        self.put(id, simple);
    }
}

struct Compiler<'s> {
    rules: Rules,
    definitions: Option<&'s Map<String, Value>>,
    known: BTreeMap<&'s str, NodeId>,
}

impl<'s> Compiler<'s> {
    fn node(&mut self, schema: &'s Value) -> NodeId {
        if let Some(name) = definition_name(schema) {
            return self.definition(name);
        }
        let id = self.reserve();
        self.fill(id, schema);
        id
    }

    fn reserve(&mut self) -> NodeId {
        self.rules.nodes.push(Node::default());
        NodeId(self.rules.nodes.len() - 1)
    }

    fn definition(&mut self, name: &'s str) -> NodeId {
        if let Some(id) = self.known.get(name) {
            return *id;
        }
        // Known before it is filled, so that a type may contain itself.
        let id = self.reserve();
        self.known.insert(name, id);
        if let Some(schema) = self.definitions.and_then(|all| all.get(name)) {
            self.fill(id, schema);
        }
        id
    }

    fn fill(&mut self, id: NodeId, schema: &'s Value) {
        let mut node = Node::default();
        if let Some(schema) = schema.as_object() {
            for (keyword, value) in schema {
                self.keyword(&mut node, keyword, value);
            }
            require(&mut node, schema.get("required"));
        }
        self.rules.put(id, node);
    }

    fn keyword(&mut self, node: &mut Node, keyword: &str, value: &'s Value) {
        match keyword {
            "type" => node.types = kinds(value),
            "enum" => node.allowed = value.as_array().cloned().unwrap_or_default(),
            "const" => {
                node.allowed = vec![value.clone()];
                node.is_constant = true;
            }
            "anyOf" | "oneOf" => node.any_of = self.each(value),
            "properties" => node.members = self.members(value),
            "additionalProperties" => {
                node.others = match value {
                    Value::Bool(false) => Others::Refused,
                    Value::Bool(true) => Others::Free,
                    schema => Others::Follow(self.node(schema)),
                }
            }
            "items" => node.items = Some(self.node(value)),
            "minimum" => node.minimum = value.as_number().cloned(),
            "maximum" => node.maximum = value.as_number().cloned(),
            "minLength" => node.chars_min = value.as_u64(),
            "maxLength" => node.chars_max = value.as_u64(),
            "minItems" => node.items_min = value.as_u64(),
            "maxItems" => node.items_max = value.as_u64(),
            // Read elsewhere, or for people only.
            "required" | "$schema" | "$defs" | "$ref" | "title" | "description" | "default"
            | "format" | "examples" | "writeOnly" => {}
            other => {
                self.rules.unknown_keywords.insert(other.to_owned());
            }
        }
    }

    fn each(&mut self, schemas: &'s Value) -> Vec<NodeId> {
        let schemas = schemas.as_array().map(Vec::as_slice).unwrap_or_default();
        schemas.iter().map(|schema| self.node(schema)).collect()
    }

    fn members(&mut self, properties: &'s Value) -> Vec<Member> {
        let Some(properties) = properties.as_object() else {
            return Vec::new();
        };
        let member = |(name, schema): (&'s String, &'s Value)| Member {
            name: name.as_str().into(),
            node: self.node(schema),
            required: None,
        };
        properties.iter().map(member).collect()
    }
}

fn definition_name(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

fn kinds(value: &Value) -> Vec<Kind> {
    match value {
        Value::String(name) => Kind::parse(name).into_iter().collect(),
        Value::Array(names) => names
            .iter()
            .filter_map(|name| Kind::parse(name.as_str()?))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    }
}

/// Marks the required members, in the order the type lists them.
fn require(node: &mut Node, required: Option<&Value>) {
    let names = required.and_then(Value::as_array).map(Vec::as_slice);
    for (place, name) in names.unwrap_or_default().iter().enumerate() {
        let is_named = |member: &&mut Member| name.as_str() == Some(&member.name);
        if let Some(member) = node.members.iter_mut().find(is_named) {
            member.required = Some(place);
        }
    }
}
