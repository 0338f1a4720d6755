//! What every backend of the sessionless era (MCP 2026-07-28) has in common, over whatever it is reached.
//!
//! ```text
//!   discover   which era a backend speaks, and what it says of itself
//!   memory     how long that is believed
//!   meta       what a call says of its client, in `_meta`
//!   rounds     one call, in as many rounds as its backend has questions for a client with a session
//!   result     what a result of this era looks like to such a client
//!   listen     what a backend is asked to announce, and what it announces
//! ```
//!
//! Nothing here sends: a transport hands in how one request is made, and has ids, headers and cancelling to itself.

pub(crate) mod discover;
pub(crate) mod listen;
pub(crate) mod memory;
pub(crate) mod meta;
pub(crate) mod result;
pub(crate) mod rounds;

use mcp_proxy_core::ProtocolVersion;

use super::Hello;

/// How one backend of this era is spoken to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// The revision agreed on.
    pub(crate) version: ProtocolVersion,
    /// Whether it logs at all.
    pub(crate) logs: bool,
}

impl Manner {
    /// After what the backend said of itself.
    pub(crate) fn of(hello: &Hello) -> Self {
        Self {
            version: hello.version,
            logs: hello
                .capabilities
                .get("logging")
                .is_some_and(|logging| logging.is_object()),
        }
    }
}
