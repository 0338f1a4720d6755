//! The proxy as an axum router, for a program that has a server of its own.

use std::convert::Infallible;
use std::sync::Arc;

use mcp_proxy_transport::server::front::Front;

use super::proxy::{Proxy, Running};

/// The sessions of a proxy that serves inside another server.
///
/// The proxy runs as long as its router or a handle lives.
#[derive(Clone)]
pub struct SessionHandle {
    running: Arc<Running>,
}

impl SessionHandle {
    /// How many clients have a session.
    pub fn count(&self) -> usize {
        self.running.front.session_count()
    }

    /// The sessions of this moment, in no order.
    pub fn sessions(&self) -> Vec<Arc<mcp_proxy_core::Session>> {
        self.running.front.sessions()
    }

    /// Ends a session; false when there is none of that key.
    pub fn terminate(&self, key: mcp_proxy_core::SessionKey) -> bool {
        self.running.front.terminate(key)
    }
}

impl std::fmt::Debug for SessionHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionHandle").field("count", &self.count()).finish()
    }
}

impl Proxy {
    /// The proxy as a router for `axum::serve` or for nesting in an application, with a handle to its sessions.
    ///
    /// The router answers the configured path, `/`, `/livez`, `/readyz` and `/health`; the listener of the configuration
    /// is not used. The proxy stops when router and handle are dropped.
    pub fn into_router(self) -> (axum::Router, SessionHandle) {
        let running = Arc::new(self.running);
        let handle = SessionHandle {
            running: running.clone(),
        };
        let serve = tower::service_fn(move |request: axum::extract::Request| {
            let running = running.clone();
            async move {
                let front: &Front = &running.front;
                Ok::<_, Infallible>(front.handle(request).await)
            }
        });
        (axum::Router::new().fallback_service(serve), handle)
    }
}
