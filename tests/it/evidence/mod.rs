//! What is promised and the tests that prove it, as one table.
//!
//! Every sentence and example of the document, every vector, every method and every event has a
//! row in [`claims`], and so has what the project promises beyond them; every row names tests that
//! exist. `docs/evidence.md` is the table for readers; with `UPDATE_DOCS=1` it is written anew.

mod claims;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clawport::internals::protocol::events::Event;
use clawport::internals::protocol::methods::Method;
use clawport::internals::protocol::methods::stubs::Stub;

use crate::support::seed::{Piece, pieces};
use claims::{EVENTS, HEADINGS, METHODS, PROMISES, REFUSED, Row, SENTENCES, STUBS, VECTORS};

const TITLE: &str = "# Evidence\n\n\
    What is promised, and the tests that prove it. `tests/it/evidence` writes this page, and fails\n\
    when a claim has no test, when a test is gone, or when this page is not the one it writes:\n\
    `UPDATE_DOCS=1 cargo test --test it evidence` writes it anew.\n";

/// A test, as a row names it: a module of `tests/it`, or a file, and a function.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Test {
    file: String,
    name: String,
}

impl Test {
    fn parse(named: &str) -> Self {
        let (place, name) = named.rsplit_once("::").unwrap();
        let file = if place.contains('/') {
            place.to_owned()
        } else {
            format!("tests/it/{place}.rs")
        };
        Self {
            file,
            name: name.to_owned(),
        }
    }

    /// What is wrong with it, if it is not a test that runs.
    fn complaint(&self) -> Option<String> {
        let Ok(text) = fs::read_to_string(root().join(&self.file)) else {
            return Some(format!("there is no file {}", self.file));
        };
        if !running_tests(&text).contains(&self.name.as_str()) {
            return Some(format!("{} has no test {} that runs", self.file, self.name));
        }
        let module = self.file.strip_prefix("tests/it/")?;
        let (module, _) = module.split_once(['.', '/'])?;
        let listed = fs::read_to_string(root().join("tests/it/main.rs")).unwrap();
        let is_listed = listed.lines().any(|line| line == format!("mod {module};"));
        (!is_listed).then(|| format!("{} is not compiled", self.file))
    }

    fn link(&self) -> String {
        format!("[`{}`](../{})", self.name, self.file)
    }
}

/// The names of the tests in a file that are not left out.
fn running_tests(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut attributes = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            attributes.push(line);
        } else if !line.starts_with("//") {
            let has = |start: &str| attributes.iter().any(|it| it.starts_with(start));
            let is_test = has("#[test]") || has("#[tokio::test");
            if is_test && !has("#[ignore") && !has("#[cfg") {
                found.extend(function(line));
            }
            attributes.clear();
        }
    }
    found
}

/// The name of the function a line begins.
fn function(line: &str) -> Option<&str> {
    let line = line.strip_prefix("async ").unwrap_or(line);
    line.strip_prefix("fn ")?.split('(').next()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// A claim in the words of the page, and the row that proves it.
type Proved = (String, Row);

/// Every sentence of the document with its row; what has none, and rows without a sentence.
fn sentences() -> (Vec<Proved>, Vec<String>) {
    let mut proved = Vec::new();
    let mut complaints = Vec::new();
    let mut used = BTreeSet::new();
    for piece in pieces() {
        let line = piece.line();
        let rows = SENTENCES.iter().filter(|row| line.starts_with(row.claim));
        let rows: Vec<_> = rows.collect();
        let headings: Vec<_> = HEADINGS.iter().filter(|it| **it == line).collect();
        used.extend(rows.iter().map(|row| row.claim));
        used.extend(headings.iter().copied());
        match (&rows[..], &headings[..]) {
            ([row], []) => proved.push((shown(&piece), **row)),
            ([], [_]) => {}
            _ => complaints.push(format!("{} rows for {line:?}", rows.len() + headings.len())),
        }
    }
    let stated = SENTENCES.iter().map(|row| row.claim);
    let stated = stated.chain(HEADINGS.iter().copied());
    let stale = stated.filter(|claim| !used.contains(claim));
    complaints.extend(stale.map(|claim| format!("the document does not say {claim:?}")));
    (proved, complaints)
}

/// A piece of the document so that a table shows it as it is.
fn shown(piece: &Piece) -> String {
    let line = piece.line().replace('|', "\\|");
    match piece {
        Piece::Sentence(_) => line,
        Piece::Example(_) => format!("`{line}`"),
    }
}

/// Rows by name, as many and in the order of `names`; what has no row, and rows without a name.
fn named(names: &[String], rows: &[Row]) -> (Vec<Proved>, Vec<String>) {
    let row_of = |name: &String| {
        let mut found = rows.iter().filter(|row| row.claim == name);
        found.next().filter(|_| found.next().is_none())
    };
    let mut proved = Vec::new();
    let mut complaints = Vec::new();
    for name in names {
        match row_of(name) {
            Some(row) => proved.push((format!("`{name}`"), *row)),
            None => complaints.push(format!("not one row for {name}")),
        }
    }
    let stale = rows
        .iter()
        .filter(|row| !names.iter().any(|it| it == row.claim));
    complaints.extend(stale.map(|row| format!("nothing is called {}", row.claim)));
    (proved, complaints)
}

fn vectors() -> (Vec<Proved>, Vec<String>) {
    let expected: Vec<_> = (1..=23).map(|n| format!("V{n}")).collect();
    let stated: Vec<_> = VECTORS.iter().map(|(name, _)| *name).collect();
    let is_whole = stated == expected;
    let complaints = (!is_whole).then(|| format!("the vectors are {stated:?}"));
    let proved = VECTORS
        .iter()
        .map(|(name, row)| (format!("{name}: {}", row.claim), *row));
    (proved.collect(), complaints.into_iter().collect())
}

/// The tests of a row as links; what is wrong with them goes to `complaints`.
fn links(named: &[&str], complaints: &mut Vec<String>) -> String {
    let tests: Vec<_> = named.iter().map(|named| Test::parse(named)).collect();
    complaints.extend(tests.iter().filter_map(Test::complaint));
    let links: Vec<_> = tests.iter().map(Test::link).collect();
    links.join(", ")
}

/// A part of the page, and what is wrong with it.
fn section(title: &str, part: (Vec<Proved>, Vec<String>)) -> (String, Vec<String>) {
    let (proved, mut complaints) = part;
    let has_refusals = proved.iter().any(|(_, row)| !row.refused.is_empty());
    let mut page = format!("\n## {title}\n\n");
    page.push_str(if has_refusals {
        "| Claim | Proved by | Refused |\n| --- | --- | --- |\n"
    } else {
        "| Claim | Proved by |\n| --- | --- |\n"
    });
    for (claim, row) in proved {
        if row.proved.is_empty() {
            complaints.push(format!("nothing proves {claim}"));
        }
        write!(page, "| {claim} | {} |", links(row.proved, &mut complaints)).unwrap();
        if has_refusals {
            write!(page, " {} |", links(row.refused, &mut complaints)).unwrap();
        }
        page.push('\n');
    }
    (page, complaints)
}

/// The methods, and what all of them refuse.
fn methods() -> (String, Vec<String>) {
    let names: Vec<_> = Method::table()
        .iter()
        .map(|it| it.name.to_owned())
        .collect();
    let stubs = Stub::ALL.iter().map(|it| Row {
        claim: it.name(),
        proved: STUBS,
        refused: &[],
    });
    let rows: Vec<_> = METHODS.iter().copied().chain(stubs).collect();
    let (mut page, mut complaints) = section("The native methods", named(&names, &rows));
    let tests = links(REFUSED.proved, &mut complaints);
    write!(page, "\n{}: {tests}.\n", REFUSED.claim).unwrap();
    (page, complaints)
}

/// The whole page, and what is wrong with it.
fn page() -> (String, Vec<String>) {
    let events: Vec<_> = Event::table().iter().map(|it| it.name.to_owned()).collect();
    let promises = PROMISES.iter().map(|row| (row.claim.to_owned(), *row));
    let sections = [
        section("The document, sentence by sentence", sentences()),
        section("The vectors of the HTTP side", vectors()),
        methods(),
        section("The native events", named(&events, EVENTS)),
        section("The promises", (promises.collect(), Vec::new())),
    ];
    let mut page = TITLE.to_owned();
    let mut complaints = Vec::new();
    for (part, wrong) in sections {
        page.push_str(&part);
        complaints.extend(wrong);
    }
    (page, complaints)
}

#[test]
fn every_claim_has_a_test_and_the_page_shows_it() {
    let (page, complaints) = page();
    assert!(complaints.is_empty(), "{complaints:#?}");
    let path = root().join("docs/evidence.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == page,
        "docs/evidence.md is stale: run with UPDATE_DOCS=1"
    );
}

#[test]
fn what_is_no_running_test_is_found_out() {
    let text = "
        #[test]
        fn one() {}
        #[tokio::test(flavor = \"multi_thread\")]
        /// Says something.
        async fn two() {}
        fn three() {}
        #[test]
        #[ignore = \"slow\"]
        fn four() {}
        #[cfg(windows)]
        #[test]
        fn five() {}
        // #[test]
        fn six() {}
    ";
    assert_eq!(running_tests(text), ["one", "two"]);
    let complaint = |named: &str| Test::parse(named).complaint();
    assert_eq!(
        complaint("evidence/mod::x"),
        Some("there is no file evidence/mod".to_owned())
    );
    let here = "tests/it/evidence/mod.rs::what_is_no_running_test_is_found_out";
    assert_eq!(complaint(here), None);
    assert!(complaint("curl::no_such_test").is_some());
    assert!(complaint("src/ids.rs::no_such_test").is_some());
}

#[test]
fn a_missing_and_a_stale_row_are_found_out() {
    let names = ["a".to_owned(), "b".to_owned()];
    let row = |claim| Row {
        claim,
        proved: &[],
        refused: &[],
    };
    let (proved, complaints) = named(&names, &[row("b"), row("c")]);
    assert_eq!(proved.len(), 1);
    assert_eq!(complaints, ["not one row for a", "nothing is called c"]);
    let (_, complaints) = named(&names, &[row("a"), row("a"), row("b")]);
    assert_eq!(complaints, ["not one row for a"]);
}
