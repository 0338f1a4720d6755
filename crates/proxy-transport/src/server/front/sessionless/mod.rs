//! The sessionless era (MCP 2026-07-28) on the same endpoint: each request is complete in itself.
//!
//! ```text
//!   claims ─► envelope (headers and `_meta` agree) ─┬─ server/discover        discover
//!                                                   ├─ subscriptions/listen   listen
//!                                                   └─ the rest ─► running (the call) ─► dress (the answer)
//!                                                       rounds ◄──────┘ asked something: suspended, until a retry
//! ```
//!
//! Which era a request speaks is decided anew for each. What differs from the session era is here; calls run in the same
//! [`Running`], which knows this era by its [`Audience`](super::state::Audience).

mod discover;
mod dress;
mod envelope;
mod listen;
mod rounds;
mod seal;
mod suspended;

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};
use mcp_proxy_core::json::{Message, Params, RawJson, Request, RequestId, ScanError, Slot};
use mcp_proxy_core::{Context, Declared, Method, ProtocolVersion, RpcError, TASKS_EXTENSION, codes};

use super::Inner;
use super::answer::Answer;
use super::body::FrontBody;
use super::guard::Accept;
use super::job::Job;
use super::post::{answered, finish, unreadable};
use super::respond::{PROTOCOL_VERSION, Refusal, SESSION_ID, empty, events, json, method_not_allowed};
use super::running::Running;
use super::state::Ways;

pub(super) use discover::About;
pub(super) use dress::{Subject, finished};
use envelope::Envelope;
pub(super) use listen::{Listeners, Stream};
use rounds::Retry;
pub(super) use rounds::{lacking, suspend};
pub(super) use suspended::{Suspended, Suspensions};

/// Members of `_meta` that each request carries, and what results carry.
mod keys {
    pub(super) const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    pub(super) const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    pub(super) const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
    pub(super) const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
    pub(super) const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
    pub(super) const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
}

/// Why a request is not served: a status, and a JSON-RPC error that may carry data.
struct Refused {
    status: StatusCode,
    error: RpcError,
}

impl Refused {
    fn new(status: StatusCode, error: RpcError) -> Self {
        Self { status, error }
    }

    /// One that leaves the client at fault.
    fn bad(code: i64, message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, RpcError::new(code, message))
    }
}

/// Whether a message is of this era. The headers tell first; the body is looked at only where they do not.
pub(super) fn claims(headers: &HeaderMap, message: &Result<Message, ScanError>) -> bool {
    is_named(headers) || speaks(message, headers.contains_key(SESSION_ID))
}

/// Whether a message is of this era by itself.
pub(super) fn speaks(message: &Result<Message, ScanError>, in_session: bool) -> bool {
    let params = match message {
        Ok(Message::Request(request)) => &request.params,
        Ok(Message::Notification(notification)) => &notification.params,
        Ok(Message::Response(_)) | Err(_) => return false,
    };
    let Some(meta) = params.text(Slot::Meta) else {
        return false;
    };
    if memchr::memmem::find(meta, keys::VERSION.as_bytes()).is_none() {
        return false;
    }
    let Some(version) = params.meta(keys::VERSION) else {
        return false;
    };
    // Whoever names an old revision this way may still be the client of a session.
    let named = version
        .string()
        .is_some_and(|version| is_sessionless(version.as_bytes()));
    named || !in_session
}

/// Whether the version header names a revision of this era, known or not.
pub(super) fn is_named(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(PROTOCOL_VERSION).iter();
    values.any(|value| is_sessionless(value.as_bytes().trim_ascii()))
}

/// Revisions are dates, so later ones sort later.
fn is_sessionless(version: &[u8]) -> bool {
    let is_date = version.len() == 10
        && version.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    is_date && version >= ProtocolVersion::V2026_07_28.as_str().as_bytes()
}

/// GET and DELETE do not exist without a session.
pub(super) fn only_post() -> Response<FrontBody> {
    method_not_allowed("POST", "without a session there is only POST")
}

/// Serves a message of this era.
pub(super) async fn post(
    front: &Arc<Inner>,
    headers: HeaderMap,
    message: Result<Message, ScanError>,
    accept: Accept,
) -> Response<FrontBody> {
    let request = match message {
        Ok(Message::Request(request)) => request,
        // The era has none that a client could send by HTTP: closing the stream cancels. Those of the other era are
        // taken and ignored.
        Ok(Message::Notification(_)) => return empty(StatusCode::ACCEPTED),
        Ok(Message::Response(_)) => {
            let message = "clients send no responses in this revision";
            return Refusal::new(StatusCode::BAD_REQUEST, codes::INVALID_REQUEST, message).response(None);
        }
        Err(error) => return unreadable(&error).response(error.id()),
    };
    let begun = begin(front, Some(&headers), request, accept.stream).await;
    drop(headers);
    match begun {
        Begun::Now(answer) if answer.status != StatusCode::OK => json(answer),
        Begun::Now(answer) => answered(answer, accept),
        Begun::Later(running) => finish(front, Job::One(running), accept).await,
        Begun::Listens(stream) => events(FrontBody::subscribed(stream)),
    }
}

/// What becomes of a request.
pub(super) enum Begun {
    /// It is answered at once.
    Now(Answer),
    /// It runs.
    Later(Running),
    /// It listens.
    Listens(Stream),
}

/// Accepts a request. `headers` are those that repeat it; where messages come by themselves there are none. `interim` says
/// whether the client takes messages before the answer.
pub(super) async fn begin(front: &Arc<Inner>, headers: Option<&HeaderMap>, request: Request, interim: bool) -> Begun {
    let checked = Envelope::check(headers, &request, &*front.app)
        .and_then(|envelope| offered(&request.method, &envelope.declared).map(|()| envelope));
    let envelope = match checked {
        Ok(envelope) => envelope,
        Err(refused) => {
            return Begun::Now(Answer::error(Some(&request.id), &refused.error).with_status(refused.status));
        }
    };
    if request.method == Method::Discover {
        return Begun::Now(discover::answer(front, &request.id));
    }
    if front.is_draining() {
        return Begun::Now(shutting_down(&request.id));
    }
    if request.method == Method::SubscriptionsListen {
        let listens = listen::listen(front, request, envelope, interim).await;
        return listens.map_or_else(Begun::Now, Begun::Listens);
    }
    let context = envelope.context();
    let request = match rounds::resume(front, request, &context, interim) {
        Retry::Fresh(request) => request,
        Retry::Resumed(running) => return Begun::Later(running),
        Retry::Refused(id, error) => return Begun::Now(dress::refused(&id, &error)),
    };
    let ways = if interim { Ways::Poller } else { Ways::Closed };
    match Running::start(front, None, request, ways, context) {
        Ok(running) => Begun::Later(running),
        // Calls outside sessions are not bounded and may share an id, so it can only be the end.
        Err((_, id)) => Begun::Now(shutting_down(&id)),
    }
}

fn shutting_down(id: &RequestId) -> Answer {
    let message = "the proxy is shutting down";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, codes::OVERLOADED, message).answer_with_status(id)
}

/// Refuses what this revision has removed, what never was for clients to send, and tasks of a client that takes none.
fn offered(method: &Method, declared: &Declared) -> Result<(), Refused> {
    let gone = match method {
        Method::Initialize => {
            let supported = serde_json::json!({ "supported": discover::supported() });
            let message = "there are no sessions in this revision; each request carries its own `_meta`";
            let error = RpcError::with_data(codes::METHOD_NOT_FOUND, message, &supported);
            return Err(Refused::new(StatusCode::NOT_FOUND, error));
        }
        Method::Ping
        | Method::SetLevel
        | Method::ResourcesSubscribe
        | Method::ResourcesUnsubscribe
        | Method::TasksResult
        | Method::TasksList => "this revision has removed the method",
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel if !declared.takes_tasks() => {
            let missing = serde_json::json!({ "extensions": { TASKS_EXTENSION: {} } });
            let error = rounds::missing(&RawJson::encode(&missing));
            return Err(Refused::new(StatusCode::BAD_REQUEST, error));
        }
        Method::CreateMessage | Method::Elicit | Method::RootsList => "only servers ask this",
        other if other.as_str().starts_with("notifications/") => "a notification has no id",
        _ => return Ok(()),
    };
    let error = RpcError::new(codes::METHOD_NOT_FOUND, gone);
    Err(Refused::new(StatusCode::NOT_FOUND, error))
}

impl Envelope {
    /// What the call carries.
    fn context(self) -> Context {
        Context {
            version: self.version,
            declared: self.declared,
            log_level: self.log_level,
            ..Context::default()
        }
    }
}

/// The member by which a method's subject is named, and which `Mcp-Name` repeats.
fn name_slot(method: &Method) -> Option<Slot> {
    match method {
        Method::ToolsCall | Method::PromptsGet => Some(Slot::Name),
        Method::ResourcesRead => Some(Slot::Uri),
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => Some(Slot::TaskId),
        _ => None,
    }
}

/// The HTTP status of an error.
fn status(code: i64) -> StatusCode {
    match code {
        codes::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        codes::HEADER_MISMATCH | codes::MISSING_CLIENT_CAPABILITY | codes::UNSUPPORTED_PROTOCOL_VERSION => {
            StatusCode::BAD_REQUEST
        }
        _ => StatusCode::OK,
    }
}

/// The subject's name, where the method has one.
fn name_of<'a>(method: &Method, params: &'a Params) -> Option<std::borrow::Cow<'a, str>> {
    name_slot(method).and_then(|slot| params.string(slot))
}
