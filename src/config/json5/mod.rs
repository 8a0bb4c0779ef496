//! Reads JSON5 into a positioned [`Value`].
//!
//! Goes on after an error where it can, so that one look at a file finds most of its mistakes. The
//! input is a file of the operator, never bytes from a socket; size and nesting are bounded all the
//! same. Knows nothing of what the keys mean.

mod cursor;
mod scalar;

use std::collections::HashMap;

use super::source::{FileId, Span};
use super::value::{Kind, Member, Value};
use cursor::Cursor;

/// Most bytes of one file.
pub const BYTES_MAX: usize = 1 << 20;
/// Most lists and objects inside each other.
pub const NESTING_MAX: usize = 64;
/// Most errors reported for one file.
pub const ERRORS_MAX: usize = 50;

/// Why a text is not JSON5 that we take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// The file is larger than [`BYTES_MAX`].
    #[error("the file is larger than {BYTES_MAX} bytes")]
    TooLarge,
    /// Lists and objects are nested deeper than [`NESTING_MAX`].
    #[error("nested deeper than {NESTING_MAX} levels")]
    TooDeep,
    /// The file says nothing.
    #[error("expected a value, found the end of the file")]
    Empty,
    /// Something else was expected here.
    #[error("expected {expected}, found `{found}`")]
    Unexpected {
        /// What could stand here.
        expected: &'static str,
        /// The character that stands here.
        found: char,
    },
    /// The file ends inside of something.
    #[error("{0} is not closed")]
    NotClosed(&'static str),
    /// There is more after the value.
    #[error("unexpected text after the end of the value")]
    Trailing,
    /// A word that is neither `true`, `false` nor `null`.
    #[error("unknown word `{0}`; a string needs quotes")]
    Word(String),
    /// Not the form of a number.
    #[error("`{0}` is not a number")]
    BadNumber(String),
    /// `Infinity`, `NaN`, or a number no machine can hold.
    #[error("`{0}` is not a finite number")]
    NotFinite(String),
    /// An escape sequence that means nothing.
    #[error("unknown escape sequence")]
    BadEscape,
    /// Half of a surrogate pair.
    #[error("half of a surrogate pair")]
    LoneSurrogate,
    /// The same key twice in one object.
    #[error("the key `{0}` stands twice")]
    DuplicateKey(String),
    /// Further errors are not shown.
    #[error("too many errors; the rest of the file was not read")]
    TooMany,
}

impl SyntaxError {
    /// What is wrong, without quoting the text.
    pub const fn without_text(&self) -> &'static str {
        match self {
            Self::TooLarge => "the file is too large",
            Self::TooDeep => "nested too deeply",
            Self::Empty => "expected a value, found the end of the file",
            Self::Unexpected { .. } => "unexpected text",
            Self::NotClosed(_) => "this is not closed",
            Self::Trailing => "unexpected text after the end of the value",
            Self::Word(_) => "unknown word; a string needs quotes",
            Self::BadNumber(_) => "not a number; a string needs quotes",
            Self::NotFinite(_) => "not a finite number",
            Self::BadEscape => "unknown escape sequence",
            Self::LoneSurrogate => "half of a surrogate pair",
            Self::DuplicateKey(_) => "the key stands twice",
            Self::TooMany => "too many errors; the rest of the file was not read",
        }
    }
}

/// A syntax error and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// What is wrong.
    pub error: SyntaxError,
    /// Where.
    pub span: Span,
    /// An earlier place that belongs to it: the first of two equal keys.
    pub related: Option<Span>,
}

/// What was read of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The value, as far as it could be read.
    pub value: Option<Value>,
    /// Everything that is wrong, in the order of the text; empty when the value is all of it.
    pub errors: Vec<Located>,
}

/// Reads a text.
pub fn parse(text: &str, file: FileId) -> Parsed {
    let mut parser = Parser {
        cursor: Cursor::new(text),
        file,
        errors: Vec::new(),
        depth: 0,
        after_broken_string: false,
    };
    if text.len() > BYTES_MAX {
        parser.report(SyntaxError::TooLarge, 0);
        return parser.done(None);
    }
    let value = parser.document();
    parser.done(value)
}

/// What was begun here cannot be finished; the error is reported already.
struct Lost;

struct Parser<'a> {
    cursor: Cursor<'a>,
    file: FileId,
    errors: Vec<Located>,
    depth: usize,
    /// A string ran to the end of its line, and probably swallowed what follows it.
    after_broken_string: bool,
}

impl Parser<'_> {
    fn done(self, value: Option<Value>) -> Parsed {
        Parsed {
            value,
            errors: self.errors,
        }
    }

    fn span_from(&self, start: usize) -> Span {
        Span {
            file: self.file,
            start,
            end: self.cursor.position(),
        }
    }

    /// Reports an error that reaches from `start` to the cursor.
    fn report(&mut self, error: SyntaxError, start: usize) {
        let mut span = self.span_from(start);
        if span.end <= span.start {
            span.end = span.start + self.cursor.peek().map_or(0, char::len_utf8);
        }
        self.push(error, span, None);
    }

    fn push(&mut self, error: SyntaxError, span: Span, related: Option<Span>) {
        if self.errors.len() >= ERRORS_MAX {
            return;
        }
        let last = self.errors.len() + 1 == ERRORS_MAX;
        let error = if last { SyntaxError::TooMany } else { error };
        self.errors.push(Located {
            error,
            span,
            related,
        });
        if last {
            self.cursor.jump_to_end();
        }
    }

    fn unexpected(&mut self, expected: &'static str) {
        let start = self.cursor.position();
        match self.cursor.peek() {
            Some(found) => self.report(SyntaxError::Unexpected { expected, found }, start),
            None if self.depth == 0 => self.report(SyntaxError::Empty, start),
            // What encloses this place says where it was opened.
            None => {}
        }
    }

    fn document(&mut self) -> Option<Value> {
        self.trivia();
        let value = self.value().ok();
        self.trivia();
        if value.is_some() && !self.cursor.at_end() {
            let start = self.cursor.position();
            self.report(SyntaxError::Trailing, start);
        }
        value
    }

    fn value(&mut self) -> Result<Value, Lost> {
        let start = self.cursor.position();
        let kind = match self.cursor.peek() {
            Some('{') => self.nested(Self::object)?,
            Some('[') => self.nested(Self::array)?,
            Some(quote @ ('"' | '\'')) => Kind::String(self.string(quote)),
            Some(c) if scalar::starts_number(c) => self.number()?,
            Some(c) if scalar::starts_identifier(c) => self.word()?,
            Some(_) | None => {
                self.unexpected("a value");
                return Err(Lost);
            }
        };
        let span = self.span_from(start);
        Ok(Value { span, kind })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Kind) -> Result<Kind, Lost> {
        if self.depth == NESTING_MAX {
            let start = self.cursor.position();
            self.report(SyntaxError::TooDeep, start);
            self.skip_balanced();
            return Err(Lost);
        }
        self.depth += 1;
        let kind = read(self);
        self.depth -= 1;
        Ok(kind)
    }

    fn array(&mut self) -> Kind {
        let open = self.cursor.position();
        self.cursor.bump();
        let mut items = Vec::new();
        while self.more(']', "the list", open) {
            match self.value() {
                Ok(item) => items.push(item),
                Err(Lost) => self.recover(']'),
            }
            self.separator(']', "`,` or `]`");
        }
        Kind::Array(items)
    }

    fn object(&mut self) -> Kind {
        let open = self.cursor.position();
        self.cursor.bump();
        let mut members = Vec::new();
        let mut seen = HashMap::new();
        while self.more('}', "the object", open) {
            match self.member() {
                Ok(member) => self.keep(member, &mut members, &mut seen),
                Err(Lost) => self.recover('}'),
            }
            self.separator('}', "`,` or `}`");
        }
        Kind::Object(members)
    }

    fn keep(
        &mut self,
        member: Member,
        members: &mut Vec<Member>,
        seen: &mut HashMap<String, Span>,
    ) {
        if let Some(first) = seen.get(&member.key) {
            let error = SyntaxError::DuplicateKey(member.key);
            self.push(error, member.key_span, Some(*first));
            return;
        }
        seen.insert(member.key.clone(), member.key_span);
        members.push(member);
    }

    fn member(&mut self) -> Result<Member, Lost> {
        let start = self.cursor.position();
        let key = match self.cursor.peek() {
            Some(quote @ ('"' | '\'')) => self.string(quote),
            Some(c) if scalar::starts_identifier(c) => self.identifier(),
            Some(_) | None => {
                self.unexpected("a key");
                return Err(Lost);
            }
        };
        let key_span = self.span_from(start);
        self.trivia();
        if self.cursor.peek() == Some(':') {
            self.cursor.bump();
        } else {
            self.unexpected("`:` after the key");
            return Err(Lost);
        }
        self.trivia();
        let value = self.value()?;
        Ok(Member {
            key,
            key_span,
            value,
        })
    }

    /// Whether another part follows; takes the closing bracket when none does.
    fn more(&mut self, close: char, what: &'static str, open: usize) -> bool {
        self.trivia();
        match self.cursor.peek() {
            Some(c) if c == close => {
                self.cursor.bump();
                false
            }
            Some(_) => true,
            None => {
                self.not_closed(what, open);
                false
            }
        }
    }

    /// Reports the opening bracket of what the file ends in; only the innermost one, as the others
    /// are most likely open because of it.
    fn not_closed(&mut self, what: &'static str, open: usize) {
        let reported = self
            .errors
            .iter()
            .any(|located| matches!(located.error, SyntaxError::NotClosed(_)));
        if !reported {
            let span = Span {
                file: self.file,
                start: open,
                end: open + 1,
            };
            self.push(SyntaxError::NotClosed(what), span, None);
        }
    }

    fn separator(&mut self, close: char, expected: &'static str) {
        self.trivia();
        let lenient = std::mem::take(&mut self.after_broken_string);
        match self.cursor.peek() {
            Some(',') => self.cursor.bump(),
            None => {}
            Some(c) if c == close => {}
            // A comma was forgotten, or swallowed by a string: what follows reads on as if it were
            // there.
            Some(c) if lenient && scalar::starts_part(c) => {}
            Some(c) if scalar::starts_part(c) => self.unexpected(expected),
            Some(_) => {
                self.unexpected(expected);
                self.recover(close);
                if self.cursor.peek() == Some(',') {
                    self.cursor.bump();
                }
            }
        }
    }

    /// Skips to the comma or bracket that ends the broken part.
    fn recover(&mut self, close: char) {
        loop {
            self.trivia();
            match self.cursor.peek() {
                None | Some(',') => return,
                Some(c) if c == close => return,
                Some('{' | '[') => self.skip_balanced(),
                Some('"' | '\'') => self.cursor.skip_string(),
                Some(_) => self.cursor.bump(),
            }
        }
    }

    /// Skips a list or object with all that is in it, without looking at its grammar.
    fn skip_balanced(&mut self) {
        let mut open = 0_usize;
        loop {
            match self.cursor.peek() {
                None => return,
                Some('{' | '[') => open += 1,
                Some('}' | ']') => open -= 1,
                Some('"' | '\'') => {
                    self.cursor.skip_string();
                    continue;
                }
                Some('/') => {
                    let before = self.cursor.position();
                    self.trivia();
                    if self.cursor.position() > before {
                        continue;
                    }
                }
                Some(_) => {}
            }
            self.cursor.bump();
            if open == 0 {
                return;
            }
        }
    }

    /// Skips white space and comments.
    fn trivia(&mut self) {
        loop {
            self.cursor.skip_while(scalar::is_space);
            let start = self.cursor.position();
            if self.cursor.starts_with("//") {
                self.cursor.skip_while(|c| !scalar::ends_line(c));
            } else if self.cursor.starts_with("/*") {
                if !self.cursor.skip_past("*/") {
                    self.report(SyntaxError::NotClosed("the comment"), start);
                }
            } else {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
