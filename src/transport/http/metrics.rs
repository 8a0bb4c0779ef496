//! The numbers of the process as Prometheus reads them (text format 0.0.4).
//!
//! Names and labels are closed sets: nothing here tells of a session, a user or a run. Owns the
//! names and the units; what is counted is counted elsewhere.

use std::fmt::{Display, Write};
use std::time::Duration;

use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::dispatch::QueueReport;
use crate::metrics::{Histogram, Metrics};
use crate::version::OWN_VERSION;

use super::body::Body;
use super::respond;

const TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// What the page is made from.
#[derive(Debug)]
pub(super) struct Numbers<'a> {
    pub(super) metrics: &'a Metrics,
    pub(super) queue: QueueReport,
    pub(super) uptime: Duration,
}

impl Numbers<'_> {
    pub(super) fn response(&self) -> Response<Body> {
        let mut response = respond::json(StatusCode::OK, self.page());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, TYPE);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn page(&self) -> String {
        let mut page = Page::default();
        page.family("build_info", Kind::Gauge, "The version that runs.");
        let version = format!("version=\"{OWN_VERSION}\"");
        page.sample("build_info", &version, 1);
        let uptime = Seconds(self.uptime);
        page.gauge("uptime_seconds", "How long the process runs.", uptime);
        self.connections(&mut page);
        self.runs(&mut page);
        self.parts(&mut page);
        page.0
    }

    fn connections(&self, page: &mut Page) {
        let numbers = self.metrics;
        let open = numbers.connections_open.get();
        page.gauge("connections_open", "Sockets that are open.", open);
        let native = numbers.native_open.get();
        page.gauge(
            "native_connections_open",
            "Authenticated native connections that are open.",
            native,
        );
        for (name, help, counter) in [
            (
                "connections_accepted_total",
                "Sockets accepted.",
                &numbers.connections_accepted,
            ),
            (
                "connections_refused_total",
                "Sockets refused because a limit was reached.",
                &numbers.connections_refused,
            ),
            (
                "slow_consumers_total",
                "Native connections closed because they read too slowly.",
                &numbers.slow_consumers,
            ),
            (
                "auth_failures_total",
                "Requests and connects with a wrong secret.",
                &numbers.auth_failures,
            ),
            (
                "auth_lockouts_total",
                "Requests and connects refused after too many failures.",
                &numbers.auth_lockouts,
            ),
        ] {
            page.counter(name, help, counter.get());
        }
    }

    fn runs(&self, page: &mut Page) {
        let numbers = self.metrics;
        page.family("runs", Kind::Gauge, "Runs that have not ended, by state.");
        page.sample("runs", "state=\"active\"", numbers.runs_active.get());
        page.sample("runs", "state=\"queued\"", numbers.runs_waiting.get());
        let help = "Runs that were accepted.";
        page.counter("runs_accepted_total", help, numbers.runs_accepted.get());
        let help = "Runs that were refused before acceptance.";
        page.counter("runs_refused_total", help, numbers.runs_refused.get());
        page.family(
            "runs_ended_total",
            Kind::Counter,
            "Runs that ended, by outcome.",
        );
        for (outcome, counter) in [
            ("ok", &numbers.runs_ok),
            ("error", &numbers.runs_error),
            ("aborted", &numbers.runs_aborted),
            ("timeout", &numbers.runs_timeout),
            ("interrupted", &numbers.runs_interrupted),
        ] {
            let label = format!("outcome=\"{outcome}\"");
            page.sample("runs_ended_total", &label, counter.get());
        }
        let help = "Slots taken back because the backend did not end in time.";
        page.counter("runs_abandoned_total", help, numbers.runs_abandoned.get());
        let help = "Sessions with a run that has not ended.";
        page.gauge("lanes", help, self.queue.lanes);
        page.gauge(
            "queue_oldest_wait_seconds",
            "How long the run has waited that waits longest.",
            Seconds(self.queue.oldest_wait),
        );
        let help = "How long runs waited for their turn before they started.";
        page.histogram("queue_wait_seconds", help, &numbers.queue_wait);
        let help = "How long runs took from their start to their end.";
        page.histogram("run_duration_seconds", help, &numbers.run_time);
    }

    fn parts(&self, page: &mut Page) {
        let numbers = self.metrics;
        let help = "1 while the store cannot be written.";
        page.gauge("ledger_failing", help, numbers.ledger_failing.get());
        for (name, help, counter) in [
            (
                "ledger_commits_total",
                "Commits of the store; many runs may share one.",
                &numbers.ledger_commits,
            ),
            (
                "ledger_failures_total",
                "Writes of the store that failed.",
                &numbers.ledger_failures,
            ),
            (
                "upstream_calls_total",
                "Calls to model servers.",
                &numbers.upstream_calls,
            ),
            (
                "upstream_retries_total",
                "Calls to model servers that were repeated.",
                &numbers.upstream_retries,
            ),
            (
                "upstream_failures_total",
                "Calls to model servers that failed.",
                &numbers.upstream_failures,
            ),
        ] {
            page.counter(name, help, counter.get());
        }
    }
}

/// A page that grows family by family.
#[derive(Debug, Default)]
struct Page(String);

#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Page {
    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, Kind::Counter, help);
        self.sample(name, "", value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, Kind::Gauge, help);
        self.sample(name, "", value);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, Kind::Histogram, help);
        // Read first: what ends meanwhile may be in the count and not in a step, never the reverse.
        let steps: Vec<_> = histogram.steps().collect();
        let (sum, count) = (histogram.sum_ms(), histogram.count());
        let bucket = format!("{name}_bucket");
        for (bound_ms, times) in steps {
            let bound = Seconds(Duration::from_millis(bound_ms));
            self.sample(&bucket, &format!("le=\"{bound}\""), times);
        }
        self.sample(&bucket, "le=\"+Inf\"", count);
        let sum = Seconds(Duration::from_millis(sum));
        self.sample(&format!("{name}_sum"), "", sum);
        self.sample(&format!("{name}_count"), "", count);
    }

    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(format_args!("# HELP clawport_{name} {help}"));
        self.line(format_args!("# TYPE clawport_{name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        if labels.is_empty() {
            self.line(format_args!("clawport_{name} {value}"));
        } else {
            self.line(format_args!("clawport_{name}{{{labels}}} {value}"));
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        writeln!(self.0, "{line}").ok();
    }
}

/// A time as Prometheus wants it: seconds, with three digits of a fraction when there is one.
#[derive(Debug)]
struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, ms) = (self.0.as_secs(), self.0.subsec_millis());
        if ms == 0 {
            write!(f, "{whole}")
        } else {
            write!(f, "{whole}.{ms:03}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    fn page(metrics: &Metrics) -> String {
        let queue = QueueReport {
            lanes: 2,
            oldest_wait: Duration::from_millis(1_250),
        };
        let uptime = Duration::from_secs(7);
        Numbers {
            metrics,
            queue,
            uptime,
        }
        .page()
    }

    /// The samples of a page by name and labels, after checking what every page must keep to.
    fn parsed(page: &str) -> HashMap<String, f64> {
        let mut samples = HashMap::new();
        let mut kinds = HashMap::new();
        let mut helped = HashSet::new();
        assert!(page.ends_with('\n'));
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(!help.is_empty() && helped.insert(name), "{line}");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(kinds.insert(name, kind).is_none(), "{line}");
                assert!(helped.contains(name), "{line}");
            } else {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                let name = sample.split('{').next().unwrap();
                let parts = ["_bucket", "_sum", "_count"];
                let family = parts.iter().find_map(|part| {
                    let family = name.strip_suffix(part)?;
                    (kinds.get(family) == Some(&"histogram")).then_some(family)
                });
                let kind = kinds.get(family.unwrap_or(name)).copied();
                let kind = kind.unwrap_or_else(|| panic!("no family for {line}"));
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                let value: f64 = value.parse().unwrap();
                assert!(samples.insert(sample.to_owned(), value).is_none(), "{line}");
            }
        }
        samples
    }

    #[test]
    fn every_number_has_its_line() {
        let metrics = Metrics::default();
        metrics.runs_active.set(3);
        metrics.runs_waiting.set(4);
        metrics.runs_timeout.add(5);
        metrics.ledger_failing.set(1);
        metrics.queue_wait.observe_ms(7);
        metrics.queue_wait.observe_ms(700_000);
        let samples = parsed(&page(&metrics));
        for (sample, expected) in [
            ("runs{state=\"active\"}", 3.0),
            ("runs{state=\"queued\"}", 4.0),
            ("runs_ended_total{outcome=\"timeout\"}", 5.0),
            ("runs_ended_total{outcome=\"ok\"}", 0.0),
            ("ledger_failing", 1.0),
            ("lanes", 2.0),
            ("uptime_seconds", 7.0),
            ("queue_oldest_wait_seconds", 1.25),
            ("queue_wait_seconds_bucket{le=\"0.005\"}", 0.0),
            ("queue_wait_seconds_bucket{le=\"0.010\"}", 1.0),
            ("queue_wait_seconds_bucket{le=\"600\"}", 1.0),
            ("queue_wait_seconds_bucket{le=\"+Inf\"}", 2.0),
            ("queue_wait_seconds_count", 2.0),
            ("queue_wait_seconds_sum", 700.007),
        ] {
            let found = samples.get(&format!("clawport_{sample}"));
            assert_eq!(found, Some(&expected), "{sample}");
        }
    }
}
