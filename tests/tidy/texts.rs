//! Texts of all kinds: documents, their links, marks of unfinished work, traces of workplaces.

use std::fs;
use std::path::Path;

use crate::code::{collect, shown};
use crate::{assert_complaint, assert_tidy, root};

/// Texts that must be there, with the most lines they may have.
const DOCUMENTS: &[(&str, usize)] = &[
    ("ARCHITECTURE.md", 199),
    ("CHANGELOG.md", usize::MAX),
    ("README.md", usize::MAX),
    ("docs/scopes.md", usize::MAX),
    ("docs/security.md", usize::MAX),
];

/// Folders that must be there and hold something.
const FOLDERS: &[&str] = &["src", "proto", "tests", "benches"];

/// Marks of work that was left; fine with the number of an issue behind them.
const MARKS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];

/// What only the place where the project was made would say.
const TRACES: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/tmp", "/wt"),
    concat!("/tmp", "/tgt"),
    concat!("/ro", "ot/"),
    concat!("registry.", "npmjs"),
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("files.", "pythonhosted"),
    concat!("pypi.", "org"),
];

/// Every text of the project with its path. The lock file is Cargo's to write.
fn texts() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    collect(root(), &mut paths);
    let texts = paths.iter().filter_map(|path| {
        let text = fs::read_to_string(path).ok()?;
        Some((shown(path), text))
    });
    texts.filter(|(path, _)| path != "Cargo.lock").collect()
}

fn lines<'a>(path: &'a str, text: &'a str) -> impl Iterator<Item = (String, &'a str)> {
    let lines = text.lines().enumerate();
    lines.map(move |(line, text)| (format!("{path}:{}", line + 1), text))
}

fn marks(path: &str, text: &str) -> Vec<String> {
    lines(path, text)
        .filter(|(_, line)| MARKS.iter().any(|mark| has_bare_mark(line, mark)))
        .map(|(place, _)| format!("{place}: unfinished work without an issue"))
        .collect()
}

fn has_bare_mark(line: &str, mark: &str) -> bool {
    line.match_indices(mark).any(|(at, _)| {
        let issue = line[at + mark.len()..].strip_prefix("(#");
        !issue.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

fn traces(path: &str, text: &str) -> Vec<String> {
    let found = lines(path, text).flat_map(|(place, line)| {
        let traces = TRACES.iter().filter(move |trace| line.contains(**trace));
        traces.map(move |trace| format!("{place}: names `{trace}`"))
    });
    found.collect()
}

/// Links of a Markdown text to files that are not there.
fn dead_links(path: &str, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut fenced = false;
    let mut found = Vec::new();
    for (place, line) in lines(path, text) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        for target in links(line).filter(|_| !fenced) {
            let file = target.split(['#', '?']).next().unwrap_or_default();
            if !file.is_empty() && !exists(&folder.join(file)) {
                found.push(format!("{place}: link to `{target}` leads nowhere"));
            }
        }
    }
    found
}

/// The targets of links to files: what stands between `](` and the next space or `)`.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let prose = line.split('`').step_by(2);
    let targets = prose.flat_map(|part| part.split("](").skip(1));
    targets
        .filter_map(|rest| rest.split([')', ' ']).next())
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

fn missing() -> Vec<String> {
    let documents = DOCUMENTS.iter().filter_map(|(path, lines_max)| {
        let Ok(text) = fs::read_to_string(root().join(path)) else {
            return Some(format!("{path} is not there"));
        };
        let lines = text.lines().count();
        let fits = lines <= *lines_max && !text.trim().is_empty();
        (!fits).then(|| format!("{path} has {lines} lines"))
    });
    let folders = FOLDERS.iter().filter_map(|folder| {
        let mut files = Vec::new();
        collect(&root().join(folder), &mut files);
        files.is_empty().then(|| format!("{folder}/ is not there"))
    });
    documents.chain(folders).collect()
}

#[test]
fn unfinished_work_has_an_issue() {
    let mark = MARKS[0];
    assert_complaint(&marks("a", &format!("// {mark}: later")), "a:1: unfinished");
    assert_complaint(&marks("a", &format!("\n{mark}(#)")), "a:2: unfinished");
    assert_tidy(&marks("a", &format!("{mark}(#12): later")));
    let all = texts();
    assert_tidy(
        &all.iter()
            .flat_map(|(path, text)| marks(path, text))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn nothing_tells_where_it_was_made() {
    for trace in TRACES {
        assert_complaint(&traces("a", &format!("x {trace}x")), trace);
    }
    assert_tidy(&traces("a", "the network/ and the homework"));
    let all = texts();
    assert_tidy(
        &all.iter()
            .flat_map(|(path, text)| traces(path, text))
            .collect::<Vec<_>>(),
    );
}

fn is_markdown(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|it| it == "md")
}

#[test]
fn links_lead_somewhere() {
    let check = |text: &str| dead_links("docs/a.md", text, |path| path == Path::new("docs/b.md"));
    assert_complaint(&check("see [c](c.md)"), "docs/a.md:1: link to `c.md`");
    assert_complaint(&check("[b](b.md) and [c](c.md#x \"title\")"), "`c.md#x`");
    assert_tidy(&check(
        "[b](b.md#part) [c](https://c.example/c.md) [d](#part) `[e](e.md)`",
    ));
    assert_tidy(&check("```\n[e](e.md)\n```"));
    let all = texts().into_iter().filter(|(path, _)| is_markdown(path));
    let found = all
        .flat_map(|(path, text)| dead_links(&path, &text, |target| root().join(target).exists()));
    assert_tidy(&found.collect::<Vec<_>>());
}

#[test]
fn documents_and_folders_are_there() {
    assert_tidy(&missing());
}
