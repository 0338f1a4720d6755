//! [`ClientHandle`]: the way from anywhere below back to the very client that made a call.
//!
//! Interim messages (progress, log, questions of a backend) do not travel in the [`Reply`](crate::Reply). So retry,
//! hedge, cache and coalesce deal in single answers, and only the front decides how an interim message reaches the wire.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::json::{Notification, Params};
use crate::{Error, Method, Reply, SessionKey};

/// A message for the client while its call is running.
pub type Interim = Notification;

/// The future of a question to the client.
pub type Asked = Pin<Box<dyn Future<Output = Result<Reply, Error>> + Send>>;

/// What a front implements once per call.
pub trait ClientPort: Send + Sync {
    /// Hands an interim message over. Never blocks; false when it was dropped, because the client takes none, reads too
    /// slowly, or is gone.
    fn notify(&self, message: Interim) -> bool;

    /// Asks the client (sampling, elicitation, roots). The future ends with the client's answer: its result, or the
    /// JSON-RPC error that says that it never declared such a thing. It ends with an [`Error`] when the client is gone.
    /// Dropping it withdraws the question.
    fn ask(&self, method: Method, params: Params) -> Asked;
}

/// The way to clients outside any of their calls: what a backend says on a stream of its own.
///
/// A backend's connections hold one. What cannot be attributed is dropped or refused, never guessed.
pub trait Downstream: Send + Sync + 'static {
    /// A notification of the backend, in the backend's own names. `to` is the one client whose own upstream session or
    /// process it came from; `None` when it came on a connection that several share, and then only those who subscribed
    /// to what it is about hear of it. Never blocks; false when nobody took it.
    fn tell(&self, to: Option<SessionKey>, notification: Notification) -> bool;

    /// A question of the backend to the one client whose own upstream session or process it came from. As
    /// [`ClientPort::ask`] otherwise.
    fn ask(&self, client: SessionKey, method: Method, params: Params) -> Asked;
}

impl dyn Downstream {
    /// The way to nobody.
    pub fn nobody() -> Arc<Self> {
        Arc::new(Nobody)
    }
}

struct Nobody;

impl Downstream for Nobody {
    fn tell(&self, _: Option<SessionKey>, _: Notification) -> bool {
        false
    }

    fn ask(&self, _: SessionKey, _: Method, _: Params) -> Asked {
        let gone = Error::new(crate::ErrorKind::Cancelled, "there is no client to ask");
        Box::pin(std::future::ready(Err(gone)))
    }
}

/// A handle by which whatever is below can tell or ask the client that made this call.
///
/// Each attempt of a repeated call works with a [`child`](Self::child): closing it silences a lost attempt, so progress
/// never runs backwards.
#[derive(Clone, Default)]
pub struct ClientHandle {
    port: Option<Arc<dyn ClientPort>>,
    gate: Option<Arc<Gate>>,
}

/// The gates a child goes through: its own and its parent's.
struct Gate {
    open: AtomicBool,
    parent: Option<Arc<Gate>>,
}

impl Gate {
    fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire) && self.parent.as_ref().is_none_or(|parent| parent.is_open())
    }
}

impl ClientHandle {
    /// A handle to nobody: messages are dropped, questions refused. For calls the proxy makes on its own behalf.
    pub fn none() -> Self {
        Self::default()
    }

    /// A handle to the client behind `port`.
    pub fn new(port: Arc<dyn ClientPort>) -> Self {
        Self {
            port: Some(port),
            gate: None,
        }
    }

    /// A handle for one attempt, which can be [closed](Self::close) without closing this one.
    pub fn child(&self) -> Self {
        let gate = Gate {
            open: AtomicBool::new(true),
            parent: self.gate.clone(),
        };
        Self {
            port: self.port.clone(),
            gate: Some(Arc::new(gate)),
        }
    }

    /// Silences this handle and its children. A handle that is no child stays open: it is the call's own.
    pub fn close(&self) {
        if let Some(gate) = &self.gate {
            gate.open.store(false, Ordering::Release);
        }
    }

    /// Whether messages can still get through.
    pub fn is_open(&self) -> bool {
        self.port.is_some() && self.gate.as_ref().is_none_or(|gate| gate.is_open())
    }

    /// Sends an interim message; false when it was dropped.
    pub fn notify(&self, message: Interim) -> bool {
        match &self.port {
            Some(port) if self.is_open() => port.notify(message),
            _ => false,
        }
    }

    /// Asks the client; `None` when there is nobody to ask.
    pub fn ask(&self, method: Method, params: Params) -> Option<Asked> {
        match &self.port {
            Some(port) if self.is_open() => Some(port.ask(method, params)),
            _ => None,
        }
    }
}

impl fmt::Debug for ClientHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientHandle").field("open", &self.is_open()).finish()
    }
}
