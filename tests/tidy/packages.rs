//! What the project is built from: the packages it promises to use, and those it must not.

use std::fs;

use crate::code::{Source, sources, words};
use crate::{assert_complaint, assert_tidy, root};

/// Packages the project is built on, with the names code knows them by.
const USED: &[(&str, &str)] = &[
    ("tokio", "tokio"),
    ("hyper", "hyper"),
    ("tokio-tungstenite", "tokio_tungstenite"),
    ("serde_json", "serde_json"),
    ("bytes", "bytes"),
    ("pin-project", "pin_project"),
    ("governor", "governor"),
    ("tracing", "tracing"),
];

/// Packages that must not be built: other TLS providers, and HTTP/2.
const REFUSED: &[&str] = &[
    "aws-lc-rs",
    "aws-lc-sys",
    "boring",
    "h2",
    "native-tls",
    "openssl",
    "openssl-sys",
];

/// The oldest versions that lack known faults.
const OLDEST: &[(&str, [u32; 3])] = &[
    ("hyper", [1, 12, 0]),
    ("tungstenite", [0, 29, 0]),
    ("rustls", [0, 23, 18]),
];

/// Dependencies that no product code uses beyond an import.
fn unused(manifest: &str, sources: &[Source]) -> Vec<String> {
    let normal = manifest
        .split("\n[dependencies]")
        .nth(1)
        .unwrap_or_default();
    let normal = normal.split("\n[").next().unwrap_or_default();
    let is_dependency = |package: &str| {
        let mut lines = normal.lines();
        lines.any(|line| line.split(['=', '.', ' ']).next() == Some(package))
    };
    let mut found = Vec::new();
    for (package, name) in USED {
        if !is_dependency(package) {
            found.push(format!("`{package}` is no dependency"));
        }
        if !sources.iter().any(|source| uses(&source.product, name)) {
            found.push(format!("`{package}` is used nowhere in src"));
        }
    }
    found
}

/// Whether code uses a crate, by a path of its own or by a name it imports.
fn uses(code: &str, name: &str) -> bool {
    let mut imported = Vec::new();
    let mut rest = Vec::new();
    let mut in_use: Option<Vec<&str>> = None;
    for (_, word) in words(code) {
        match (&mut in_use, word) {
            (None, "use") => in_use = Some(Vec::new()),
            (None, word) => rest.push(word),
            (Some(path), ";") => {
                if path.contains(&name) {
                    imported.append(path);
                }
                in_use = None;
            }
            (Some(path), word) => path.push(word),
        }
    }
    let by_path = rest.windows(2).any(|pair| pair == [name, "::"]);
    let is_name = |word: &&&str| word.starts_with(char::is_alphabetic) && **word != "self";
    // Names in the middle of a path are found too; only a name that code also says counts.
    let mut names = imported.iter().filter(is_name);
    by_path || names.any(|word| rest.contains(word))
}

/// Packages of the lock file that must not be there, are there twice, or are too old.
fn refused(lock: &str) -> Vec<String> {
    let packages: Vec<_> = lock.split("[[package]]").filter_map(package).collect();
    let count = |name: &str| packages.iter().filter(|(it, _)| *it == name).count();
    let mut found: Vec<_> = REFUSED
        .iter()
        .filter(|name| count(name) > 0)
        .map(|name| format!("`{name}` is built"))
        .collect();
    if count("ring") != 1 {
        found.push(format!("`ring` is built {} times", count("ring")));
    }
    for (name, oldest) in OLDEST {
        let mut versions = packages.iter().filter(|(it, _)| it == name);
        if versions.any(|(_, version)| numbers(version) < *oldest) {
            found.push(format!("`{name}` is older than {oldest:?}"));
        }
    }
    found
}

fn package(text: &str) -> Option<(&str, &str)> {
    let value = |key: &str| {
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
        value.strip_suffix('"')
    };
    Some((value("name")?, value("version")?))
}

fn numbers(version: &str) -> [u32; 3] {
    let mut numbers = version
        .split(['.', '-', '+'])
        .map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

#[test]
fn an_import_alone_is_no_use() {
    for code in [
        "use governor::Quota;",
        "use governor::{Quota, state::keyed};",
        "use other::governor;",
        "fn governor() {}",
        "#[cfg(test)]\nmod tests { fn a() { governor::b(); } }",
    ] {
        let product = Source::new("src/a.rs", code);
        assert!(!uses(&product.product, "governor"), "{code}");
    }
    for code in [
        "use governor::Quota; fn a(b: Quota) {}",
        "use governor::{self, Quota as Q}; fn a(b: Q) {}",
        "fn a(b: governor::Quota) {}",
    ] {
        assert!(uses(code, "governor"), "{code}");
    }
}

#[test]
fn the_promised_packages_are_used() {
    let manifest =
        "[package]\n[dependencies]\ntokio = 1\nhyper-util = 1\n[dev-dependencies]\nhyper = 1\n";
    let found = unused(manifest, &[]);
    assert!(!found.contains(&"`tokio` is no dependency".to_owned()));
    assert!(found.contains(&"`hyper` is no dependency".to_owned()));
    assert!(found.contains(&"`tokio` is used nowhere in src".to_owned()));
    assert_tidy(&unused(&read("Cargo.toml"), &sources(&["src"])));
}

#[test]
fn one_tls_provider_and_no_known_faults() {
    let lock = |name: &str, version: &str| {
        format!(
            "[[package]]\nname = \"ring\"\nversion = \"0.17.14\"\n\n\
             [[package]]\nname = \"{name}\"\nversion = \"{version}\"\n"
        )
    };
    assert_complaint(
        &refused(&lock("aws-lc-rs", "1.0.0")),
        "`aws-lc-rs` is built",
    );
    assert_complaint(&refused(&lock("ring", "0.16.0")), "`ring` is built 2 times");
    assert_complaint(&refused(""), "`ring` is built 0 times");
    assert_complaint(&refused(&lock("hyper", "1.11.9")), "`hyper` is older");
    assert_complaint(&refused(&lock("rustls", "0.23.17")), "`rustls` is older");
    assert_tidy(&refused(&lock("hyper", "1.12.0")));
    assert_tidy(&refused(&lock("rustls", "0.24.0-rc.1")));
    assert_tidy(&refused(&read("Cargo.lock")));
}
