//! What of a conversation fits a model's context window.
//!
//! Owns the estimate and the rule of what is left out: whole oldest turns, never the system text
//! and never what is to be answered.

use crate::run::{Message, Role};

/// Bytes of text that count as one token.
const BYTES_PER_TOKEN: u64 = 4;

/// Bytes a message costs beside its text.
const MESSAGE_BYTES: u64 = 16;

/// Tokens an image counts for, whatever its size.
const IMAGE_TOKENS: u64 = 1_000;

/// The bounds of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Tokens the model can take in and give out together.
    pub(super) tokens: u64,
    /// Tokens kept free for the answer.
    pub(super) answer: u64,
    /// Bytes of system text and tools.
    pub(super) fixed_bytes: u64,
}

/// What is to be answered does not fit the window by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow;

impl Window {
    /// The newest messages of `past` that fit before `current`, cut between two turns.
    pub(super) fn fit<'a>(
        &self,
        past: &'a [Message],
        current: &[Message],
    ) -> Result<&'a [Message], Overflow> {
        let mut used = Cost {
            bytes: self.fixed_bytes,
            tokens: self.reserve(),
        };
        for message in current {
            used.add(message);
        }
        if used.tokens() > self.tokens {
            return Err(Overflow);
        }
        let mut start = past.len();
        for (at, message) in past.iter().enumerate().rev() {
            used.add(message);
            if used.tokens() > self.tokens {
                break;
            }
            if message.role == Role::User || at == 0 {
                start = at;
            }
        }
        Ok(past.get(start..).unwrap_or_default())
    }

    /// Many a configuration allows an answer as long as the whole window; half of it stays for the
    /// prompt.
    const fn reserve(&self) -> u64 {
        let half = self.tokens / 2;
        if self.answer < half {
            self.answer
        } else {
            half
        }
    }
}

struct Cost {
    bytes: u64,
    tokens: u64,
}

impl Cost {
    fn add(&mut self, message: &Message) {
        let calls = message
            .tool_calls
            .iter()
            .map(|call| call.id.len() + call.name.len() + call.arguments.len());
        let text = len(message.text.len() + calls.sum::<usize>());
        self.bytes = self.bytes.saturating_add(text + MESSAGE_BYTES);
        let images = len(message.images.len()).saturating_mul(IMAGE_TOKENS);
        self.tokens = self.tokens.saturating_add(images);
    }

    /// Bytes as tokens and a tenth, and what was counted in tokens.
    const fn tokens(&self) -> u64 {
        let text = self.bytes.div_ceil(BYTES_PER_TOKEN);
        text.saturating_add(text.div_ceil(10))
            .saturating_add(self.tokens)
    }
}

fn len(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message that counts for 100 tokens before the tenth.
    fn message(role: Role) -> Message {
        Message::text(role, "x".repeat(400 - 16))
    }

    fn check(window: (u64, u64), past: &[Role], expected: Result<usize, Overflow>) {
        let past: Vec<_> = past.iter().map(|role| message(*role)).collect();
        let window = Window {
            tokens: window.0,
            answer: window.1,
            fixed_bytes: 400,
        };
        let kept = window.fit(&past, &[message(Role::User)]);
        assert_eq!(kept.map(<[_]>::len), expected);
    }

    #[test]
    fn oldest_turns_go_first_and_whole() {
        use Role::{Assistant, Tool, User};
        let past = [User, Assistant, User, Assistant, Tool, Assistant];
        check((880, 0), &past, Ok(6));
        check((879, 0), &past, Ok(4));
        check((660, 0), &past, Ok(4));
        // What is left of a turn without its question is not sent.
        check((659, 0), &past, Ok(0));
        check((220, 0), &past, Ok(0));
        check((219, 0), &past, Err(Overflow));
        check((880, 100), &past, Ok(4));
        check((330, 0), &[Assistant], Ok(1));
    }

    #[test]
    fn the_room_for_the_answer_is_at_most_half_of_the_window() {
        check((440, 440), &[], Ok(0));
        check((438, 440), &[], Err(Overflow));
    }

    #[test]
    fn images_count_as_tokens() {
        let mut current = message(Role::User);
        current.images.push(crate::run::Image {
            media_type: "image/png".into(),
            bytes: vec![0; 100_000].into(),
        });
        let window = |tokens| Window {
            tokens,
            answer: 0,
            fixed_bytes: 0,
        };
        assert!(
            window(1_110)
                .fit(&[], std::slice::from_ref(&current))
                .is_ok()
        );
        assert!(
            window(1_109)
                .fit(&[], std::slice::from_ref(&current))
                .is_err()
        );
    }
}
