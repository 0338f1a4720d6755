//! Towards clients: the [`App`] answers calls, the front speaks the protocol.
//!
//! ```text
//!   socket ─► listen (TCP, TLS, unix; head; drain) ─► front::Front (routes, Host and Origin, body limit)
//!                                                       ├─ POST    era ─► Call ─► App::service ─► JSON or event stream
//!                                                       ├─ GET     the session's own stream
//!                                                       └─ DELETE  ends the session
//! ```

pub mod front;
pub mod listen;
pub mod options;

use std::sync::Arc;

use mcp_proxy_core::catalogue::Item;
use mcp_proxy_core::json::{Notification, RawJson};
use mcp_proxy_core::{ProtocolVersion, Session, SessionKey, SharedService};

/// What the front serves. Implemented by the facade; asked anew for each call, so that a reload takes effect at once.
pub trait App: Send + Sync + 'static {
    /// The stack that answers calls. The method is any but `initialize`, `ping` and notifications, which the front
    /// answers itself.
    fn service(&self) -> SharedService;

    /// What the proxy says of itself to a client of this revision.
    fn welcome(&self, version: ProtocolVersion) -> Welcome;

    /// The definition of a public tool, for the headers that must agree with its arguments (2026-07-28).
    fn tool(&self, name: &str) -> Option<Arc<Item>>;

    /// A session was opened. A stream of `subscriptions/listen` counts as one: its key is what subscriptions are kept
    /// under, and it ends with the stream.
    fn session_opened(&self, session: &Arc<Session>);

    /// A session has ended: by the client, by idleness, by the bound on sessions, at shutdown.
    fn session_closed(&self, session: SessionKey);

    /// A client sent a notification that is not about one of its calls (those the front handles). Returns at once.
    fn notified(&self, session: &Arc<Session>, notification: Notification);

    /// What is missing until the proxy is ready; empty when it is.
    fn missing(&self) -> Vec<String>;
}

/// What the proxy says of itself in an `initialize` result.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// `capabilities`.
    pub capabilities: RawJson,
    /// `serverInfo`.
    pub server_info: RawJson,
    /// `instructions`.
    pub instructions: Option<Arc<str>>,
}
