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
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/models`.
    Models,
    /// `/v1/models/{id}`, the id as it stands in the path.
    Model(&'a str),
    /// Anything else.
    Unknown,
}

/// Finds the resource of a path. Some clients leave out `/v1` or end with a slash, so both are
/// taken.
pub(super) fn resource(path: &str) -> Resource<'_> {
    match path {
        "/health" | "/healthz" => Resource::Health,
        "/ready" | "/readyz" => Resource::Ready,
        "/startup" | "/startupz" => Resource::Startup,
        _ => api(path.strip_prefix("/v1").unwrap_or(path)),
    }
}

fn api(path: &str) -> Resource<'_> {
    match path {
        "/chat/completions" | "/chat/completions/" => Resource::Chat,
        "/models" => Resource::Models,
        _ => path
            .strip_prefix("/models/")
            .map_or(Resource::Unknown, Resource::Model),
    }
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
        check("/v1/models/", Resource::Model(""));
        check("/v1/chat/completions//", Resource::Unknown);
        check("/v1/Chat/Completions", Resource::Unknown);
        check("//v1/chat/completions", Resource::Unknown);
        check("/v1/v1/models", Resource::Unknown);
        check("/v1/../v1/chat/completions", Resource::Unknown);
        check("/v1/chat%2Fcompletions", Resource::Unknown);
        check("/health/x", Resource::Unknown);
        check("/healthz/", Resource::Unknown);
        check("/v1/health", Resource::Unknown);
        check("/", Resource::Unknown);
        check("", Resource::Unknown);
    }
}
