//! The text of a run as it is shown: escaped once, white space at its end held back, and nothing
//! while it may still become the silent reply.

use crate::protocol::outcome::SILENT_REPLY;

/// Text that is sent in pieces, kept as the inside of a JSON string.
#[derive(Debug, Default)]
pub(super) struct PacedText {
    escaped: String,
    /// Up to here it may be shown: the last character is no white space.
    shown: usize,
    /// Up to here it was sent.
    sent: usize,
}

impl PacedText {
    /// Adds text.
    pub(super) fn push(&mut self, delta: &str) {
        let visible = delta.trim_end();
        if !visible.is_empty() {
            push_escaped(&mut self.escaped, visible);
            self.shown = self.escaped.len();
        }
        push_escaped(
            &mut self.escaped,
            delta.get(visible.len()..).unwrap_or_default(),
        );
    }

    /// Bytes of all text, escaped.
    pub(super) const fn bytes(&self) -> usize {
        self.escaped.len()
    }

    /// Whether there is text to show that was not sent.
    pub(super) const fn has_pending(&self) -> bool {
        self.shown > self.sent
    }

    /// Whether all text and what was not sent of it are together at most this long, escaped.
    pub(super) const fn fits(&self, bytes_max: usize) -> bool {
        self.shown + (self.shown - self.sent) <= bytes_max
    }

    /// All text to show.
    pub(super) fn shown(&self) -> &str {
        self.escaped.get(..self.shown).unwrap_or_default()
    }

    /// What of it was not sent.
    pub(super) fn pending(&self) -> &str {
        self.escaped.get(self.sent..self.shown).unwrap_or_default()
    }

    /// Everything to show was sent.
    pub(super) const fn mark_sent(&mut self) {
        self.sent = self.shown;
    }
}

/// Appends text as the inside of a JSON string.
pub(super) fn push_escaped(to: &mut String, text: &str) {
    if text.is_empty() {
        return;
    }
    let json = serde_json::to_string(text).unwrap_or_default();
    to.push_str(json.get(1..json.len() - 1).unwrap_or_default());
}

/// Whether an answer can still turn out to be the silent reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// So far it is white space, then this many bytes of the token.
    Possible(usize),
    /// It is the token, then white space.
    Complete,
    /// It is something else.
    Broken,
}

impl Default for Silence {
    fn default() -> Self {
        Self::Possible(0)
    }
}

impl Silence {
    /// Looks at more of the answer.
    pub(super) fn feed(&mut self, delta: &str) {
        for character in delta.chars() {
            if *self == Self::Broken {
                return;
            }
            *self = self.after(character);
        }
    }

    fn after(self, character: char) -> Self {
        match self {
            Self::Possible(0) | Self::Complete if character.is_whitespace() => self,
            Self::Possible(matched) => {
                let rest = SILENT_REPLY.get(matched..).unwrap_or_default();
                match rest.strip_prefix(character) {
                    Some("") => Self::Complete,
                    Some(_) => Self::Possible(matched + character.len_utf8()),
                    None => Self::Broken,
                }
            }
            Self::Complete | Self::Broken => Self::Broken,
        }
    }

    /// Whether the answer is the silent reply.
    pub(super) const fn is_silent(self) -> bool {
        matches!(self, Self::Complete)
    }

    /// Whether the answer cannot be the silent reply any more.
    pub(super) const fn is_broken(self) -> bool {
        matches!(self, Self::Broken)
    }
}

#[cfg(test)]
mod tests {
    use crate::protocol::outcome::is_silent;

    use super::*;

    #[test]
    fn silence_is_recognised_however_the_text_is_cut() {
        let check = |pieces: &[&str], expected| {
            let mut silence = Silence::default();
            for piece in pieces {
                silence.feed(piece);
            }
            assert_eq!(silence, expected, "{pieces:?}");
            assert_eq!(silence.is_silent(), is_silent(&pieces.concat()));
        };
        check(&[], Silence::Possible(0));
        check(&[" ", "\n"], Silence::Possible(0));
        check(&[" NO", "_RE"], Silence::Possible(5));
        check(&["NO_REPLY"], Silence::Complete);
        check(&["\nNO", "_REPLY", " ", "\n"], Silence::Complete);
        check(&["NO_REPLY", " x"], Silence::Broken);
        check(&["N0"], Silence::Broken);
        check(&["NO _REPLY"], Silence::Broken);
    }

    #[test]
    fn white_space_waits_for_what_follows() {
        let mut text = PacedText::default();
        text.push("w0 ");
        assert_eq!((text.shown(), text.pending()), ("w0", "w0"));
        text.mark_sent();
        text.push("\n");
        assert!(!text.has_pending());
        text.push("\"w1\"\u{2003}");
        assert_eq!(text.pending(), r#" \n\"w1\""#);
        text.mark_sent();
        assert_eq!(text.shown(), r#"w0 \n\"w1\""#);
        assert!(!text.has_pending());
    }
}
