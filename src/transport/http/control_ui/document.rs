//! Makes the page's document fit the place it is served at, and says what it may do.
//!
//! The build of the page writes its links relative to the document, which is right at `/` only: a
//! reload at `/chat/main` would look for `/chat/assets`. Pure text in, text out.

use std::iter;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// What the page may load and connect to, beside its own scripts. It is framed by nobody and may
/// connect to other gateways, which it can be switched to.
const POLICY: [&str; 11] = [
    "default-src 'self'",
    "base-uri 'none'",
    "object-src 'none'",
    "frame-ancestors 'none'",
    "frame-src 'self' http: https:",
    "style-src 'self' 'unsafe-inline' https://fonts.googleapis.com",
    "img-src 'self' data: blob: https:",
    "media-src 'self' data: blob:",
    "font-src 'self' https://fonts.gstatic.com",
    "worker-src 'self'",
    "connect-src 'self' ws: wss: data: https://tweakcn.com",
];

/// Tells the page where it is served.
const BASE_PATH: &str = "data-openclaw-control-ui-base-path";

/// Tells the page whether there is a terminal to show.
const TERMINAL: &str = "data-openclaw-terminal-enabled";

/// Tells the page which build of the original serves it: not this one.
const BUILD_ID: &str = "data-openclaw-control-ui-build-id=\"";

/// The document for a page at `base`, which holds no character that HTML would read.
pub(super) fn document(html: &str, base: &str) -> String {
    let html = html
        .replace("src=\"./", &format!("src=\"{base}/"))
        .replace("href=\"./", &format!("href=\"{base}/"));
    let Some((before, tag, rest)) = split_root_tag(&html) else {
        return html;
    };
    let tag = without_build_id(tag);
    let name = "<html".len();
    let (start, attributes) = tag.split_at_checked(name).unwrap_or((&tag, ""));
    format!("{before}{start} {BASE_PATH}=\"{base}\" {TERMINAL}=\"false\"{attributes}{rest}")
}

/// What is before the root tag, the tag itself up to its `>`, and what follows.
fn split_root_tag(html: &str) -> Option<(&str, &str, &str)> {
    let (before, from) = html.split_at_checked(html.find("<html")?)?;
    let (tag, rest) = from.split_at_checked(from.find('>')?)?;
    Some((before, tag, rest))
}

fn without_build_id(tag: &str) -> String {
    let Some((before, from)) = tag.split_once(BUILD_ID) else {
        return tag.to_owned();
    };
    let after = from.split_once('"').map_or("", |(_, after)| after);
    format!("{}{after}", before.trim_end())
}

/// The `Content-Security-Policy` of a document with these scripts in it, or of a file without any.
pub(super) fn policy(html: &str) -> String {
    let scripts = inline_scripts(html).into_iter().map(|script| {
        let hash = STANDARD.encode(Sha256::digest(script));
        format!("'sha256-{hash}'")
    });
    let scripts = iter::once("'self'".to_owned()).chain(scripts);
    let scripts = scripts.collect::<Vec<_>>().join(" ");
    format!("{}; script-src {scripts}", POLICY.join("; "))
}

/// The texts of scripts that stand in the document itself.
fn inline_scripts(html: &str) -> Vec<&str> {
    let mut scripts = Vec::new();
    let mut rest = html;
    while let Some((_, from)) = rest.split_once("<script") {
        let Some((tag, from)) = from.split_once('>') else {
            break;
        };
        let Some((text, after)) = from.split_once("</script>") else {
            break;
        };
        let is_elsewhere = tag
            .split_ascii_whitespace()
            .any(|it| it.starts_with("src="));
        if !is_elsewhere && !text.is_empty() {
            scripts.push(text);
        }
        rest = after;
    }
    scripts
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<!doctype html>\n<html data-openclaw-control-ui-build-id=\"b-1\" lang=\"en\">\
        <link rel=\"icon\" href=\"./favicon.svg\"><a href=\"https://docs.example/./x\">\
        <script>go()</script><script type=\"module\" src=\"./assets/index-a.js\"></script></html>";

    fn check(base: &str, expected: &str) {
        assert_eq!(document(PAGE, base), expected, "{base}");
    }

    #[test]
    fn links_lead_to_the_base_path_from_wherever_the_document_is_read() {
        let rest = |base: &str| {
            format!(
                "<link rel=\"icon\" href=\"{base}/favicon.svg\"><a href=\"https://docs.example/./x\">\
                 <script>go()</script>\
                 <script type=\"module\" src=\"{base}/assets/index-a.js\"></script></html>"
            )
        };
        let start = "<!doctype html>\n<html data-openclaw-control-ui-base-path=";
        let end = "data-openclaw-terminal-enabled=\"false\" lang=\"en\">";
        check("", &format!("{start}\"\" {end}{}", rest("")));
        check("/x/y", &format!("{start}\"/x/y\" {end}{}", rest("/x/y")));
    }

    #[test]
    fn what_is_no_page_stays_as_it_is() {
        for text in ["", "plain", "<html", "<p>src</p>"] {
            assert_eq!(document(text, "/x"), text);
        }
    }

    #[test]
    fn only_the_scripts_of_the_document_itself_may_run() {
        let policy = policy(&document(PAGE, ""));
        // The SHA-256 of `go()`.
        let hash = STANDARD.encode(Sha256::digest("go()"));
        assert!(policy.ends_with(&format!("; script-src 'self' 'sha256-{hash}'")));
        assert!(policy.contains("frame-ancestors 'none'"));
        assert!(!policy.contains("script-src 'self' 'unsafe-inline'"));
        assert!(super::policy("").ends_with("; script-src 'self'"));
        for broken in [
            "<script",
            "<script>x",
            "<script src=\"a\">x</script>",
            "<script></script>",
        ] {
            assert_eq!(inline_scripts(broken), [""; 0], "{broken}");
        }
        assert_eq!(
            inline_scripts("<script a>x</script><script>y</script>"),
            ["x", "y"]
        );
    }
}
