//! JSON Schema of everything on the wire, generated from the types: one table entry per method and
//! event, and the files under `proto/schema/` made from them.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// What a caller must hold to use a method or to get an event (`protocol-facts` §4.3, §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScopeClass {
    /// Nothing.
    Anyone,
    /// `operator.read`.
    Read,
    /// `operator.write`.
    Write,
    /// `operator.admin`.
    Admin,
    /// `operator.write`, or `operator.admin` for some inputs.
    Dynamic,
}

impl ScopeClass {
    /// The scope on the wire; the least one when it depends on the input.
    pub const fn scope(self) -> Option<&'static str> {
        match self {
            Self::Anyone => None,
            Self::Read => Some("operator.read"),
            Self::Write | Self::Dynamic => Some("operator.write"),
            Self::Admin => Some("operator.admin"),
        }
    }
}

/// The schema of a type, made when asked for.
type SchemaOf = fn(SchemaGenerator) -> Schema;

/// A method that is served.
#[derive(Clone, Copy, Debug)]
pub struct MethodSpec {
    /// Its name on the wire.
    pub name: &'static str,
    /// What its caller must hold.
    pub scope: ScopeClass,
    params: SchemaOf,
    result: SchemaOf,
}

impl MethodSpec {
    /// A method with params `P` and result `R`; a method with several results has an enum of them.
    pub const fn new<P: JsonSchema, R: JsonSchema>(name: &'static str, scope: ScopeClass) -> Self {
        Self {
            name,
            scope,
            params: root_schema::<P>,
            result: root_schema::<R>,
        }
    }
}

/// An event that is served.
#[derive(Clone, Copy, Debug)]
pub struct EventSpec {
    /// Its name on the wire.
    pub name: &'static str,
    /// What its receiver must hold; anything else is never delivered.
    pub scope: ScopeClass,
    payload: SchemaOf,
}

impl EventSpec {
    /// An event with payload `P`.
    pub const fn new<P: JsonSchema>(name: &'static str, scope: ScopeClass) -> Self {
        Self {
            name,
            scope,
            payload: root_schema::<P>,
        }
    }
}

fn root_schema<T: JsonSchema>(generator: SchemaGenerator) -> Schema {
    generator.into_root_schema_for::<T>()
}

/// How a reader sees a type.
pub(super) fn reading() -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .for_deserialize()
        .into_generator()
}

/// How a writer makes a type.
fn writing() -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
}
