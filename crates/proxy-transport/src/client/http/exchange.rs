//! One POST and what comes back: a call goes out under an id of ours, and its answer is found, whether it comes as one
//! JSON text or at the end of an event stream.
//!
//! The calling task does all of it. Dropping it before the answer closes the connection and tells the backend, since in
//! the session era a closed connection is no cancellation.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use mcp_proxy_core::json::{Params, RawJson, Slot};
use mcp_proxy_core::{ClientHandle, Error, ErrorKind, Method, Reply};

use super::core::{Core, SESSION_ID};
use super::encode;
use super::interim::Relay;
use super::patience::Patience;
use super::pool::SendFault;
use super::reading::{Kind, Reading, lost, release};
use super::session::Upstream;
use super::status;

/// A call on its way out.
pub(super) struct Outgoing<'a> {
    pub(super) method: &'a Method,
    pub(super) params: &'a Params,
    /// The session it belongs to; `None` for `initialize` only.
    pub(super) upstream: Option<&'a Arc<Upstream>>,
    pub(super) client: &'a ClientHandle,
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
        None => encode::request(id, call.method, call.params),
        // Tokens must be unique among all clients of the backend, and our id is.
        Some(_) => {
            let mut params = call.params.clone();
            params.set(Slot::ProgressToken, &RawJson::encode(&id));
            encode::request(id, call.method, &params)
        }
    };
    let mut request = core.post(call.upstream.map(AsRef::as_ref), body);
    let mut link = core.pool.checkout().await?;
    let present = call
        .upstream
        .and_then(|upstream| upstream.voice.enter(id, call.client, token.as_ref()));
    let mut patience = pin!(Patience::beside(core.idle_timeout, present));
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
    let reading = Reading {
        core,
        id,
        flow,
        patience,
    };
    let answer = match reading.kind(&head, call.upstream.is_some_and(|upstream| upstream.id.is_some())) {
        Kind::Json => reading.json().await,
        Kind::Events => match reading.events(Relay::new(core, &call, id, token)).await {
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

fn not_sent(cause: io::Error) -> Error {
    Error::new(ErrorKind::NotSent, "the connection to the backend was closed").caused_by(cause)
}
