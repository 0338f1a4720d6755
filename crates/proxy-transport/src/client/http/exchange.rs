//! One POST and what comes back: a call goes out under an id of ours, and its answer is found, whether it comes as one
//! JSON text or at the end of an event stream.
//!
//! The calling task does all of it. Dropping it before the answer closes the connection and tells the backend, since in
//! the session era a closed connection is no cancellation.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, StatusCode, response};
use mcp_proxy_core::json::{Message, Params, RawJson, Response, Slot};
use mcp_proxy_core::{ClientHandle, Error, ErrorKind, Method, Reply};

use super::core::{Core, EVENT_STREAM, JSON, SESSION_ID};
use super::events::Events;
use super::interim::Relay;
use super::patience::Patience;
use super::pool::{Flow, SendFault};
use super::session::Upstream;
use super::sse::Parser;
use super::status;

/// A call on its way out.
pub(super) struct Outgoing<'a> {
    pub(super) method: &'a Method,
    pub(super) params: &'a Params,
    /// The session it belongs to; `None` for `initialize` only.
    pub(super) upstream: Option<&'a Arc<Upstream>>,
    pub(super) client: &'a ClientHandle,
    pub(super) events: &'a Events,
}

/// What came back.
pub(super) struct Answer {
    pub(super) reply: Reply,
    /// The session id that came with it; looked at for `initialize` only.
    pub(super) session: Option<HeaderValue>,
}

/// Why nothing came back.
pub(super) enum Fault {
    /// The backend does not know the session, so nothing was run.
    SessionGone,
    /// Anything else.
    Failed(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Makes a call and waits for its answer.
///
/// # Errors
/// See [`Fault`]; the error's kind says whether the backend may have run the call.
///
/// # Cancel safety
/// Dropping the future cancels the call at the backend.
pub(super) async fn exchange(core: &Arc<Core>, call: Outgoing<'_>) -> Result<Answer, Fault> {
    let id = core.mint_id();
    let token = call.params.value(Slot::ProgressToken);
    let body = match token {
        None => encode(id, call.method, call.params),
        // Tokens must be unique among all clients of the backend, and our id is.
        Some(_) => {
            let mut params = call.params.clone();
            params.set(Slot::ProgressToken, &RawJson::encode(&id));
            encode(id, call.method, &params)
        }
    };
    let mut request = core.post(call.upstream.map(AsRef::as_ref), body);
    let mut link = core.pool.checkout().await?;
    let mut patience = pin!(Patience::new(core.idle_timeout));
    let mut on_drop = CancelOnDrop {
        core,
        upstream: call.upstream,
        id,
        armed: true,
    };
    let (head, flow) = loop {
        let reused = link.reused;
        match patience.as_mut().wait(link.send(request)).await {
            Ok(Ok(response)) => break response,
            Ok(Err(SendFault::NotSent(again, cause))) => {
                on_drop.armed = false;
                if !reused {
                    return Err(not_sent(cause).into());
                }
                // The backend closed the idle connection just before; a fresh one tells whether it is there.
                request = *again;
                link = core.pool.dial().await?;
                on_drop.armed = true;
            }
            Ok(Err(SendFault::Lost(cause))) => {
                on_drop.armed = false;
                return Err(lost(cause).into());
            }
            Err(silent) => return Err(silent.into()),
        }
    };
    let relay = Relay::new(core, &call, id, token);
    let reading = Reading {
        core,
        id,
        flow,
        patience,
    };
    let answer = match reading.kind(&head, call.upstream.is_some_and(|upstream| upstream.id.is_some())) {
        Kind::Json => reading.json().await,
        Kind::Events => match reading.events(relay).await {
            Ok(reply) => Ok(reply),
            // The stream is useless, but the call may still be running.
            Err(error) => return Err(error.into()),
        },
        Kind::Other => reading.refusal(&head).await,
        Kind::SessionGone => {
            on_drop.armed = false;
            reading.skip();
            return Err(Fault::SessionGone);
        }
    };
    on_drop.armed = answer.as_ref().is_err_and(Error::is_timeout);
    let reply = answer?;
    let session = match call.upstream {
        None => head.headers.get(SESSION_ID).cloned(),
        Some(_) => None,
    };
    Ok(Answer { reply, session })
}

/// Sends a message that has no answer.
///
/// # Errors
/// When the backend did not accept it.
pub(super) async fn tell(core: &Arc<Core>, upstream: &Upstream, body: Bytes) -> Result<(), Fault> {
    let mut request = core.post(Some(upstream), body);
    let mut link = core.pool.checkout().await?;
    let mut patience = pin!(Patience::new(core.idle_timeout));
    let (head, flow) = loop {
        let reused = link.reused;
        match patience.as_mut().wait(link.send(request)).await? {
            Ok(response) => break response,
            Err(SendFault::NotSent(again, _)) if reused => {
                request = *again;
                link = core.pool.dial().await?;
            }
            Err(SendFault::NotSent(_, cause)) => return Err(not_sent(cause).into()),
            Err(SendFault::Lost(cause)) => return Err(lost(cause).into()),
        }
    };
    release(core, flow);
    match head.status {
        status if status.is_success() => Ok(()),
        StatusCode::NOT_FOUND if upstream.id.is_some() => Err(Fault::SessionGone),
        _ => Err(status::judge(&head).into()),
    }
}

/// Reads what is left of a body of which nobody wants to know, so that the connection can be used again; in the
/// background if it is not there yet, and only so far.
pub(super) fn release(core: &Arc<Core>, mut flow: Flow) {
    if flow.is_at_end() {
        return flow.finish(&core.pool);
    }
    let for_task = core.clone();
    core.errand(async move {
        let mut left = SKIPPED_BYTES;
        while let Some(Ok(chunk)) = std::future::poll_fn(|cx| flow.poll_chunk(cx)).await {
            match usize::checked_sub(left, chunk.len()) {
                Some(rest) => left = rest,
                None => return,
            }
        }
        flow.finish(&for_task.pool);
    });
}

enum Kind {
    Json,
    Events,
    SessionGone,
    Other,
}

/// A response being read.
struct Reading<'a> {
    core: &'a Arc<Core>,
    id: u64,
    flow: Flow,
    patience: std::pin::Pin<&'a mut Patience>,
}

impl Reading<'_> {
    fn kind(&self, head: &response::Parts, in_session: bool) -> Kind {
        match head.status {
            StatusCode::OK => match status::media_type(&head.headers) {
                Some(kind) if kind.eq_ignore_ascii_case(EVENT_STREAM) => Kind::Events,
                Some(kind) if !kind.eq_ignore_ascii_case(JSON) => Kind::Other,
                _ => Kind::Json,
            },
            StatusCode::NOT_FOUND if in_session => Kind::SessionGone,
            _ => Kind::Other,
        }
    }

    async fn json(mut self) -> Result<Reply, Error> {
        let limit = self.core.max_bytes;
        let body = self.collect(limit).await?;
        self.flow.finish(&self.core.pool);
        match Message::scan(body) {
            Ok(Message::Response(response)) if is_for(&response, self.id) => Ok(response.reply),
            Ok(_) => Err(Error::new(
                ErrorKind::ServerFault,
                "the backend answered something that was not asked",
            )),
            Err(error) => Err(malformed(error)),
        }
    }

    async fn events(mut self, mut relay: Relay<'_>) -> Result<Reply, Error> {
        let mut parser = Parser::new(self.core.max_bytes);
        loop {
            while let Some(data) = parser.next().map_err(malformed)? {
                // What is kept of a small event must not keep the large buffer it came in.
                let data = if data.len() <= SMALL_EVENT {
                    Bytes::copy_from_slice(&data)
                } else {
                    data
                };
                match Message::scan(data).map_err(malformed)? {
                    Message::Response(response) if is_for(&response, self.id) => {
                        release(self.core, self.flow);
                        return Ok(response.reply);
                    }
                    Message::Response(_) => self.core.drop_message(),
                    Message::Notification(notification) => relay.notification(notification),
                    Message::Request(request) => relay.request(request),
                }
            }
            match self.patience.as_mut().chunk(&mut self.flow).await? {
                Some(Ok(chunk)) => parser.feed(chunk),
                Some(Err(cause)) => return Err(lost(cause)),
                // Resuming by `Last-Event-ID` would begin here.
                None => {
                    return Err(Error::new(
                        ErrorKind::SentUnknown,
                        "the backend ended its stream without an answer",
                    ));
                }
            }
        }
    }

    /// Any other status than 200. A JSON-RPC error in it is the answer, if it says so by its id.
    async fn refusal(mut self, head: &response::Parts) -> Result<Reply, Error> {
        let judged = status::judge(head);
        if judged.kind() != ErrorKind::Refused {
            self.skip();
            return Err(judged);
        }
        let Ok(body) = self.collect(REFUSAL_BYTES).await else {
            return Err(judged);
        };
        self.flow.finish(&self.core.pool);
        match Message::scan(body.clone()) {
            Ok(Message::Response(response)) if is_for(&response, self.id) => match response.reply {
                reply @ Reply::Error(_) => Ok(reply),
                Reply::Result(_) => Err(judged),
            },
            _ => Err(judged.caused_by(status::excerpt(&body))),
        }
    }

    async fn collect(&mut self, limit: usize) -> Result<Bytes, Error> {
        let too_large = || {
            Error::new(ErrorKind::ServerFault, "the backend's answer is too large")
                .caused_by(format!("more than {limit} bytes"))
        };
        let announced = self.flow.exact_len();
        if announced.is_some_and(|len| len > limit as u64) {
            return Err(too_large());
        }
        let Some(first) = self.patience.as_mut().chunk(&mut self.flow).await? else {
            return Ok(Bytes::new());
        };
        let first = first.map_err(lost)?;
        if self.flow.is_at_end() && first.len() <= limit {
            return Ok(first);
        }
        // Room for what was announced, but not for what was only announced.
        let expected = announced.map_or(first.len() * 2, |len| usize::try_from(len).unwrap_or(limit));
        let mut body = BytesMut::with_capacity(expected.min(FIRST_ROOM).max(first.len()));
        body.extend_from_slice(&first);
        drop(first);
        while let Some(chunk) = self.patience.as_mut().chunk(&mut self.flow).await? {
            let chunk = chunk.map_err(lost)?;
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        match announced {
            Some(len) if len != body.len() as u64 => Err(lost(io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(body.freeze()),
        }
    }

    fn skip(self) {
        release(self.core, self.flow);
    }
}

/// Tells the backend that nobody waits for a call any more, unless its answer has come.
struct CancelOnDrop<'a> {
    core: &'a Arc<Core>,
    upstream: Option<&'a Arc<Upstream>>,
    id: u64,
    armed: bool,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        // `initialize` cannot be cancelled.
        let (true, Some(upstream)) = (self.armed, self.upstream) else {
            return;
        };
        let body = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{}}}}}"#,
            self.id
        );
        let (core, upstream) = (self.core.clone(), upstream.clone());
        self.core.errand(async move {
            // A backend that cannot be told will find nobody listening.
            let _ = tell(&core, &upstream, body.into()).await;
        });
    }
}

fn is_for(response: &Response, id: u64) -> bool {
    response.id.as_ref().and_then(|id| id.as_u64()) == Some(id)
}

/// The text of a request.
fn encode(id: u64, method: &Method, params: &Params) -> Bytes {
    let mut text = Vec::with_capacity(64 + method.as_str().len() + params.len());
    text.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    let _ = io::Write::write_fmt(&mut text, format_args!("{id}"));
    write_rest(&mut text, method, params);
    text.into()
}

/// The text of a notification.
pub(super) fn encode_notification(method: &Method, params: &Params) -> Bytes {
    let mut text = Vec::with_capacity(64 + method.as_str().len() + params.len());
    text.extend_from_slice(br#"{"jsonrpc":"2.0""#);
    write_rest(&mut text, method, params);
    text.into()
}

fn write_rest(text: &mut Vec<u8>, method: &Method, params: &Params) {
    text.extend_from_slice(br#","method":"#);
    match method {
        // Only a name that is not ours can hold what needs escaping.
        Method::Other(name) => text.extend_from_slice(RawJson::encode(name).as_bytes()),
        known => {
            text.push(b'"');
            text.extend_from_slice(known.as_str().as_bytes());
            text.push(b'"');
        }
    }
    if !params.is_absent() {
        text.extend_from_slice(br#","params":"#);
        params.write(text);
    }
    text.push(b'}');
}

fn not_sent(cause: io::Error) -> Error {
    Error::new(ErrorKind::NotSent, "the connection to the backend was closed").caused_by(cause)
}

fn lost(cause: io::Error) -> Error {
    Error::new(
        ErrorKind::SentUnknown,
        "the connection to the backend broke off during the call",
    )
    .caused_by(cause)
}

fn malformed(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::ServerFault, "the backend's answer is malformed").caused_by(cause)
}

/// Most of a body that is read only to keep its connection, in bytes.
const SKIPPED_BYTES: usize = 64 * 1024;

/// Most of a refusal's body that is read, in bytes.
const REFUSAL_BYTES: usize = 64 * 1024;

/// Events up to this size are copied out of the buffer they came in.
const SMALL_EVENT: usize = 64 * 1024;

/// Most room that is made for an answer before its bytes have come.
const FIRST_ROOM: usize = 1024 * 1024;
