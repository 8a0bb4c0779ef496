//! Which resource a path names (`http-facts` §1.2, §1.3).

/// A resource of the HTTP front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource<'a> {
    /// `/health`, `/healthz`.
    Health,
    /// `/ready`, `/readyz`.
    Ready,
    /// `/startup`, `/startupz`.
    Startup,
    /// `/metrics`.
    Metrics,
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/models`.
    Models,
    /// `/v1/models/{id}`, the id as it stands in the path.
    Model(&'a str),
    /// `/v1/runs/{id}` and what is below it, the id as it stands in the path.
    Run(&'a str, RunPart),
    /// Anything else.
    Unknown,
}

/// What of a run a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunPart {
    /// The run itself.
    State,
    /// `…/events`.
    Events,
    /// `…/cancel`.
    Cancel,
}

/// Finds the resource of a path. Some clients leave out `/v1` or end with a slash, so both are
/// taken.
pub(super) fn resource(path: &str) -> Resource<'_> {
    match path {
        "/health" | "/healthz" => Resource::Health,
        "/ready" | "/readyz" => Resource::Ready,
        "/startup" | "/startupz" => Resource::Startup,
        "/metrics" => Resource::Metrics,
        _ => api(path.strip_prefix("/v1").unwrap_or(path)),
    }
}

fn api(path: &str) -> Resource<'_> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if let Some(id) = path.strip_prefix("/models/") {
        return Resource::Model(id);
    }
    if let Some(rest) = path.strip_prefix("/runs/") {
        return run(rest);
    }
    match path {
        "/chat/completions" => Resource::Chat,
        "/models" => Resource::Models,
        _ => Resource::Unknown,
    }
}

fn run(rest: &str) -> Resource<'_> {
    let (id, part) = match rest.split_once('/') {
        None => (rest, RunPart::State),
        Some((id, "events")) => (id, RunPart::Events),
        Some((id, "cancel")) => (id, RunPart::Cancel),
        Some((_, _)) => return Resource::Unknown,
    };
    if id.is_empty() {
        return Resource::Unknown;
    }
    Resource::Run(id, part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_matched_exactly_but_for_the_documented_leniency() {
        let check = |path, expected| assert_eq!(resource(path), expected, "{path}");
        check("/health", Resource::Health);
        check("/healthz", Resource::Health);
        check("/readyz", Resource::Ready);
        check("/startup", Resource::Startup);
        check("/v1/chat/completions", Resource::Chat);
        check("/v1/chat/completions/", Resource::Chat);
        check("/chat/completions", Resource::Chat);
        check("/v1/models", Resource::Models);
        check("/models", Resource::Models);
        check("/v1/models/openclaw/main", Resource::Model("openclaw/main"));
        check("/v1/models/", Resource::Models);
        check("/v1/models//", Resource::Model(""));
        check(
            "/v1/models/openclaw/main/",
            Resource::Model("openclaw/main"),
        );
        check("/v1/runs/a%2Fb", Resource::Run("a%2Fb", RunPart::State));
        check("/v1/runs/a/", Resource::Run("a", RunPart::State));
        check("/runs/a/events", Resource::Run("a", RunPart::Events));
        check("/v1/runs/a/cancel", Resource::Run("a", RunPart::Cancel));
        check("/v1/runs/a/b/events", Resource::Unknown);
        check("/v1/runs/a/b", Resource::Unknown);
        check("/v1/runs/", Resource::Unknown);
        check("/v1/runs//events", Resource::Unknown);
        check("/v1/runs", Resource::Unknown);
        check("/v1/chat/completions//", Resource::Unknown);
        check("/v1/Chat/Completions", Resource::Unknown);
        check("//v1/chat/completions", Resource::Unknown);
        check("/v1/v1/models", Resource::Unknown);
        check("/v1/../v1/chat/completions", Resource::Unknown);
        check("/v1/chat%2Fcompletions", Resource::Unknown);
        check("/metrics", Resource::Metrics);
        check("/metrics/", Resource::Unknown);
        check("/v1/metrics", Resource::Unknown);
        check("/health/x", Resource::Unknown);
        check("/healthz/", Resource::Unknown);
        check("/v1/health", Resource::Unknown);
        check("/", Resource::Unknown);
        check("", Resource::Unknown);
    }
}
