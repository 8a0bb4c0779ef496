//! The Control UI from a folder: files, deep links, what is public and what is not, and that routes
//! win over files whatever the folder holds.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::http::request;
use crate::support::ws::{Ws, backend};
use crate::support::{Response, Served, TOKEN};

const INDEX: &str = "<!doctype html><html lang=\"en\"><link rel=\"icon\" href=\"./favicon.svg\">\
    <script>boot()</script><script type=\"module\" src=\"./assets/index-DsEuFQRE.js\"></script></html>";
const SCRIPT: &str = "assets/index-DsEuFQRE.js";
const BROWSER: (&str, &str) = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");

/// A folder as the package of the original has it, with what should not be in one.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("ui");
    for folder in ["assets", "v1", ".git", "health"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for (name, text) in [
        ("index.html", INDEX),
        (SCRIPT, "run()"),
        ("assets/index-DsEuFQRE.js.br", "brotli"),
        ("favicon.svg", "<svg/>"),
        ("sw.js", "work()"),
        ("v1/models", "not these"),
        ("v1/other.js", "nor these"),
        ("healthz", "nor this"),
        ("metrics", "nor this"),
        ("control-ui-config.json", "{}"),
        (".git/config", "secret"),
        ("../outside.js", "secret"),
    ] {
        fs::write(root.join(name), text).unwrap();
    }
    symlink("../outside.js", root.join("linked.js")).unwrap();
    dir
}

fn settings(root: &Path, more: Value) -> Value {
    let mut page = json!({"root": root.join("ui")});
    crate::support::served::merge(&mut page, more);
    json!({"gateway": {"controlUi": page}, "agents": {"defaults": {"model": "sim/echo"}}})
}

async fn served(folder: &TempDir, more: Value) -> Served {
    Served::start(settings(folder.path(), more)).await
}

async fn get(served: &Served, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut connection = served.connect().await;
    connection.ask(request("GET", path, headers, "")).await
}

async fn check_missing(served: &Served, path: &str) {
    for accept in [BROWSER, ("Accept", "application/json")] {
        let response = get(served, path, &[accept]).await;
        assert_eq!(
            (response.status(), response.text()),
            (404, "Not Found"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_page_is_at_the_root_and_at_every_place_inside_it() {
    let folder = folder();
    let served = served(&folder, json!({})).await;
    for path in [
        "/",
        "/index.html",
        "/chat",
        "/chat/agent%3Amain%3Amain",
        "/settings/devices?x=1",
        "/assets/",
    ] {
        let response = get(&served, path, &[BROWSER]).await;
        assert_eq!(response.status(), 200, "{path}");
        assert!(
            response
                .text()
                .contains("data-openclaw-control-ui-base-path=\"\""),
            "{path}"
        );
        assert!(
            response
                .text()
                .contains("src=\"/assets/index-DsEuFQRE.js\"")
        );
        let check = |name, value| assert_eq!(response.header(name), Some(value), "{path}");
        check("content-type", "text/html; charset=utf-8");
        check("cache-control", "no-cache");
        check("x-frame-options", "DENY");
        check("x-content-type-options", "nosniff");
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.contains("script-src 'self' 'sha256-"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"));
        let permissions = response.header("permissions-policy").unwrap();
        assert!(permissions.contains("microphone=(self)"));
    }
    // What asks for something else than a document is told that it is not there.
    let image = get(&served, "/chat", &[("Accept", "image/webp,image/*")]).await;
    assert_eq!(image.status(), 404);
    // Everything else than reading is nobody's.
    let mut connection = served.connect().await;
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let response = connection
            .ask(request(method, "/chat", &[BROWSER], ""))
            .await;
        assert_eq!(
            (response.status(), response.text()),
            (404, "Not Found"),
            "{method}"
        );
    }
}

#[tokio::test]
async fn files_have_their_types_and_are_kept_by_browsers_as_long_as_they_may() {
    let folder = folder();
    let served = served(&folder, json!({})).await;
    let immutable = "public, max-age=31536000, immutable";
    for (path, kind, kept, text) in [
        (
            "/assets/index-DsEuFQRE.js",
            "application/javascript; charset=utf-8",
            immutable,
            "run()",
        ),
        (
            "/chat/assets/index-DsEuFQRE.js",
            "application/javascript; charset=utf-8",
            immutable,
            "run()",
        ),
        ("/favicon.svg", "image/svg+xml", "no-cache", "<svg/>"),
        (
            "/sw.js?v=1",
            "application/javascript; charset=utf-8",
            "no-cache",
            "work()",
        ),
    ] {
        let response = get(&served, path, &[("Accept", "*/*")]).await;
        assert_eq!((response.status(), response.text()), (200, text), "{path}");
        assert_eq!(response.header("content-type"), Some(kind), "{path}");
        assert_eq!(response.header("cache-control"), Some(kept), "{path}");
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.ends_with("script-src 'self'"), "{policy}");
        let tag = response.header("etag").unwrap();
        let again = get(&served, path, &[("If-None-Match", tag)]).await;
        assert_eq!((again.status(), again.text()), (304, ""), "{path}");
        assert_eq!(again.header("etag"), Some(tag));
        assert_eq!(again.header("cache-control"), Some(kept));
    }
    let script = format!("/{SCRIPT}");
    let packed = get(&served, &script, &[("Accept-Encoding", "gzip, br")]).await;
    assert_eq!(packed.text(), "brotli");
    assert_eq!(packed.header("content-encoding"), Some("br"));
    assert_eq!(packed.header("vary"), Some("Accept-Encoding"));
    assert_eq!(
        packed.header("content-type"),
        Some("application/javascript; charset=utf-8")
    );
    let document = get(&served, "/", &[]).await;
    let tag = document.header("etag").unwrap();
    assert_eq!(
        get(&served, "/", &[("If-None-Match", tag)]).await.status(),
        304
    );
    for (path, bytes) in [
        (script.as_str(), "5"),
        ("/", document.header("content-length").unwrap()),
    ] {
        let mut connection = served.connect().await;
        connection.send(request("HEAD", path, &[], "")).await;
        let head = connection.head().await;
        assert_eq!(head.header("content-length"), Some(bytes), "{path}");
        // Nothing follows: the next answer is the next thing on the connection.
        let next = connection
            .ask(request("GET", "/favicon.svg", &[], ""))
            .await;
        assert_eq!(next.text(), "<svg/>");
    }
}

#[tokio::test]
async fn routes_win_over_files_and_nothing_leads_out_of_the_folder() {
    let folder = folder();
    let served = served(&folder, json!({})).await;
    assert_eq!(get(&served, "/v1/models", &[BROWSER]).await.status(), 401);
    assert_eq!(get(&served, "/models", &[BROWSER]).await.status(), 401);
    assert!(
        get(&served, "/healthz", &[BROWSER])
            .await
            .text()
            .starts_with("{\"ok\":true")
    );
    for path in [
        "/metrics",
        "/v1/other.js",
        "/v1%2fother.js",
        "/%761/other.js",
        "/v1",
        "/api/users",
        "/health/x",
        "/ui",
        "/__openclaw__/assistant-media?source=x",
        "/avatar/main?meta=1",
        "/.git/config",
        "/%2egit/config",
        "/linked.js",
        "/../outside.js",
        "/..%2foutside.js",
        "/assets/..%2f..%2foutside.js",
        "/%2fetc%2fpasswd",
        "//etc/passwd",
        "/..%5coutside.js",
        "/favicon.svg%00.js",
        "/favicon.svg%0a",
        "/missing.js",
        "/assets/gone-DsEuFQRE.css",
    ] {
        check_missing(&served, path).await;
    }
    let long = format!("/chat/{}", "x".repeat(50_000));
    assert_eq!(get(&served, &long, &[BROWSER]).await.status(), 200);
    check_missing(&served, &format!("{long}.js")).await;
}

#[tokio::test]
async fn a_base_path_moves_the_page_and_leaves_the_rest_as_it_was() {
    let folder = folder();
    let served = served(&folder, json!({"basePath": "/x/"})).await;
    let to = get(&served, "/x?a=1", &[BROWSER]).await;
    assert_eq!((to.status(), to.header("location")), (302, Some("/x/?a=1")));
    for path in ["/x/", "/x/chat/main"] {
        let page = get(&served, path, &[BROWSER]).await;
        assert!(
            page.text().contains("src=\"/x/assets/index-DsEuFQRE.js\""),
            "{path}"
        );
        assert!(
            page.text()
                .contains("data-openclaw-control-ui-base-path=\"/x\"")
        );
    }
    assert_eq!(get(&served, "/x/sw.js", &[]).await.text(), "work()");
    for path in ["/", "/chat", "/sw.js", "/xy", "/control-ui-config.json"] {
        check_missing(&served, path).await;
    }
}

#[tokio::test]
async fn what_the_page_reads_first_says_the_same_to_everybody_and_is_no_guess() {
    let folder = folder();
    let served = served(&folder, json!({})).await;
    let token = format!("Bearer {TOKEN}");
    let paths = [
        "/control-ui-config.json",
        "/__openclaw/control-ui-config.json",
        "/__openclaw__/control-ui-config.json",
    ];
    // The page asks with its device token, more often than a guesser might.
    for path in paths.iter().cycle().take(30) {
        let told = get(&served, path, &[("Authorization", "Bearer a-device-token")]).await;
        assert_eq!(told.status(), 200, "{path}");
        assert_eq!(told.header("cache-control"), Some("no-store"));
        assert_eq!(told.json()["basePath"], "");
        assert_eq!(told.json()["terminalEnabled"], false);
        let again = get(&served, path, &[("Authorization", &token)]).await;
        assert_eq!(again.json(), told.json());
    }
    assert_eq!(served.gateway.dispatch().metrics().auth_failures.get(), 0);
}

#[tokio::test]
async fn peers_are_told_that_the_page_is_one_of_our_choice() {
    let folder = folder();
    let none = Served::start(json!({})).await;
    let with = served(&folder, json!({})).await;
    for (served, expected) in [(&with, json!("configured")), (&none, Value::Null)] {
        let mut ws = Ws::open(served.addr()).await;
        let hello = ws.hello(backend()).await;
        let server = &hello["payload"]["server"];
        assert_eq!(server["controlUiBuildSource"], expected, "{hello}");
    }
}

#[tokio::test]
async fn without_a_folder_or_switched_off_there_is_no_page() {
    let folder = folder();
    let off = served(&folder, json!({"enabled": false})).await;
    let none = Served::start(json!({})).await;
    for served in [&off, &none] {
        for path in ["/chat", "/control-ui-config.json", "/sw.js", "/index.html"] {
            check_missing(served, path).await;
        }
        let response = get(served, "/chat", &[BROWSER]).await;
        assert_eq!(response.header("content-security-policy"), None);
    }
    check_missing(&off, "/").await;
}

#[tokio::test]
async fn who_opens_the_address_in_a_browser_is_told_how_to_have_the_page() {
    let none = Served::start(json!({})).await;
    let below = json!({"gateway": {"controlUi": {"basePath": "/openclaw"}}});
    let below = Served::start(below).await;
    for (served, path) in [(&none, "/"), (&below, "/openclaw"), (&below, "/openclaw/")] {
        let told = get(served, path, &[BROWSER]).await;
        assert_eq!(told.status(), 200, "{path}");
        assert_eq!(
            told.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert!(told.text().contains("gateway.controlUi.root"), "{path}");
        // Whoever is no browser is told what it always was.
        for headers in [
            &[][..],
            &[("Accept", "*/*")],
            &[("Accept", "application/json")],
        ] {
            let missing = get(served, path, headers).await;
            assert_eq!(
                (missing.status(), missing.text()),
                (404, "Not Found"),
                "{path}"
            );
        }
    }
    check_missing(&below, "/").await;
    check_missing(&none, "/v1").await;
}

#[tokio::test]
async fn a_folder_may_go_and_come_back() {
    let folder = folder();
    let served = served(&folder, json!({})).await;
    let (root, away) = (folder.path().join("ui"), folder.path().join("away"));
    fs::rename(&root, &away).unwrap();
    for path in ["/", "/chat", "/sw.js"] {
        let response = get(&served, path, &[BROWSER]).await;
        assert_eq!(response.status(), 503, "{path}");
        assert!(!response.text().contains(root.to_str().unwrap()));
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
    fs::rename(&away, &root).unwrap();
    assert_eq!(get(&served, "/", &[BROWSER]).await.status(), 200);
    fs::remove_file(root.join("index.html")).unwrap();
    assert_eq!(get(&served, "/chat", &[BROWSER]).await.status(), 503);
    assert_eq!(get(&served, "/sw.js", &[]).await.text(), "work()");
    // A document that cannot be one is not read at all.
    fs::write(root.join("index.html"), vec![b' '; 2 * 1024 * 1024]).unwrap();
    assert_eq!(get(&served, "/", &[BROWSER]).await.status(), 503);
}

#[tokio::test]
async fn a_large_file_arrives_whole_and_who_reads_it_slowly_holds_up_nobody() {
    let folder = folder();
    let bytes: Vec<u8> = (0..20_000_000_u32).map(|n| (n % 251) as u8).collect();
    fs::write(folder.path().join("ui/big.wasm"), &bytes).unwrap();
    let served = served(&folder, json!({})).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut connection = served.connect().await;
        connection.send(request("GET", "/big.wasm", &[], "")).await;
        assert_eq!(
            connection.head().await.header("content-length"),
            Some("20000000")
        );
        slow.push(connection);
    }
    let whole = get(&served, "/big.wasm", &[]).await;
    assert_eq!(whole.header("content-type"), Some("application/wasm"));
    assert!(whole.body == bytes);
    assert_eq!(get(&served, "/sw.js", &[]).await.text(), "work()");
}

#[tokio::test]
async fn a_file_that_shrinks_on_its_way_is_cut_off_and_not_made_up() {
    let folder = folder();
    let path = folder.path().join("ui/big.wasm");
    fs::write(&path, vec![1; 50_000_000]).unwrap();
    let served = served(&folder, json!({})).await;
    let mut connection = served.connect().await;
    connection.send(request("GET", "/big.wasm", &[], "")).await;
    assert_eq!(
        connection.head().await.header("content-length"),
        Some("50000000")
    );
    fs::write(&path, "").unwrap();
    assert!(connection.rest().await.len() < 50_000_000);
}
