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
pub mod sse;
pub mod stdio;
#[cfg(feature = "websocket")]
pub mod websocket;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use mcp_proxy_core::catalogue::Kind;
use mcp_proxy_core::json::{Notification, RawJson};
use mcp_proxy_core::{Call, CallFuture, Error, ProtocolVersion, SessionKey};
use tokio::sync::mpsc;

/// A boxed future of this module's traits; none of them is on the path of a call.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens connections to one backend.
pub trait Connector: Send + Sync + 'static {
    /// Reaches the backend and completes the handshake (`initialize`, `notifications/initialized`). The caller sets the
    /// deadline by dropping the future; dropping it leaves nothing behind, least of all a child process.
    ///
    /// # Errors
    /// Whatever kept the backend from answering the handshake, with its class.
    fn connect(&self) -> BoxFuture<'_, Result<Connected, Error>>;
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
    /// The revision both sides speak.
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

    /// Sends a notification to the backend on the connection (or the catalogue's session).
    ///
    /// # Errors
    /// When it could not be written.
    fn notify(&self, notification: Notification) -> BoxFuture<'_, Result<(), Error>>;

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
