//! [`Questions`]: what backends ask of a sessionless client during one of its calls.
//!
//! Such a client takes no requests. The response to its own ends with `input_required`, and its next request brings the
//! answers (MCP 2026-07-28, "Multi Round-Trip Requests").

use mcp_proxy_core::json::{Params, RawJson};
use mcp_proxy_core::{Asked, Error, ErrorKind, Method};

use super::sessionless::Subject;

/// The open questions of one call.
pub(super) struct Questions {
    /// What the call is about.
    pub(super) subject: Subject,
}

impl Questions {
    /// Of a call in which nothing has been asked.
    pub(super) fn new(subject: Subject) -> Self {
        Self { subject }
    }

    /// Adds a question.
    pub(super) fn ask(&self, method: Method, _: Params) -> Asked {
        let message = format!("the client cannot be asked for `{method}`: the proxy does not relay questions");
        Box::pin(std::future::ready(Err(Error::new(ErrorKind::Refused, message))))
    }

    /// Notes that something was asked that this request did not declare.
    pub(super) fn lacking(&self, _: RawJson) {}
}
