//! What the HTTP status of a model server means for a run.

use crate::error::ErrorCode;

/// The class of failure a model server's status stands for (`http-facts` §4.3).
pub(super) const fn code(status: u16) -> ErrorCode {
    match status {
        401 => ErrorCode::UpstreamAuth,
        402 => ErrorCode::UpstreamBilling,
        403 => ErrorCode::UpstreamPermission,
        404 => ErrorCode::UpstreamModel,
        408 | 504 => ErrorCode::UpstreamTimeout,
        413 => ErrorCode::ContextOverflow,
        429 => ErrorCode::UpstreamRateLimit,
        503 | 529 => ErrorCode::UpstreamOverloaded,
        400 | 405..=407 | 410..=412 | 414..=428 | 430..=499 => ErrorCode::UpstreamRequest,
        _ => ErrorCode::UpstreamFailed,
    }
}

/// Whether the same call may succeed a moment later.
pub(super) const fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 409 | 429 | 500..=599)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_one_meaning() {
        for (status, expected) in [
            (200, ErrorCode::UpstreamFailed),
            (302, ErrorCode::UpstreamFailed),
            (400, ErrorCode::UpstreamRequest),
            (401, ErrorCode::UpstreamAuth),
            (402, ErrorCode::UpstreamBilling),
            (403, ErrorCode::UpstreamPermission),
            (404, ErrorCode::UpstreamModel),
            (408, ErrorCode::UpstreamTimeout),
            (409, ErrorCode::UpstreamFailed),
            (413, ErrorCode::ContextOverflow),
            (422, ErrorCode::UpstreamRequest),
            (429, ErrorCode::UpstreamRateLimit),
            (500, ErrorCode::UpstreamFailed),
            (502, ErrorCode::UpstreamFailed),
            (503, ErrorCode::UpstreamOverloaded),
            (504, ErrorCode::UpstreamTimeout),
            (529, ErrorCode::UpstreamOverloaded),
        ] {
            assert_eq!(code(status), expected, "{status}");
        }
    }

    #[test]
    fn what_passes_is_repeated() {
        let passing: Vec<u16> = [400, 401, 404, 408, 409, 413, 429, 500, 502, 503, 529]
            .into_iter()
            .filter(|status| is_passing(*status))
            .collect();
        assert_eq!(passing, [408, 409, 429, 500, 502, 503, 529]);
    }
}
