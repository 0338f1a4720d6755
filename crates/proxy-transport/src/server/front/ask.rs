//! Asking a client of the session era: a request on one of its streams, answered by a POST of its own.

use std::sync::Arc;

use mcp_proxy_core::json::Params;
use mcp_proxy_core::{Asked, Error, ErrorKind, Method};

use super::outbox::Outbox;
use super::session::Entry;

/// Asks on the stream of the call that caused the question.
pub(super) fn on_stream(_: &Arc<Entry>, _: &Outbox, method: Method, _: Params) -> Asked {
    let message = format!("the client cannot be asked for `{method}`: the proxy does not relay questions");
    Box::pin(std::future::ready(Err(Error::new(ErrorKind::Refused, message))))
}
