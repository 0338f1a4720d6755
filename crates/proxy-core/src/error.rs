//! [`Error`]: what the proxy could not do, and what may be done about it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{RpcError, codes};

/// A call that got no answer from a backend.
///
/// It answers the questions layers ask ([`kind`](Self::kind), [`fault`](Self::fault), [`retry`](Self::retry)); the
/// source, with addresses and system errors, is for logs only. Clients see [`to_rpc`](Self::to_rpc).
#[derive(Debug, Clone)]
pub struct Error(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    backend: Option<Arc<str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// `data` of an error that the client is told.
#[derive(serde::Serialize)]
struct Data<'a> {
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Nothing left this process: connect refused or timed out, TLS failure, write failed before the first byte.
    NotSent,
    /// Bytes left, no whole answer came: reset, end of stream, time-out, child died.
    SentUnknown,
    /// The backend answered with something that is no answer: HTTP 5xx, malformed JSON-RPC, a foreign id, a redirect.
    ServerFault,
    /// The backend refused by HTTP status (4xx): it is up and has decided.
    Refused,
    /// The backend said that it ran nothing and when to come back (HTTP 429, or 503 with `Retry-After`).
    Pushback {
        /// How long it asked us to wait.
        retry_after: Option<Duration>,
    },
    /// Time was up. `sent` says whether the backend may have begun.
    Timeout {
        /// Whether any byte had left.
        sent: bool,
    },
    /// Nobody wants the answer any more.
    Cancelled,
    /// A limit of our own.
    Overloaded,
}

/// Whose doing it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client's.
    Client,
    /// This proxy's.
    Proxy,
    /// The backend's.
    Backend,
}

/// Whether the call may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// No.
    Never,
    /// Only when running it twice does no harm.
    IfSafe,
    /// Yes: nothing was run.
    Always,
}

impl Error {
    /// An error of `kind`. `message` is one sentence fragment that a client may read: no addresses, no secrets.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            backend: None,
            source: None,
        }))
    }

    /// Names the backend, unless it has been named.
    #[must_use]
    pub fn backend(self, name: impl Into<Arc<str>>) -> Self {
        if self.0.backend.is_some() {
            return self;
        }
        self.map(|inner| inner.backend = Some(name.into()))
    }

    /// Attaches the cause, for logs.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.map(|inner| inner.source = Some(source.into()))
    }

    /// What happened.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The backend it happened with.
    pub fn backend_name(&self) -> Option<&str> {
        self.0.backend.as_deref()
    }

    /// Whose doing it was.
    pub fn fault(&self) -> Fault {
        match self.kind() {
            ErrorKind::Cancelled => Fault::Client,
            ErrorKind::Overloaded => Fault::Proxy,
            _ => Fault::Backend,
        }
    }

    /// Whether the call may be made again.
    pub fn retry(&self) -> Retry {
        match self.kind() {
            ErrorKind::NotSent | ErrorKind::Pushback { .. } | ErrorKind::Timeout { sent: false } => Retry::Always,
            ErrorKind::SentUnknown | ErrorKind::ServerFault | ErrorKind::Timeout { sent: true } => Retry::IfSafe,
            ErrorKind::Refused | ErrorKind::Cancelled | ErrorKind::Overloaded => Retry::Never,
        }
    }

    /// Whether time was up.
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind(), ErrorKind::Timeout { .. })
    }

    /// What the client is told: a code, one sentence, a reason for programs.
    pub fn to_rpc(&self) -> RpcError {
        let (code, reason) = match self.kind() {
            ErrorKind::NotSent => (codes::BACKEND_UNAVAILABLE, "backend_unavailable"),
            ErrorKind::SentUnknown | ErrorKind::ServerFault | ErrorKind::Refused => {
                (codes::BACKEND_FAILED, "backend_failed")
            }
            ErrorKind::Pushback { .. } => (codes::BACKEND_BUSY, "backend_busy"),
            ErrorKind::Timeout { .. } => (codes::TIMEOUT, "timeout"),
            ErrorKind::Cancelled => (codes::CANCELLED, "cancelled"),
            ErrorKind::Overloaded => (codes::OVERLOADED, "overloaded"),
        };
        let retry_after_ms = match self.kind() {
            ErrorKind::Pushback { retry_after } => {
                retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX))
            }
            _ => None,
        };
        let data = Data {
            reason,
            backend: self.backend_name(),
            retry_after_ms,
        };
        RpcError::with_data(code, &self.0.message, &data)
    }

    /// Changes a fresh error, which nobody else holds yet; a shared one is left as it is.
    fn map(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            change(inner);
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
