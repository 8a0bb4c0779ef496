//! What is wrong with a configuration, as people and programs read it.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin as Header, Renderer, Snippet};
use serde::Serialize;

use super::problem::{Fault, Origin, Problem, Severity};
use super::redact;
use super::source::{Place, Source, Sources, Span};

/// What is wrong with a configuration; empty when nothing is.
#[derive(Clone, Debug, Default)]
pub struct Report {
    problems: Vec<Problem>,
    sources: Sources,
    /// What must not be shown of the sources.
    secrets: Vec<Span>,
    /// Whether a text is not JSON5, so that not all of its secrets are known.
    is_broken: bool,
}

/// Whether a report is written with colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// For a terminal.
    On,
    /// For anything else.
    Off,
}

/// One problem, for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// `error` or `warning`.
    pub severity: &'static str,
    /// The key it is at, such as `agents.list[2].id`.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// The file, flag or variable it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Line in the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in the line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

impl Report {
    pub(super) fn new(problems: Vec<Problem>, sources: Sources, secrets: Vec<Span>) -> Self {
        let (mut errors, warnings): (Vec<_>, Vec<_>) = problems
            .into_iter()
            .partition(|problem| problem.fault.severity() == Severity::Error);
        errors.extend(warnings);
        let is_syntax =
            |problem: &Problem| matches!(problem.fault, Fault::Syntax(_) | Fault::NotAnObject(_));
        Self {
            is_broken: errors.iter().any(is_syntax),
            problems: errors,
            sources,
            secrets,
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// How many problems there are of a kind.
    pub fn count(&self, severity: Severity) -> usize {
        let of_kind = |problem: &&Problem| problem.fault.severity() == severity;
        self.problems.iter().filter(of_kind).count()
    }

    /// The problems, errors first.
    pub fn entries(&self) -> Vec<Entry> {
        self.problems
            .iter()
            .map(|problem| self.entry(problem))
            .collect()
    }

    /// The problems with the lines they are in, errors first.
    pub fn render(&self, colour: Colour) -> String {
        let renderer = match colour {
            Colour::On => Renderer::styled(),
            Colour::Off => Renderer::plain(),
        };
        let mut out = String::new();
        for problem in &self.problems {
            out.push_str(&self.render_one(problem, &renderer));
            out.push_str("\n\n");
        }
        out.push_str(&self.summary());
        out
    }

    fn summary(&self) -> String {
        let kinds = [(Severity::Error, "error"), (Severity::Warning, "warning")];
        let counts = kinds.map(|(severity, name)| (self.count(severity), name));
        let parts = counts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> = parts
            .map(|(count, name)| format!("{count} {name}{}", if *count == 1 { "" } else { "s" }))
            .collect();
        format!("{}\n", parts.join(", "))
    }

    fn render_one(&self, problem: &Problem, renderer: &Renderer) -> String {
        let level = match problem.fault.severity() {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let path = problem.path.to_string();
        let message = self.message(problem);
        let title = if path.is_empty() {
            message
        } else {
            format!("{path}: {message}")
        };
        let mut group = level
            .primary_title(title.as_str())
            .elements(Vec::<Header<'_>>::new());
        match &problem.origin {
            Origin::Text { span, related } => {
                if let Some(source) = self.sources.get(span.file) {
                    group = group.element(self.snippet(source, *span, *related));
                }
            }
            Origin::Named(name) => group = group.element(Header::path(name.as_ref())),
            Origin::Absent => {}
        }
        let report: [Group<'_>; 1] = [group];
        renderer.render(&report)
    }

    fn snippet(
        &self,
        source: &Source,
        span: Span,
        related: Option<Span>,
    ) -> Snippet<'static, annotate_snippets::Annotation<'static>> {
        let primary = AnnotationKind::Primary.span(span.start..span.end);
        let earlier = related.map(|span| {
            let earlier = AnnotationKind::Context.span(span.start..span.end);
            earlier.label("first here")
        });
        Snippet::source(self.masked(source, span))
            .path(source.name().to_string())
            .annotation(primary)
            .annotations(earlier)
    }

    /// The text of a file with its secrets overwritten, byte for byte.
    fn masked(&self, source: &Source, span: Span) -> String {
        let secrets = self
            .secrets
            .iter()
            .filter(|secret| secret.file == span.file);
        let secrets: Vec<Span> = secrets.copied().collect();
        let text = redact::replaced(source.text(), &secrets, overwritten);
        let likely = redact::likely(&text).into_iter();
        // What cannot be read has no known secrets, so those that look like some are hidden too.
        let file = span.file;
        let likely: Vec<Span> = likely
            .filter(|_| self.is_broken)
            .map(|Range { start, end }| Span { file, start, end })
            .collect();
        redact::replaced(&text, &likely, overwritten)
    }

    /// What is wrong, without quoting what may be a secret.
    fn message(&self, problem: &Problem) -> String {
        let (Fault::Syntax(error), Origin::Text { span, .. }) = (&problem.fault, &problem.origin)
        else {
            return problem.fault.to_string();
        };
        let source = self.sources.get(span.file);
        let hidden = source.is_some_and(|source| {
            let mut likely = redact::likely(source.text()).into_iter();
            likely.any(|at| at.start <= span.start && span.start < at.end)
        });
        if hidden {
            error.without_text().to_owned()
        } else {
            error.to_string()
        }
    }

    fn entry(&self, problem: &Problem) -> Entry {
        let (file, place) = match &problem.origin {
            Origin::Text { span, .. } => {
                let place = self.sources.place(*span);
                (place.as_ref().map(|place| place.path.to_string()), place)
            }
            Origin::Named(name) => (Some(name.to_string()), None),
            Origin::Absent => (None, None),
        };
        let number = |part: fn(&Place) -> usize| place.as_ref().map(part);
        Entry {
            severity: match problem.fault.severity() {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            key: problem.path.to_string(),
            message: self.message(problem),
            file,
            line: number(|place| place.line),
            column: number(|place| place.column),
        }
    }
}

/// A secret, byte for byte, as stars; lines and quotes stay.
fn overwritten(secret: &str) -> String {
    let star = |c: char| match c {
        '"' | '\'' | '\n' | '\r' => c.to_string(),
        other => "*".repeat(other.len_utf8()),
    };
    secret.chars().map(star).collect()
}
