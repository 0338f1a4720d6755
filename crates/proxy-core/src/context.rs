//! [`Context`]: what every call carries from the edge to the backend.

use std::sync::{Arc, LazyLock};

use tokio::time::Instant;

use crate::{Declared, LogLevel, ProtocolVersion, Session};

/// Who calls, under which session and revision, until when, and which way the call has come.
///
/// Layers that make further calls (failover, mirror, composite tools) pass it on unchanged but for the part that is
/// theirs. Cancelling a call is dropping its future, as everywhere in tower, so no token travels here.
#[derive(Clone, Debug)]
pub struct Context {
    /// Who calls.
    pub principal: Arc<Principal>,
    /// The client's session; `None` for calls that belong to none, as all of the sessionless era.
    pub session: Option<Arc<Session>>,
    /// The protocol revision the client speaks.
    pub version: ProtocolVersion,
    /// What the client can do, as far as this call may use it.
    pub declared: Arc<Declared>,
    /// The least log level the client wants to read: its session's, or this request's own. `None`: it never said.
    pub log_level: Option<LogLevel>,
    /// When the client's answer is due at the latest; `None` when the configuration sets no total.
    pub deadline: Option<Instant>,
    /// W3C trace context to continue, if the client sent one.
    pub trace: Option<Arc<Trace>>,
    /// Which attempt of the call this is, from 1.
    pub attempt: u32,
    /// The backends this call has been sent to so far, by name, in order.
    pub route: Vec<Arc<str>>,
}

impl Default for Context {
    fn default() -> Self {
        Self {
            principal: Principal::anonymous(),
            session: None,
            version: ProtocolVersion::default(),
            declared: Declared::nothing(),
            log_level: None,
            deadline: None,
            trace: None,
            attempt: 1,
            route: Vec::new(),
        }
    }
}

/// Who a credential speaks for. Without authentication everybody is the anonymous principal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Principal {
    /// A stable name: for anonymous callers `anonymous`.
    pub subject: Arc<str>,
}

impl Principal {
    /// The principal of a proxy that runs open.
    pub fn anonymous() -> Arc<Self> {
        static ANONYMOUS: LazyLock<Arc<Principal>> = LazyLock::new(|| {
            Arc::new(Principal {
                subject: "anonymous".into(),
            })
        });
        ANONYMOUS.clone()
    }
}

/// W3C trace context (`traceparent`, `tracestate`) as the client sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// `traceparent`.
    pub parent: Box<str>,
    /// `tracestate`.
    pub state: Option<Box<str>>,
}
