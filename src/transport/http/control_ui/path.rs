//! Which part of the page a path names. Pure: knows no file system and no request.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The document of the page.
pub(super) const INDEX: &str = "index.html";

/// First segments that belong to others: what is below them is never the page's, whatever its
/// folder holds.
const FOREIGN: &[&str] = &[
    "api", "avatar", "health", "healthz", "hooks", "j", "metrics", "ready", "readyz", "startup",
    "startupz", "tools", "ui", "v1",
];

/// What the page reads before it connects, at all the places its versions look for it.
const SETTINGS: &[&str] = &[
    "/control-ui-config.json",
    "/__openclaw/control-ui-config.json",
    "/__openclaw__/control-ui-config.json",
];

/// What is served of the page's folder, by extension.
const CONTENT_TYPES: &[(&str, &str)] = &[
    ("css", "text/css; charset=utf-8"),
    ("gif", "image/gif"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "application/javascript; charset=utf-8"),
    ("json", "application/json; charset=utf-8"),
    ("map", "application/json; charset=utf-8"),
    ("mjs", "application/javascript; charset=utf-8"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("webmanifest", "application/manifest+json; charset=utf-8"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
];

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked<'a> {
    /// The base path without its slash.
    Redirect,
    /// What the page reads before it connects.
    Settings,
    /// A file below the page's folder: relative, without dots that lead out of it.
    File(Cow<'a, str>),
    /// Nothing of the page's.
    Nothing,
}

/// Finds what `path` asks for of a page at `base`, which is empty or `/like/this`.
pub(super) fn asked<'a>(path: &'a str, base: &str) -> Asked<'a> {
    let Some(below) = path.strip_prefix(base) else {
        return Asked::Nothing;
    };
    if below.is_empty() && !base.is_empty() {
        return Asked::Redirect;
    }
    if SETTINGS.contains(&below) {
        return Asked::Settings;
    }
    let Some(relative) = below.strip_prefix('/') else {
        return Asked::Nothing;
    };
    let Ok(file) = percent_decode_str(relative).decode_utf8() else {
        return Asked::Nothing;
    };
    let first = file.split('/').next().unwrap_or_default();
    if FOREIGN.contains(&first) || first.starts_with("__openclaw") || !is_below(&file) {
        return Asked::Nothing;
    }
    if file.is_empty() {
        return Asked::File(INDEX.into());
    }
    // A page below a link that was not rewritten asks for its assets beside the link.
    let beside = file.find("/assets/").and_then(|at| file.get(at + 1..));
    Asked::File(match beside {
        Some(assets) => assets.to_owned().into(),
        None => file,
    })
}

/// Whether a decoded path stays below the folder it is joined to, and asks for nothing hidden.
fn is_below(file: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && c != '\\';
    !file.starts_with('/')
        && file.chars().all(is_plain)
        && file.split('/').all(|segment| !segment.starts_with('.'))
}

/// The content type of a file that the page's folder may hold.
pub(super) fn content_type(file: &str) -> Option<&'static str> {
    let (_, extension) = file.rsplit_once('.')?;
    let known = CONTENT_TYPES.iter();
    let mut known = known.filter(|(known, _)| extension.eq_ignore_ascii_case(known));
    known.next().map(|(_, content_type)| *content_type)
}

/// Whether a file that is not there is missing, and not a place inside the page.
pub(super) fn is_asset(file: &str) -> bool {
    content_type(file).is_some_and(|content_type| !content_type.starts_with("text/html"))
}

/// Whether the name of a file holds a hash of what is in it, so that it never changes.
pub(super) fn is_fingerprinted(file: &str) -> bool {
    let Some(name) = file.strip_prefix("assets/") else {
        return false;
    };
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let hash = stem.len().checked_sub(HASH_CHARS).and_then(|at| {
        let (before, hash) = stem.split_at_checked(at)?;
        before.ends_with('-').then_some(hash)
    });
    hash.is_some_and(|hash| !hash.bytes().all(|byte| byte.is_ascii_lowercase()))
}

/// Characters of the hash that the page's build puts behind a name.
const HASH_CHARS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Asked<'_> {
        Asked::File(name.into())
    }

    fn check(path: &str, base: &str, expected: &Asked<'_>) {
        assert_eq!(&asked(path, base), expected, "{path} at {base:?}");
    }

    #[test]
    fn a_path_names_a_file_or_a_place_inside_the_page() {
        check("/", "", &file("index.html"));
        check("/index.html", "", &file("index.html"));
        check("/favicon.svg", "", &file("favicon.svg"));
        check(
            "/chat/agent%3Amain%3Amain",
            "",
            &file("chat/agent:main:main"),
        );
        check("/settings/devices", "", &file("settings/devices"));
        check("/assets/a-1.js", "", &file("assets/a-1.js"));
        check("/chat/assets/a-1.js", "", &file("assets/a-1.js"));
        check("/ünï", "", &file("ünï"));
    }

    #[test]
    fn a_base_path_is_a_whole_segment() {
        check("/x", "/x", &Asked::Redirect);
        check("/x/", "/x", &file("index.html"));
        check("/x/chat", "/x", &file("chat"));
        check("/x/assets/a.js", "/x", &file("assets/a.js"));
        for path in ["/", "/xy", "/chat", "/assets/a.js", "/X/"] {
            check(path, "/x", &Asked::Nothing);
        }
        check("/a/b/c", "/a/b", &file("c"));
    }

    #[test]
    fn settings_are_found_where_every_version_looks() {
        check("/control-ui-config.json", "", &Asked::Settings);
        check("/__openclaw/control-ui-config.json", "", &Asked::Settings);
        check("/__openclaw__/control-ui-config.json", "", &Asked::Settings);
        check("/x/control-ui-config.json", "/x", &Asked::Settings);
        check("/control-ui-config.json", "/x", &Asked::Nothing);
    }

    #[test]
    fn what_belongs_to_others_is_never_the_page() {
        for path in [
            "/v1",
            "/v1/files",
            "/api/users/me/avatar",
            "/health/x",
            "/hooks/agent",
            "/tools/invoke",
            "/ui",
            "/avatar/main",
            "/__openclaw__/assistant-media",
            "/__openclaw/x",
            "/v1%2Ffiles",
            "/%761/files",
            "/%5f_openclaw/x",
            "*",
            "",
        ] {
            check(path, "", &Asked::Nothing);
        }
    }

    #[test]
    fn nothing_leads_out_of_the_folder() {
        for path in [
            "/../secret",
            "/a/../../secret",
            "/%2e%2e/secret",
            "/..%2fsecret",
            "/a%2f..%2f..%2fsecret",
            "/%2fetc/passwd",
            "//etc/passwd",
            "/..\\secret",
            "/%5c..%5csecret",
            "/a%00.js",
            "/a%0a",
            "/%ff",
            "/.env",
            "/a/.git/config",
            "/.",
            "/assets/../../secret",
        ] {
            check(path, "", &Asked::Nothing);
        }
        // Decoded once only.
        check("/%252e%252e/x", "", &file("%2e%2e/x"));
    }

    #[test]
    fn only_a_hashed_name_never_changes() {
        for (name, expected) in [
            ("assets/index-DsEuFQRE.js", true),
            ("assets/gateway-runtime-hTh6B_FS.js", true),
            ("assets/mermaid.min-BZuf2r7K.js", true),
            ("assets/control-ui-settings.js", false),
            ("assets/logo.svg", false),
            ("assets/-", false),
            ("fonts/index-DsEuFQRE.js", false),
            ("sw.js", false),
        ] {
            assert_eq!(is_fingerprinted(name), expected, "{name}");
        }
    }

    #[test]
    fn types_go_by_the_extension() {
        for (name, expected, asset) in [
            ("a.js", Some("application/javascript; charset=utf-8"), true),
            ("a.CSS", Some("text/css; charset=utf-8"), true),
            (
                "manifest.webmanifest",
                Some("application/manifest+json; charset=utf-8"),
                true,
            ),
            ("about.html", Some("text/html; charset=utf-8"), false),
            ("chat/agent:main:v1.2", None, false),
            ("LICENSE", None, false),
        ] {
            assert_eq!(content_type(name), expected, "{name}");
            assert_eq!(is_asset(name), asset, "{name}");
        }
    }
}
