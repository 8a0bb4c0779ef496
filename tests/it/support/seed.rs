//! The document clawport answers to, `tests/seed/openai-chat-completions.txt`, taken apart.

/// The document, as it was given.
pub(crate) const SEED: &str = include_str!("../../seed/openai-chat-completions.txt");

/// A part of the document that can be true or false by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A heading, a sentence, or what stands in a line of its own.
    Sentence(String),
    /// Everything between two fences, as it stands.
    Example(String),
}

impl Piece {
    /// The piece in one line.
    pub(crate) fn line(&self) -> String {
        let (Self::Sentence(text) | Self::Example(text)) = self;
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

/// The document, piece by piece.
pub(crate) fn pieces() -> Vec<Piece> {
    split(SEED)
}

/// The example that begins with these words, as it stands.
pub(crate) fn example(beginning: &str) -> String {
    let begins = |piece: &Piece| piece.line().starts_with(beginning);
    let found = pieces().into_iter().filter(begins);
    let found = found.filter_map(|piece| match piece {
        Piece::Example(text) => Some(text),
        Piece::Sentence(_) => None,
    });
    let found: Vec<_> = found.collect();
    let [example] = &found[..] else {
        panic!("{} examples begin with {beginning:?}", found.len());
    };
    example.clone()
}

fn split(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (at, block) in text.split("```").enumerate() {
        if at % 2 == 1 {
            pieces.push(Piece::Example(block.trim().to_owned()));
        } else {
            pieces.extend(block.lines().flat_map(sentences).map(Piece::Sentence));
        }
    }
    pieces
}

/// A line cut after every full stop that a capital letter follows.
fn sentences(line: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    for word in line.split_whitespace() {
        let before = found.last_mut().unwrap();
        let starts = word.starts_with(|c: char| c.is_uppercase());
        if before.ends_with('.') && starts {
            found.push(word.to_owned());
        } else {
            if !before.is_empty() {
                before.push(' ');
            }
            before.push_str(word);
        }
    }
    found.retain(|sentence| !sentence.is_empty());
    found
}

fn check(text: &str, expected: &[&str]) {
    let found: Vec<_> = split(text).iter().map(Piece::line).collect();
    assert_eq!(found, expected, "{text:?}");
}

#[test]
fn a_document_is_cut_into_sentences_and_examples() {
    check("", &[]);
    check("A b.  C d.\n\nE", &["A b.", "C d.", "E"]);
    check("See `a.b`. d or v1. Done", &["See `a.b`. d or v1.", "Done"]);
    check(
        "A:\n```\nb {\n  C. D\n}\n```\nE",
        &["A:", "b { C. D }", "E"],
    );
}
