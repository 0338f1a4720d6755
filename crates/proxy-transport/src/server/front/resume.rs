//! GET: a stream of the session's own, or, with `Last-Event-ID`, the rest of a stream whose connection broke.
//!
//! An event id is `<stream>-<number>`, both in the session's own count, so an id of another session finds nothing.

use std::sync::Arc;

use http::header::{ACCEPT, HeaderName};
use http::{HeaderMap, Response, StatusCode};
use mcp_proxy_core::codes;

use super::Inner;
use super::body::FrontBody;
use super::caller::{self, Caller};
use super::guard::{Accept, single};
use super::orphan;
use super::respond::{self, Refusal};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Serves a GET.
pub(super) fn listen(front: &Arc<Inner>, headers: &HeaderMap) -> Response<FrontBody> {
    open(front, headers).unwrap_or_else(|refusal| refusal.response(None))
}

fn open(front: &Arc<Inner>, headers: &HeaderMap) -> Result<Response<FrontBody>, Refusal> {
    if !headers.contains_key(ACCEPT) || !Accept::of(headers).stream {
        let message = "`Accept` must name text/event-stream";
        return Err(Refusal::new(
            StatusCode::NOT_ACCEPTABLE,
            codes::INVALID_REQUEST,
            message,
        ));
    }
    let session = Caller::session(front, headers)?;
    let last = single(headers, &LAST_EVENT_ID).map_err(|_| bad("more than one `Last-Event-ID` header"))?;
    // An empty one says that no event had an id (HTML, Server-sent events).
    let last = last.filter(|last| !last.is_empty());
    let reader = match last {
        Some(last) => {
            let (number, after) = parse(last.as_bytes()).ok_or_else(lost)?;
            let reader = session.streams.resume(number, after).map_err(|_| lost())?;
            // Whoever held the stream before may be a connection that is dead and does not know.
            if let Some(call) = reader.stream().call.upgrade() {
                orphan::hand_over(&call);
            }
            reader
        }
        None if front.is_draining() => {
            let message = "the proxy is shutting down";
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                codes::OVERLOADED,
                message,
            ));
        }
        None => session
            .streams
            .open_own(front.options.session.resume, &front.logs)
            .ok_or_else(caller::unknown_session)?,
    };
    let first = last.is_none();
    Ok(respond::events(FrontBody::listen(reader, session, front, first)))
}

/// Reads an event id.
fn parse(id: &[u8]) -> Option<(u64, u64)> {
    let (stream, number) = std::str::from_utf8(id).ok()?.split_once('-')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(stream) || !digits(number) {
        return None;
    }
    Some((stream.parse().ok()?, number.parse().ok()?))
}

/// Not 404: that would say that the session has ended.
fn lost() -> Refusal {
    bad("what came after this `Last-Event-ID` is no longer kept; go on without it")
}

fn bad(message: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, codes::INVALID_REQUEST, message)
}
