//! The texts a configuration comes from, and places in them.
//!
//! Owns the texts of the main file and of everything it includes; knows nothing of what they say.

use std::path::Path;
use std::sync::Arc;

/// Which of the [`Sources`] a place is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId(usize);

/// A stretch of text: byte offsets, the end excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The file it is in.
    pub file: FileId,
    /// First byte.
    pub start: usize,
    /// Byte after the last one.
    pub end: usize,
}

/// A place as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Path of the file.
    pub path: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One file that was read.
#[derive(Clone, Debug)]
pub struct Source {
    name: Arc<str>,
    text: Arc<str>,
}

/// Every file that was read; the main file is the first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

impl Source {
    /// The path as it is shown.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What the file says.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }
}

impl Sources {
    /// Keeps a file and gives it an id.
    pub fn add(&mut self, path: impl AsRef<Path>, text: impl Into<Arc<str>>) -> FileId {
        let id = FileId(self.files.len());
        self.files.push(Source {
            name: path.as_ref().display().to_string().into(),
            text: text.into(),
        });
        id
    }

    /// One file; `None` when the id is of other sources.
    pub fn get(&self, id: FileId) -> Option<&Source> {
        self.files.get(id.0)
    }

    /// How many files were read.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The text a span covers.
    pub fn text_of(&self, span: Span) -> Option<&str> {
        self.get(span.file)?.text.get(span.start..span.end)
    }

    /// Where a span begins.
    pub fn place(&self, span: Span) -> Option<Place> {
        let source = self.get(span.file)?;
        let before = source.text.get(..span.start)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Some(Place {
            path: Arc::clone(&source.name),
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before.get(line_start..)?.chars().count() + 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, start: usize, line: usize, column: usize) {
        let mut sources = Sources::default();
        let file = sources.add("a.json", text);
        let end = start;
        let place = sources.place(Span { file, start, end }).unwrap();
        assert_eq!((place.line, place.column), (line, column), "{text:?}");
    }

    #[test]
    fn places_count_lines_and_characters_from_one() {
        check("", 0, 1, 1);
        check("ab", 1, 1, 2);
        check("ab\ncd", 3, 2, 1);
        check("é: x", 4, 1, 4);
        check("a\r\nb", 3, 2, 1);
    }

    #[test]
    fn a_span_outside_of_the_text_has_no_place() {
        let mut sources = Sources::default();
        let file = sources.add("a.json", "ab");
        let span = Span {
            file,
            start: 3,
            end: 4,
        };
        assert_eq!(sources.place(span), None);
        assert_eq!(sources.text_of(span), None);
    }
}
