//! Short texts of a session: its title and the beginning of its last message.

/// Longest derived title, in characters.
const TITLE_CHARS_MAX: usize = 60;

/// Longest preview of a message, in characters.
const PREVIEW_CHARS_MAX: usize = 200;

/// The first characters of a text on one line, cut at a word, with an ellipsis when cut.
fn one_line(text: &str, chars_max: usize) -> String {
    let mut line = String::new();
    let mut chars = 0;
    for word in text.split_whitespace() {
        let gap = usize::from(!line.is_empty());
        let room = chars_max - chars;
        let length = word.chars().take(room + 1).count();
        if gap + length > room {
            if line.is_empty() {
                line.extend(word.chars().take(chars_max));
            }
            line.push('…');
            return line;
        }
        if gap == 1 {
            line.push(' ');
        }
        line.push_str(word);
        chars += gap + length;
    }
    line
}

/// A title from the first message of a user; `None` when it has no words.
pub fn title(text: &str) -> Option<String> {
    let line = one_line(text, TITLE_CHARS_MAX);
    (!line.is_empty()).then_some(line)
}

/// The beginning of a message, for lists.
pub fn preview(text: &str) -> String {
    one_line(text, PREVIEW_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_cut_at_a_word() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(title(text).as_deref(), expected, "{text:?}");
        };
        check("", None);
        check(" \n", None);
        check("short", Some("short"));
        check(&"x".repeat(60), Some(&"x".repeat(60)));
        check(&"ä".repeat(61), Some(&format!("{}…", "ä".repeat(60))));
        check(
            &format!("{} tail", "x".repeat(56)),
            Some(&format!("{}…", "x".repeat(56))),
        );
        check(
            &format!("{} tai", "x".repeat(56)),
            Some(&format!("{} tai", "x".repeat(56))),
        );
    }
}
