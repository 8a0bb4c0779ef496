//! Strings, numbers and words.

use serde_json::Number;

use super::{Kind, Lost, Parser, SyntaxError};

/// What stands for a character that an escape sequence failed to name.
const REPLACEMENT: char = '\u{fffd}';

pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}'
}

pub(super) const fn ends_line(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')
}

pub(super) const fn starts_number(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '+' | '-' | '.')
}

pub(super) fn starts_identifier(c: char) -> bool {
    c.is_alphabetic() || matches!(c, '$' | '_' | '\\')
}

fn continues_identifier(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '$' | '_' | '\u{200c}' | '\u{200d}')
}

/// Whether a key or a value can begin with this character.
pub(super) fn starts_part(c: char) -> bool {
    starts_number(c) || starts_identifier(c) || matches!(c, '"' | '\'' | '{' | '[')
}

impl Parser<'_> {
    /// Reads a string; an error in it is reported and the rest is read on.
    pub(super) fn string(&mut self, quote: char) -> String {
        let start = self.cursor.position();
        self.cursor.bump();
        let mut text = String::new();
        loop {
            let from = self.cursor.position();
            self.cursor
                .skip_while(|c| c != quote && !matches!(c, '\\' | '\n' | '\r'));
            text.push_str(self.cursor.since(from));
            match self.cursor.peek() {
                Some('\\') => text.extend(self.escape()),
                Some('\n' | '\r') | None => {
                    self.report(SyntaxError::NotClosed("the string"), start);
                    self.after_broken_string = true;
                    return text;
                }
                Some(_) => {
                    self.cursor.bump();
                    return text;
                }
            }
        }
    }

    /// Reads an escape sequence; `None` when it stands for no character.
    fn escape(&mut self) -> Option<char> {
        let start = self.cursor.position();
        self.cursor.bump();
        match self.cursor.take() {
            Some('b') => Some('\u{8}'),
            Some('f') => Some('\u{c}'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some('v') => Some('\u{b}'),
            Some('0') if !self.cursor.peek().is_some_and(|c| c.is_ascii_digit()) => Some('\0'),
            Some('x') => Some(self.hex_escape(2, start)),
            Some('u') => Some(self.hex_escape(4, start)),
            Some('\r') => {
                if self.cursor.peek() == Some('\n') {
                    self.cursor.bump();
                }
                None
            }
            Some(c) if ends_line(c) => None,
            Some(c) if c.is_ascii_digit() => {
                self.report(SyntaxError::BadEscape, start);
                Some(REPLACEMENT)
            }
            other => other,
        }
    }

    fn hex_escape(&mut self, digits: usize, start: usize) -> char {
        let Some(unit) = self.hex_digits(digits) else {
            self.report(SyntaxError::BadEscape, start);
            return REPLACEMENT;
        };
        if let Some(c) = char::from_u32(unit) {
            return c;
        }
        if let Some(c) = self.low_surrogate(unit) {
            return c;
        }
        self.report(SyntaxError::LoneSurrogate, start);
        REPLACEMENT
    }

    /// Reads the second half of a surrogate pair.
    fn low_surrogate(&mut self, high: u32) -> Option<char> {
        if !self.cursor.starts_with("\\u") {
            return None;
        }
        let before = self.cursor.clone();
        self.cursor.bump();
        self.cursor.bump();
        let low = self.hex_digits(4).unwrap_or_default();
        let pair = [high, low].map(|unit| u16::try_from(unit).unwrap_or_default());
        let mut decoded = char::decode_utf16(pair);
        if let (Some(Ok(c)), None) = (decoded.next(), decoded.next()) {
            return Some(c);
        }
        self.cursor = before;
        None
    }

    fn hex_digits(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let digit = self.cursor.peek()?.to_digit(16)?;
            self.cursor.bump();
            value = value * 16 + digit;
        }
        Some(value)
    }

    /// Reads an identifier used as a key.
    pub(super) fn identifier(&mut self) -> String {
        let mut name = String::new();
        loop {
            let from = self.cursor.position();
            self.cursor.skip_while(continues_identifier);
            name.push_str(self.cursor.since(from));
            if self.cursor.peek() != Some('\\') {
                return name;
            }
            let start = self.cursor.position();
            self.cursor.bump();
            let c = if self.cursor.peek() == Some('u') {
                self.cursor.bump();
                self.hex_escape(4, start)
            } else {
                self.report(SyntaxError::BadEscape, start);
                REPLACEMENT
            };
            name.push(c);
        }
    }

    pub(super) fn word(&mut self) -> Result<Kind, Lost> {
        let start = self.cursor.position();
        self.cursor
            .skip_while(|c| continues_identifier(c) || matches!(c, '\\' | '-' | '.'));
        match self.cursor.since(start) {
            "true" => Ok(Kind::Bool(true)),
            "false" => Ok(Kind::Bool(false)),
            "null" => Ok(Kind::Null),
            word @ ("Infinity" | "NaN") => {
                let error = SyntaxError::NotFinite(word.to_owned());
                self.report(error, start);
                Err(Lost)
            }
            word => {
                let error = SyntaxError::Word(excerpt(word));
                self.report(error, start);
                Err(Lost)
            }
        }
    }

    pub(super) fn number(&mut self) -> Result<Kind, Lost> {
        let start = self.cursor.position();
        self.cursor
            .skip_while(|c| continues_identifier(c) || starts_number(c));
        let text = self.cursor.since(start);
        read_number(text).map(Kind::Number).map_err(|problem| {
            let error = match problem {
                NumberProblem::Form => SyntaxError::BadNumber(excerpt(text)),
                NumberProblem::NotFinite => SyntaxError::NotFinite(excerpt(text)),
            };
            self.report(error, start);
            Lost
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
enum NumberProblem {
    Form,
    NotFinite,
}

/// Reads a number as JSON5 writes it; whole numbers stay whole where 64 bits hold them.
fn read_number(text: &str) -> Result<Number, NumberProblem> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if matches!(digits, "Infinity" | "NaN") {
        return Err(NumberProblem::NotFinite);
    }
    let hex = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"));
    if let Some(hex) = hex {
        if hex.is_empty() || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NumberProblem::Form);
        }
        let value = u64::from_str_radix(hex, 16).map_err(|_overflow| NumberProblem::NotFinite)?;
        return whole(negative, value).ok_or(NumberProblem::NotFinite);
    }
    if !is_decimal(digits) {
        return Err(NumberProblem::Form);
    }
    let whole_number = digits.parse().ok().and_then(|value| whole(negative, value));
    if let Some(number) = whole_number {
        return Ok(number);
    }
    let value: f64 = digits.parse().map_err(|_form| NumberProblem::Form)?;
    Number::from_f64(if negative { -value } else { value }).ok_or(NumberProblem::NotFinite)
}

/// A whole number; `None` when only a fraction type can hold it (`-0` among them).
fn whole(negative: bool, value: u64) -> Option<Number> {
    if !negative {
        return Some(value.into());
    }
    let value = 0_i64.checked_sub_unsigned(value)?;
    (value != 0).then(|| value.into())
}

fn is_decimal(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let leading_zero = integer.len() > 1 && integer.starts_with('0');
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !digits.is_empty() && is_digits(digits)
    });
    let some = !integer.is_empty() || !fraction.is_empty();
    some && !leading_zero && is_digits(integer) && is_digits(fraction) && exponent_fits
}

/// The beginning of a word, for a message.
fn excerpt(word: &str) -> String {
    const CHARS_MAX: usize = 40;
    let mut short: String = word.chars().take(CHARS_MAX).collect();
    if short.len() < word.len() {
        short.push('…');
    }
    short
}
