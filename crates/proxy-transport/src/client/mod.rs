//! Towards backends: one [`Connector`] per configured backend opens [`Peer`]s; the `Backend` around
//! them connects in the background, keeps the listing, and is the service that calls end in.
//!
//! ```text
//!   Call ──► Backend (manager: connect, back off, list, refresh)
//!                │ asks its Connector for a Peer
//!                ├── http::HttpConnector    pool · sessions · event streams
//!                ├── stdio::StdioConnector  child process ─┐
//!                ├── websocket::WebSocketConnector         │
//!                ├── sse::SseConnector  HTTP+SSE           ├─ duplex::DuplexPeer: ids, pending calls, framing
//!                └── builtin (any duplex)                 ─┘
//! ```

pub mod backend;
pub mod duplex;
pub mod http;
pub mod options;
mod questions;
pub(crate) mod sessionless;
pub mod sse;
pub mod stdio;
#[cfg(feature = "websocket")]
pub mod websocket;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use mcp_proxy_core::catalogue::Kind;
use mcp_proxy_core::json::{Notification, RawJson};
use mcp_proxy_core::{Call, CallFuture, Downstream, Error, ProtocolVersion, SessionKey};
use tokio::sync::mpsc;

/// A boxed future of this module's traits; none of them is on the path of a call.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens connections to one backend.
pub trait Connector: Send + Sync + 'static {
    /// Reaches the backend, finds out which era it speaks, and completes the handshake where there is one. What it says
    /// outside calls goes to `downstream`. The caller sets the deadline by dropping the future; dropping it leaves
    /// nothing behind, least of all a child process.
    ///
    /// # Errors
    /// Whatever kept the backend from answering the handshake, with its class.
    fn connect(&self, downstream: Arc<dyn Downstream>) -> BoxFuture<'_, Result<Connected, Error>>;
}

/// A backend that answered the handshake.
pub struct Connected {
    /// Makes calls.
    pub peer: Arc<dyn Peer>,
    /// What it said of itself.
    pub hello: Hello,
    /// What it tells us without being asked. Bounded; events that repeat are merged by the sender. It ends when the
    /// connection is no more.
    pub events: mpsc::Receiver<PeerEvent>,
}

/// What a backend said of itself in the handshake.
#[derive(Clone, Debug)]
pub struct Hello {
    /// The revision both sides speak; it also says which era.
    pub version: ProtocolVersion,
    /// Its `capabilities`.
    pub capabilities: RawJson,
    /// Its `serverInfo`.
    pub server_info: Option<RawJson>,
    /// Its `instructions`.
    pub instructions: Option<Box<str>>,
}

/// A live connection to a backend. Calls run concurrently; none waits for another.
pub trait Peer: Send + Sync {
    /// Makes a call: maps its id and progress token, sends it on the upstream session that belongs to the caller, hands
    /// interim messages to `call.client`, and gives the reply. Dropping the future cancels the call on the wire
    /// (`notifications/cancelled`) and forgets it; a late answer is dropped.
    fn call(&self, call: Call) -> CallFuture;

    /// Passes on a notification of a client, on the upstream session or process that is that client's own. Where it has
    /// none, or none yet, there is nothing to tell and this does nothing.
    ///
    /// # Errors
    /// When it could not be written.
    fn notify(&self, client: SessionKey, notification: Notification) -> BoxFuture<'_, Result<(), Error>>;

    /// Sets the resources, by the backend's own URIs, of whose updates the proxy wants to hear, in place of those set
    /// before. Updates go to the [`Downstream`]. Sessions and streams that are opened anew ask for them again by
    /// themselves; a new peer is told by the manager.
    ///
    /// # Errors
    /// When the backend could not be told; what it refuses one by one is logged.
    fn watch(&self, uris: Arc<[Box<str>]>) -> BoxFuture<'_, Result<(), Error>>;

    /// The same for tasks, by the backend's own ids (2026-07-28, an extension). Backends with sessions tell of tasks
    /// unasked.
    ///
    /// # Errors
    /// As [`watch`](Self::watch).
    fn watch_tasks(&self, _: Arc<[Box<str>]>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    /// Whether calls still have a chance. False for a child that has exited.
    fn is_open(&self) -> bool;

    /// A downstream session has ended: whatever belongs to it upstream ends too (an HTTP session is deleted, a process
    /// of its own stopped). Returns at once.
    fn session_closed(&self, session: SessionKey);

    /// Ends the connection politely: sessions deleted, child stopped and reaped. Bounded in time by itself (about five
    /// seconds).
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// What a backend tells us without being asked.
#[derive(Clone, Debug)]
pub enum PeerEvent {
    /// One of its lists changed.
    ListChanged(Kind),
    /// The connection is gone, or seems to be: connect again. The receiver ends after it.
    Closed(Error),
}
