//! What counts as a token of a simulated answer: a word with the white space before it.
//!
//! Words of languages without spaces, and other long ones, are cut into pieces.

/// Longest token, in bytes, the white space before it left out.
const TOKEN_BYTES_MAX: usize = 24;

/// Bytes of the first token of `text`; 0 only when it is empty. Always whole characters.
pub(super) fn first_len(text: &str) -> usize {
    let bytes = text.as_bytes();
    let is_space = |byte: &u8| byte.is_ascii_whitespace();
    let Some(word) = bytes.iter().position(|byte| !is_space(byte)) else {
        return text.len();
    };
    let most = text.len().min(word + TOKEN_BYTES_MAX);
    let window = bytes.get(word..most).unwrap_or_default();
    match window.iter().position(is_space) {
        Some(end) => word + end,
        None => text.floor_char_boundary(most),
    }
}

/// How many tokens `text` has.
pub(super) fn count(mut text: &str) -> u64 {
    let mut tokens = 0;
    while let Some(rest) = text.get(first_len(text)..).filter(|_| !text.is_empty()) {
        tokens += 1;
        text = rest;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let mut rest = text;
        let mut seen = Vec::new();
        while !rest.is_empty() {
            let (token, after) = rest.split_at(first_len(rest));
            seen.push(token);
            rest = after;
        }
        assert_eq!(seen, expected, "{text:?}");
        assert_eq!(count(text), u64::try_from(expected.len()).unwrap());
    }

    #[test]
    fn tokens_are_words_with_the_space_before_them() {
        check("", &[]);
        check("hello", &["hello"]);
        check("w0 w1  w2\n", &["w0", " w1", "  w2", "\n"]);
        check("  x", &["  x"]);
        check(" \t", &[" \t"]);
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        check(&"a".repeat(50), &[&"a".repeat(24), &"a".repeat(24), "aa"]);
        check(&"日".repeat(9), &[&"日".repeat(8), "日"]);
        check(&format!("{}ä", "b".repeat(23)), &[&"b".repeat(23), "ä"]);
    }
}
