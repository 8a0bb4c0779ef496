//! `GET /metrics`: who may read it, what it says, and what it must not say.

use serde_json::json;

use crate::support::http::request;
use crate::support::upstream::{Reply, Upstream};
use crate::support::{Response, Served, Setup, TOKEN};

async fn ask(served: &Served, method: &str, headers: &[(&str, &str)]) -> Response {
    let mut connection = served.connect().await;
    connection
        .ask(request(method, "/metrics", headers, ""))
        .await
}

/// The page, as a caller with the token gets it.
async fn page(served: &Served) -> Response {
    let token = format!("Bearer {TOKEN}");
    ask(served, "GET", &[("Authorization", &token)]).await
}

async fn served(upstream: &Upstream) -> Served {
    let mut settings = crate::crash::behind(upstream);
    settings["gateway"] = json!({"http": {"endpoints": {"metrics": {"enabled": true}}},
        "auth": {"mode": "token", "token": TOKEN}});
    Served::start(settings).await
}

/// The number behind a name and its labels.
fn number(page: &str, sample: &str) -> f64 {
    let mut lines = page
        .lines()
        .filter_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let found = lines.next().unwrap_or_else(|| panic!("{sample} in {page}"));
    assert_eq!(lines.next(), None, "{sample} stands twice");
    found.parse().unwrap()
}

#[tokio::test]
async fn there_is_no_page_unless_it_is_configured() {
    let served = Served::start(json!({})).await;
    assert_eq!(page(&served).await.status(), 404);
}

#[tokio::test]
async fn the_page_is_for_callers_that_may_read() {
    let upstream = Upstream::start().await;
    let served = served(&upstream).await;
    assert_eq!(ask(&served, "GET", &[]).await.status(), 401);
    let wrong = [("Authorization", "Bearer not-the-token")];
    assert_eq!(ask(&served, "GET", &wrong).await.status(), 401);
    let page = page(&served).await;
    assert_eq!(page.status(), 200);
    let kind = page.header("content-type").unwrap();
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(page.header("cache-control").unwrap(), "no-store");
    let post = ask(&served, "POST", &[]).await;
    assert_eq!((post.status(), post.header("allow")), (405, Some("GET")));

    // Without a secret the caller says which scopes it holds.
    let open = json!({"gateway": {"auth": {"mode": "none"},
        "http": {"endpoints": {"metrics": {"enabled": true}}}}});
    let served = Setup::file(open.to_string()).start().await;
    for (scopes, status) in [
        ("operator.read", 200),
        ("operator.approvals", 403),
        ("", 403),
    ] {
        let asked = ask(&served, "GET", &[("x-openclaw-scopes", scopes)]).await;
        assert_eq!(asked.status(), status, "{scopes:?}");
    }
}

#[tokio::test]
async fn the_page_counts_what_happens_and_names_nobody() {
    let upstream = Upstream::start().await;
    let served = served(&upstream).await;
    let mut native = served.native().await;
    let before = page(&served).await.text().to_owned();
    assert!(number(&before, "clawport_runs_accepted_total") < 1.0);

    let session = "agent:main:a-secret-name";
    native.send(session, "first-run", "a secret message").await;
    native.end("first-run").await;
    upstream.replies([Reply::Silence]);
    native.send(session, "second-run", "and another").await;
    upstream.until(|counts| counts.asked == 2).await;
    let waits = json!({"sessionKey": session, "idempotencyKey": "third-run", "message": "x",
        "queueMode": "followup"});
    native.call("chat.send", waits).await;
    let page = page(&served).await.text().to_owned();
    for (sample, expected) in [
        ("clawport_runs_accepted_total", 3.0),
        ("clawport_runs{state=\"active\"}", 1.0),
        ("clawport_runs{state=\"queued\"}", 1.0),
        ("clawport_runs_ended_total{outcome=\"ok\"}", 1.0),
        ("clawport_queue_wait_seconds_count", 2.0),
        ("clawport_queue_wait_seconds_bucket{le=\"+Inf\"}", 2.0),
        ("clawport_run_duration_seconds_count", 1.0),
        ("clawport_lanes", 1.0),
        ("clawport_native_connections_open", 1.0),
        ("clawport_upstream_calls_total", 2.0),
        ("clawport_ledger_failing", 0.0),
    ] {
        let found = number(&page, sample);
        assert!((found - expected).abs() < f64::EPSILON, "{sample}: {found}");
    }
    // Accepting three runs and ending one, whoever shared a commit.
    assert!(number(&page, "clawport_ledger_commits_total") >= 2.0);
    for private in [
        "secret-name",
        "secret message",
        "-run",
        "agent:main",
        "mock-model",
        TOKEN,
    ] {
        assert!(!page.contains(private), "{private} in {page}");
    }
}
