//! Which known name somebody most likely meant.

/// Shortest beginning of a name that counts as the name.
const PREFIX_CHARS_MIN: usize = 4;

/// The known name nearest to `name`, if one is near enough to be what was meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain_name = plain(name);
    known
        .into_iter()
        .filter_map(|candidate| Some((distance(&plain_name, &plain(candidate))?, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How far two names are apart; `None` when nobody would mix them up.
fn distance(name: &str, candidate: &str) -> Option<usize> {
    let chars = name.chars().count();
    let distance = strsim::damerau_levenshtein(name, candidate);
    let allowed = (chars.max(candidate.chars().count()) / 4).max(1);
    if distance <= allowed && distance < chars {
        return Some(distance);
    }
    let begins = chars >= PREFIX_CHARS_MIN && candidate.starts_with(name);
    begins.then_some(distance)
}

/// A name without case and separators.
fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '-' | '_' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Option<&str>) {
        let known = [
            "port",
            "bind",
            "auth",
            "timeoutSeconds",
            "maxConcurrent",
            "model",
            "list",
        ];
        assert_eq!(nearest(name, known), expected, "{name:?}");
    }

    #[test]
    fn misspellings_find_what_was_meant() {
        check("prot", Some("port"));
        check("Port", Some("port"));
        check("max_concurrent", Some("maxConcurrent"));
        check("maxConcurency", Some("maxConcurrent"));
        check("timeoutSecs", Some("timeoutSeconds"));
        check("timeout", Some("timeoutSeconds"));
        check("models", Some("model"));
        check("lst", Some("list"));
    }

    #[test]
    fn other_words_find_nothing() {
        check("tls", None);
        check("workspace", None);
        check("p", None);
        check("", None);
        check("max", None);
    }
}
