//! What an outcome means: one module judges, and breaker, retry, hedge, failover, cache and metrics ask it.

use crate::catalogue::Item;
use crate::json::Slot;
use crate::{Call, Error, ErrorKind, Method, Reply, codes};

/// The class of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Any result, also a tool result with `isError: true`: the tool worked and said no.
    Ok,
    /// The backend is up and has decided against the call.
    ClientFault,
    /// The backend ran nothing and asks for patience.
    Pushback,
    /// Nothing reached the backend.
    NotSent,
    /// The backend may have run it; nobody knows.
    SentUnknown,
    /// The backend answered with something that is no answer.
    ServerFault,
    /// Nobody wanted the answer any more.
    Cancelled,
    /// A limit of our own.
    LocalShed,
}

impl Class {
    /// Judges an outcome.
    pub fn of(outcome: &Result<Reply, Error>) -> Self {
        match outcome {
            Ok(Reply::Result(_)) => Self::Ok,
            Ok(Reply::Error(error)) if error.code() == codes::INTERNAL_ERROR => Self::ServerFault,
            Ok(Reply::Error(_)) => Self::ClientFault,
            Err(error) => match error.kind() {
                ErrorKind::NotSent | ErrorKind::Timeout { sent: false } => Self::NotSent,
                ErrorKind::SentUnknown | ErrorKind::Timeout { sent: true } => Self::SentUnknown,
                ErrorKind::ServerFault => Self::ServerFault,
                ErrorKind::Refused => Self::ClientFault,
                ErrorKind::Pushback { .. } => Self::Pushback,
                ErrorKind::Cancelled => Self::Cancelled,
                ErrorKind::Overloaded => Self::LocalShed,
            },
        }
    }

    /// Whether it speaks against the backend's health.
    pub fn is_backend_failure(self) -> bool {
        matches!(self, Self::NotSent | Self::SentUnknown | Self::ServerFault)
    }

    /// The label in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientFault => "client_fault",
            Self::Pushback => "pushback",
            Self::NotSent => "not_sent",
            Self::SentUnknown => "sent_unknown",
            Self::ServerFault => "server_fault",
            Self::Cancelled => "cancelled",
            Self::LocalShed => "local_shed",
        }
    }
}

/// Whether running the call twice does no harm.
///
/// `tools/call` is safe only where the operator said so, which [`Item::is_repeatable`] carries: the specification calls
/// a server's own annotations untrusted. A call with answers of a user in it is never safe.
pub fn is_safe(call: &Call) -> bool {
    if call.params.text(Slot::InputResponses).is_some() || call.params.text(Slot::RequestState).is_some() {
        return false;
    }
    match call.method {
        Method::Ping
        | Method::Discover
        | Method::ToolsList
        | Method::ResourcesList
        | Method::ResourceTemplatesList
        | Method::PromptsList
        | Method::ResourcesRead
        | Method::PromptsGet
        | Method::Complete => true,
        Method::ToolsCall => call.item.as_deref().is_some_and(Item::is_repeatable),
        _ => false,
    }
}
