//! The rules of the house that no compiler checks: layers, sizes, names, texts, packages.
//!
//! Each rule is a function from sources to complaints, tried on a sample that breaks it and then on
//! the tree.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests may panic and index"
)]

#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/packages.rs"]
mod packages;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/texts.rs"]
mod texts;

use std::path::Path;

/// The top of the project.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Fails with every complaint at once.
pub(crate) fn assert_tidy(complaints: &[String]) {
    assert!(
        complaints.is_empty(),
        "{} complaints:\n{}",
        complaints.len(),
        complaints.join("\n")
    );
}

/// Fails unless there is exactly one complaint and it says `expected`.
pub(crate) fn assert_complaint(complaints: &[String], expected: &str) {
    assert!(
        complaints.len() == 1 && complaints[0].contains(expected),
        "expected one complaint about {expected:?}, found {complaints:?}"
    );
}
