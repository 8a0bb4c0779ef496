//! Which module may name which (`ARCHITECTURE.md` shows the layers).

use std::collections::BTreeSet;

use crate::assert_complaint;
use crate::assert_tidy;
use crate::code::{Source, sources, words};

const BASE: &[&str] = &["ids", "error", "clock", "metrics", "version"];

/// What each module may name beside itself; a module that is not here is a complaint.
const LAYERS: &[(&[&str], &[&[&str]])] = &[
    (
        &["ids", "error", "clock", "metrics", "shutdown", "version"],
        &[],
    ),
    (&["run"], &[&["ids", "error"]]),
    (
        &["protocol", "openai"],
        &[&["run", "ids", "error", "version"]],
    ),
    (&["auth", "agent", "events", "session"], &[BASE, &["run"]]),
    (
        &["scheduler"],
        &[BASE, &["run", "agent", "events", "session", "shutdown"]],
    ),
    (
        &["dispatch"],
        &[
            BASE,
            &[
                "run",
                "agent",
                "events",
                "session",
                "shutdown",
                "auth",
                "scheduler",
            ],
        ],
    ),
    (
        &["transport"],
        &[
            BASE,
            &[
                "run", "events", "session", "shutdown", "auth", "dispatch", "protocol", "openai",
            ],
        ],
    ),
    (&["client"], &[&["protocol", "run", "ids", "error"]]),
    // The configuration of a module is the module's own type.
    (
        &["config"],
        &[
            &[
                "ids",
                "error",
                "run",
                "agent",
                "auth",
                "dispatch",
                "events",
                "scheduler",
            ],
            &["session", "transport"],
        ],
    ),
    (
        &["cli"],
        &[BASE, &["run", "shutdown", "client", "config", "gateway"]],
    ),
];

/// Modules that put everything together and may name everything.
const ROOTS: &[&str] = &["gateway", "lib", "main"];

/// Outside crates that only some modules may name.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("tokio_tungstenite", &["transport", "client"]),
    ("tungstenite", &["transport", "client"]),
    (
        "hyper",
        &["transport", "client", "agent", "auth", "cli", "config"],
    ),
    ("rusqlite", &["session"]),
    ("clap", &["cli", "main"]),
    (
        "tokio",
        &[
            "agent",
            "auth",
            "cli",
            "client",
            "config",
            "dispatch",
            "events",
            "gateway",
            "main",
            "scheduler",
            "session",
            "shutdown",
            "transport",
        ],
    ),
];

fn complaints(sources: &[Source]) -> Vec<String> {
    sources.iter().flat_map(of_source).collect()
}

fn of_source(source: &Source) -> Vec<String> {
    let path = &source.path;
    let Some(module) = module_of(path).filter(|module| !ROOTS.contains(module)) else {
        return Vec::new();
    };
    let row = LAYERS.iter().find(|(modules, _)| modules.contains(&module));
    let Some((_, allowed)) = row else {
        return vec![format!(
            "{path}: module `{module}` has no row in the table of layers"
        )];
    };
    let allowed: BTreeSet<_> = allowed.iter().flat_map(|part| part.iter()).collect();
    let mut found: Vec<_> = mentions(source)
        .into_iter()
        .filter(|(_, named)| *named != module && !allowed.contains(named))
        .map(|(line, named)| format!("{path}:{line}: `{module}` may not name `{named}`"))
        .collect();
    for (line, name) in outside(&source.product) {
        let row = OUTSIDE.iter().find(|(outside, _)| *outside == name);
        if row.is_some_and(|(_, modules)| !modules.contains(&module)) {
            found.push(format!(
                "{path}:{line}: `{module}` may not name the crate `{name}`"
            ));
        }
    }
    found
}

/// The module directly below the crate that a file belongs to.
fn module_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let first = inside.split('/').next()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

/// How many modules deep the file's own module is; 1 for `src/auth/mod.rs`.
fn depth(path: &str) -> usize {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    inside.trim_end_matches("/mod").split('/').count()
}

/// The crate's own modules a file names, with lines.
fn mentions(source: &Source) -> Vec<(usize, &str)> {
    let words = words(&source.code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let (start, supers) = (at, supers(&words[at..]));
        let at_root = words[start].1 == "crate" || supers >= depth(&source.path);
        at += if supers > 0 { 2 * supers } else { 1 };
        if words[start].1 == "crate" && words.get(at).is_some_and(|it| it.1 == "::") {
            at += 1;
        } else if supers == 0 {
            continue;
        }
        if at_root {
            let names = heads(&words[at.min(words.len())..]);
            // A chain that is only just long enough ends at the crate or, in a test module, at the
            // module itself; only a module of the crate is told from that.
            let sure = words[start].1 == "crate" || supers > depth(&source.path);
            found.extend(
                names
                    .into_iter()
                    .filter(|(_, name)| sure || is_module(name)),
            );
        }
    }
    found
}

fn is_module(name: &str) -> bool {
    LAYERS.iter().any(|(modules, _)| modules.contains(&name)) || ROOTS.contains(&name)
}

/// How many `super::` the words begin with.
fn supers(words: &[(usize, &str)]) -> usize {
    words
        .chunks_exact(2)
        .take_while(|pair| pair[0].1 == "super" && pair[1].1 == "::")
        .count()
}

/// The first names of a path, or of each path in a braced list.
fn heads<'a>(words: &[(usize, &'a str)]) -> Vec<(usize, &'a str)> {
    let Some(&(line, first)) = words.first() else {
        return Vec::new();
    };
    if first != "{" {
        return vec![(line, first)];
    }
    let mut found = Vec::new();
    let mut depth = 0;
    let mut is_head = false;
    for &(line, word) in words {
        match word {
            "{" => {
                depth += 1;
                is_head = depth == 1;
            }
            "}" => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            "," => is_head = depth == 1,
            name if is_head => {
                found.push((line, name));
                is_head = false;
            }
            _ => {}
        }
    }
    found
}

/// Crates named at the start of a path.
fn outside(code: &str) -> Vec<(usize, &str)> {
    let words = words(code);
    words
        .windows(3)
        .filter(|three| three[0].1 != "::" && three[2].1 == "::")
        .map(|three| three[1])
        .collect()
}

fn check(path: &str, text: &str, expected: &str) {
    assert_complaint(&complaints(&[Source::new(path, text)]), expected);
}

#[test]
fn a_name_from_a_higher_layer_is_found_however_it_is_written() {
    let path = "src/auth/head.rs";
    check(
        path,
        "use crate::session::Key;",
        "`auth` may not name `session`",
    );
    check(
        path,
        "use crate::{ids, session::{a, b}};",
        ":1: `auth` may not name `session`",
    );
    check(
        path,
        "fn a() { crate::transport::b() }",
        "`auth` may not name `transport`",
    );
    check(
        path,
        "\nuse super::super::session;",
        ":2: `auth` may not name `session`",
    );
    check(
        path,
        "mod tests { use super::super::super::dispatch::x; }",
        "`auth` may not name `dispatch`",
    );
    check(
        "src/ids.rs",
        "use crate::error::ErrorCode;",
        "`ids` may not name `error`",
    );
    check(
        "src/openai/mod.rs",
        "use super::protocol;",
        "`openai` may not name `protocol`",
    );
    check(
        "src/scheduler/mod.rs",
        "use crate::config;",
        "`scheduler` may not name `config`",
    );
    check(
        "src/cli/mod.rs",
        "use crate::transport;",
        "`cli` may not name `transport`",
    );
}

#[test]
fn a_module_without_a_row_is_found() {
    check("src/plugins.rs", "", "module `plugins` has no row");
    check("src/plugins/mod.rs", "", "module `plugins` has no row");
}

#[test]
fn a_crate_in_the_wrong_module_is_found() {
    check(
        "src/protocol/frame.rs",
        "use tokio::time::Instant;",
        "the crate `tokio`",
    );
    check(
        "src/scheduler/mod.rs",
        "fn a(b: hyper::Request) {}",
        "the crate `hyper`",
    );
    check(
        "src/transport/ws.rs",
        "use rusqlite::Row;",
        "the crate `rusqlite`",
    );
}

#[test]
fn names_that_are_allowed_or_no_names_are_no_complaint() {
    for (path, text) in [
        (
            "src/auth/head.rs",
            "use crate::{error, ids::{AgentId}, auth};",
        ),
        (
            "src/auth/head.rs",
            "mod tests { use super::super::secret; }",
        ),
        ("src/auth/mod.rs", "mod tests { use super::super::auth; }"),
        (
            "src/auth/head.rs",
            "// crate::session\nconst A: &str = \"crate::session\";",
        ),
        ("src/auth/limiter/mod.rs", "use super::super::head::Head;"),
        ("src/gateway.rs", "use crate::{transport, config};"),
        ("src/main.rs", "use clap::Parser;"),
        (
            "src/auth/head.rs",
            "#[cfg(test)]\nmod tests { use rusqlite::Row; }",
        ),
    ] {
        assert_tidy(&complaints(&[Source::new(path, text)]));
    }
}

#[test]
fn the_tree_keeps_its_layers() {
    let sources = sources(&["src"]);
    assert!(sources.len() > 30, "the tree is where it was");
    assert_tidy(&complaints(&sources));
}
