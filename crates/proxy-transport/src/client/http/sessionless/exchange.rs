//! One POST and its answer. Nothing is left behind: the calling task drives the connection, and dropping it closes the
//! connection, which is how a call is cancelled in this era. A stream that breaks off is not resumed; the call is lost.

use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, response};
use http_body_util::Full;
use mcp_proxy_core::json::{Message, Notification, Params, RawJson, Slot};
use mcp_proxy_core::{ClientHandle, Error, ErrorKind, Method, Reply};

use super::super::core::Core;
use super::super::encode;
use super::super::interim::{Allowance, with_token};
use super::super::patience::Patience;
use super::super::pool::{Flow, SendFault};
use super::super::reading::{Kind, Reading, is_for, lost, malformed, release, small};
use super::super::sse::Parser;
use super::headers::About;

/// A request on its way out.
pub(super) struct Outgoing<'a> {
    pub(super) about: About<'a>,
    /// Where progress and log go.
    pub(super) client: &'a ClientHandle,
}

/// Sends a request and waits for its answer.
///
/// # Errors
/// The kind says whether the backend may have run it.
///
/// # Cancel safety
/// Dropping the future cancels the request at the backend.
pub(super) async fn exchange(core: &Arc<Core>, call: Outgoing<'_>) -> Result<Reply, Error> {
    let (sent, request) = write(core, &call.about);
    let mut patience = pin!(Patience::new(core.idle_timeout));
    let (head, flow) = send(core, request, patience.as_mut()).await?;
    let reading = Reading {
        core,
        id: sent.id,
        flow,
        patience,
    };
    read(reading, &head, call.client, sent.token).await
}

/// What a request went out as.
pub(super) struct Sent {
    pub(super) id: u64,
    /// The client's own progress token.
    token: Option<RawJson>,
}

/// Reads the answer.
///
/// # Errors
/// As for [`exchange`].
pub(super) async fn read(
    reading: Reading<'_>,
    head: &response::Parts,
    client: &ClientHandle,
    token: Option<RawJson>,
) -> Result<Reply, Error> {
    match reading.kind(head, false) {
        Kind::Json => reading.json().await,
        Kind::Events => {
            let relay = Relay {
                core: reading.core,
                client,
                id: reading.id,
                token,
                allowance: Allowance::new(),
            };
            events(reading, relay).await
        }
        Kind::Other | Kind::SessionGone => reading.refusal(head).await,
    }
}

/// Writes a request.
pub(super) fn write(core: &Core, about: &About<'_>) -> (Sent, Request<Full<Bytes>>) {
    let id = core.mint_id();
    let token = about.params.value(Slot::ProgressToken);
    let body = match token {
        None => encode::request(id, about.method, about.params),
        // Tokens must be unique among all clients of the backend, and our id is.
        Some(_) => {
            let mut params = about.params.clone();
            params.set(Slot::ProgressToken, &RawJson::encode(&id));
            encode::request(id, about.method, &params)
        }
    };
    let mut request = core.post(None, body);
    about.write(request.headers_mut());
    (Sent { id, token }, request)
}

/// Sends a request and waits for the head of its response.
///
/// # Errors
/// `NotSent`, `SentUnknown`, or the time-out.
pub(super) async fn send(
    core: &Core,
    mut request: Request<Full<Bytes>>,
    mut patience: Pin<&mut Patience>,
) -> Result<(response::Parts, Flow), Error> {
    let mut link = core.pool.checkout().await?;
    loop {
        let reused = link.reused;
        match patience.as_mut().wait(link.send(request)).await? {
            Ok(response) => return Ok(response),
            // The backend closed the idle connection just before; a fresh one tells whether it is there.
            Err(SendFault::NotSent(again, _)) if reused => {
                request = *again;
                link = core.pool.dial().await?;
            }
            Err(SendFault::NotSent(_, cause)) => {
                let message = "the connection to the backend was closed";
                return Err(Error::new(ErrorKind::NotSent, message).caused_by(cause));
            }
            Err(SendFault::Lost(cause)) => return Err(lost(cause)),
        }
    }
}

/// Reads an event stream up to the answer.
async fn events(reading: Reading<'_>, mut relay: Relay<'_>) -> Result<Reply, Error> {
    let Reading {
        core,
        id,
        mut flow,
        mut patience,
    } = reading;
    let mut parser = Parser::new(core.max_bytes);
    loop {
        while let Some(data) = parser.next().map_err(malformed)? {
            match Message::scan(small(data)).map_err(malformed)? {
                Message::Response(response) if is_for(&response, id) => {
                    release(core, flow);
                    return Ok(response.reply);
                }
                Message::Notification(notification) => relay.notification(notification),
                // Neither other answers nor requests have a place here.
                Message::Response(_) | Message::Request(_) => core.drop_message(),
            }
        }
        match patience.as_mut().chunk(&mut flow).await? {
            Some(Ok(chunk)) => parser.feed(chunk),
            Some(Err(cause)) => return Err(lost(cause)),
            None => {
                return Err(Error::new(
                    ErrorKind::SentUnknown,
                    "the backend ended its stream without an answer",
                ));
            }
        }
    }
}

/// Takes the interim messages of one call.
struct Relay<'a> {
    core: &'a Core,
    client: &'a ClientHandle,
    /// Our id, which is also the progress token the backend knows.
    id: u64,
    /// The client's own token.
    token: Option<RawJson>,
    allowance: Allowance,
}

impl Relay<'_> {
    fn notification(&mut self, notification: Notification) {
        let notification = match notification.method {
            Method::Progress => self.own_progress(&notification.params).map(|params| Notification {
                method: Method::Progress,
                params,
            }),
            // What the proxy has no rule for is the client's to understand.
            Method::LogMessage | Method::Other(_) => Some(notification),
            // Changes are announced on a stream of their own.
            _ => None,
        };
        match notification {
            Some(notification) if self.allowance.take() => {
                // The client's queue has a bound of its own and drops what it cannot hold.
                let _ = self.client.notify(notification);
            }
            _ => self.core.drop_message(),
        }
    }

    fn own_progress(&self, params: &Params) -> Option<Params> {
        with_token(params, self.id, self.token.as_ref()?)
    }
}
