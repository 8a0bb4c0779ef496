pub(super) const REDACTED: &str = "__OPENCLAW_REDACTED__";
