//! The demo server inside the proxy: `transport = "builtin"`.
//!
//! ```toml
//! [[backends]]
//! name = "demo"
//! transport = "builtin"
//! ```
//!
//! It lets a new installation be tried without any other program, and shows each kind of thing a backend can offer:
//! tools (one slow, with progress), a resource, a template, a prompt with completed arguments. It is a `tower-mcp` router,
//! spoken to over an in-memory pipe by the same peer that speaks to child processes, so nothing on the way of a call knows
//! that it is special. This folder is the only place that uses `tower-mcp`.

mod router;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use mcp_proxy_core::{Downstream, Error};
use mcp_proxy_transport::client::duplex::{Behalf, DuplexOptions, DuplexPeer};
use mcp_proxy_transport::client::{BoxFuture, Connected, Connector};
use tokio_util::task::TaskTracker;
use tower_mcp::StdioTransport;

/// Connects to the demo server. Each connection is a server of its own.
pub struct BuiltinConnector {
    /// Kept for their counter: request ids never repeat, not even over several connections.
    options: DuplexOptions,
    /// Owns the servers. Each ends when its pipe does.
    servers: TaskTracker,
}

impl BuiltinConnector {
    /// The demo server as the backend `name`.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            options: DuplexOptions::new(name),
            servers: TaskTracker::new(),
        }
    }

    async fn open(&self, downstream: Arc<dyn Downstream>) -> Result<Connected, Error> {
        let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
        let (reader, writer) = tokio::io::split(theirs);
        let limit = self.options.max_message_bytes;
        let name = self.options.name.clone();
        self.servers.spawn(async move {
            let mut server = StdioTransport::new(router::router())
                .max_concurrent_requests(CONCURRENT_CALLS)
                .max_frame_len(limit)
                .drain_timeout(DRAIN_TIMEOUT);
            if let Err(error) = server.run_with_streams(reader, writer).await {
                tracing::debug!(backend = %name, %error, "the builtin server ended with an error");
            }
        });
        let (reader, writer) = tokio::io::split(ours);
        DuplexPeer::connect(reader, writer, self.options.clone(), Behalf::everybody(downstream)).await
    }
}

impl Connector for BuiltinConnector {
    fn connect(&self, downstream: Arc<dyn Downstream>) -> BoxFuture<'_, Result<Connected, Error>> {
        Box::pin(self.open(downstream))
    }
}

/// What the pipe holds in each direction.
const PIPE_BYTES: usize = 64 * 1024;

/// Calls the server runs at the same time; others wait.
const CONCURRENT_CALLS: usize = 256;

/// How long calls may go on once the connection is closed.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(100);
