//! JSON-RPC error codes: those of the specifications, and those that only this proxy sends.
//!
//! Ours lie outside -32768…-32000, the range that JSON-RPC and MCP reserve for themselves. Every error of ours carries
//! `data.reason`, and `data.backend` or `data.retry_after_ms` where they apply.

/// The text is no JSON.
pub const PARSE_ERROR: i64 = -32700;
/// The JSON is no request.
pub const INVALID_REQUEST: i64 = -32600;
/// Nobody here knows the method.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// The parameters do not fit; also an unknown tool or prompt, and a bad cursor.
pub const INVALID_PARAMS: i64 = -32602;
/// A backend failed inside.
pub const INTERNAL_ERROR: i64 = -32603;
/// No such resource (until 2025-11-25).
pub const RESOURCE_NOT_FOUND: i64 = -32002;
/// A header does not say what the body says (2026-07-28).
pub const HEADER_MISMATCH: i64 = -32020;
/// The call needs something that its client did not declare (2026-07-28); `data.requiredCapabilities`.
pub const MISSING_CLIENT_CAPABILITY: i64 = -32021;
/// The revision is not served here (2026-07-28); `data.supported`, `data.requested`.
pub const UNSUPPORTED_PROTOCOL_VERSION: i64 = -32022;
/// The user has to visit URLs first (2025-11-25); `data.elicitations`.
pub const URL_ELICITATION_REQUIRED: i64 = -32042;
/// No such session, as some servers say it in a JSON-RPC body.
pub const SESSION_NOT_FOUND: i64 = -32005;

/// Ours: the backend cannot be reached; nothing was run. `data.reason`: `backend_unavailable`.
pub const BACKEND_UNAVAILABLE: i64 = -31001;
/// Ours: the backend failed or vanished during the call; it may have run. `data.reason`: `backend_failed`.
pub const BACKEND_FAILED: i64 = -31002;
/// Ours: no answer within the time the configuration allows. `data.reason`: `timeout`.
pub const TIMEOUT: i64 = -31003;
/// Ours: a limit of this proxy was reached. `data.reason`: `overloaded`.
pub const OVERLOADED: i64 = -31004;
/// Ours: the call was cancelled. `data.reason`: `cancelled`.
pub const CANCELLED: i64 = -31005;
/// Ours: the backend asks for more patience. `data.reason`: `backend_busy`, with `data.retry_after_ms`.
pub const BACKEND_BUSY: i64 = -31006;

#[cfg(test)]
mod tests {
    /// Whoever meets a code looks it up there.
    #[test]
    fn every_code_is_explained_in_the_page_on_errors() {
        let page = include_str!("../../../docs/errors.md");
        let codes: Vec<&str> = include_str!("codes.rs")
            .lines()
            .filter_map(|line| line.strip_prefix("pub const ")?.split_once(": i64 = "))
            .map(|(_, code)| code.trim_end_matches(';'))
            .collect();
        assert!(codes.len() > 10, "{codes:?}");
        for code in codes {
            assert!(
                page.contains(&format!("`{code}`")),
                "docs/errors.md says nothing of {code}"
            );
        }
    }
}
