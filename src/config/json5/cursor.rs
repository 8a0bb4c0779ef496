//! A position in a text that only moves forward.

/// A position in a text; always at the start of a character.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, position: 0 }
    }

    /// Bytes before the cursor.
    pub(super) const fn position(&self) -> usize {
        self.position
    }

    pub(super) const fn at_end(&self) -> bool {
        self.position >= self.text.len()
    }

    /// What is left to read.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }

    /// What was read since `start`.
    pub(super) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.position).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn starts_with(&self, prefix: &str) -> bool {
        self.rest().starts_with(prefix)
    }

    /// Takes one character.
    pub(super) fn bump(&mut self) {
        self.position += self.peek().map_or(0, char::len_utf8);
    }

    /// Takes one character and says which.
    pub(super) fn take(&mut self) -> Option<char> {
        let c = self.peek();
        self.bump();
        c
    }

    pub(super) fn skip_while(&mut self, mut fits: impl FnMut(char) -> bool) {
        let rest = self.rest();
        self.position += rest.find(|c| !fits(c)).unwrap_or(rest.len());
    }

    /// Skips past the next `end`; to the end of the text, and false, when there is none.
    pub(super) fn skip_past(&mut self, end: &str) -> bool {
        let found = self.rest().find(end);
        match found {
            Some(offset) => self.position += offset + end.len(),
            None => self.jump_to_end(),
        }
        found.is_some()
    }

    /// Skips a string, or to the end of its line when it is not closed there.
    pub(super) fn skip_string(&mut self) {
        let quote = self.take();
        while let Some(c) = self.peek() {
            if matches!(c, '\n' | '\r') {
                return;
            }
            self.bump();
            if Some(c) == quote {
                return;
            }
            if c == '\\' {
                self.bump();
            }
        }
    }

    pub(super) const fn jump_to_end(&mut self) {
        self.position = self.text.len();
    }
}
