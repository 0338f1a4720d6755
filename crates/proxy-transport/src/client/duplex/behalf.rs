//! [`Behalf`]: for whom a connection is, which says what is declared on it and who may be asked.

use std::sync::Arc;

use mcp_proxy_core::json::RawJson;
use mcp_proxy_core::{Declared, Downstream, SessionKey};

/// For whom a connection to a backend is opened.
#[derive(Clone)]
pub struct Behalf {
    /// The client whose own it is; `None` where several share it.
    pub(super) owner: Option<SessionKey>,
    /// What is declared to the backend.
    pub(super) capabilities: RawJson,
    /// Takes what belongs to no running call.
    pub(super) downstream: Arc<dyn Downstream>,
}

impl Behalf {
    /// For all clients. Everything is declared that can be relayed; what a client did not declare it is never asked.
    pub fn everybody(downstream: Arc<dyn Downstream>) -> Self {
        Self {
            owner: None,
            capabilities: Declared::everything().upward(),
            downstream,
        }
    }

    /// For one client alone, with what it declared.
    pub fn client(client: SessionKey, declared: &Declared, downstream: Arc<dyn Downstream>) -> Self {
        Self {
            owner: Some(client),
            capabilities: declared.upward(),
            downstream,
        }
    }

    /// For all callers without a session that declare the same.
    pub fn alike(declared: &Declared, downstream: Arc<dyn Downstream>) -> Self {
        Self {
            owner: None,
            capabilities: declared.upward(),
            downstream,
        }
    }
}
