//! Event streams that are opened by GET: a session's own, and the rest of a call's response that broke off.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use mcp_proxy_core::{Error, ErrorKind};
use tokio::time::Instant;

use super::core::{Core, EVENT_STREAM};
use super::pool::{Flow, SendFault};
use super::reading::release;
use super::sse::Parser;
use super::status;
use super::unasked::Unasked;

/// What a GET for a stream brought.
pub(super) enum Opened {
    /// The stream.
    Stream(Flow),
    /// The backend offers none, here or (`anywhere`) at all.
    None { anywhere: bool },
    /// It does not know the session.
    Unknown,
    /// It could not serve it just now.
    Later,
}

/// Sends the GET that `core.get` made; `in_session` says whether it names a session.
///
/// # Errors
/// When the backend cannot be reached.
pub(super) async fn open(core: &Arc<Core>, request: Request<Full<Bytes>>, in_session: bool) -> Result<Opened, Error> {
    let link = core.pool.checkout().await?;
    let sent = tokio::time::timeout(core.idle_timeout, link.send(request)).await;
    let (head, flow) = match sent {
        Ok(Ok(response)) => response,
        Ok(Err(SendFault::NotSent(..) | SendFault::Lost(_))) | Err(_) => return Ok(Opened::Later),
    };
    let is_stream = status::media_type(&head.headers).is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM));
    match head.status {
        StatusCode::OK if is_stream => return Ok(Opened::Stream(flow)),
        StatusCode::NOT_FOUND if in_session => {
            release(core, flow);
            return Ok(Opened::Unknown);
        }
        _ => release(core, flow),
    }
    let never = [StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];
    Ok(match status::judge(&head).kind() {
        ErrorKind::Pushback { .. } | ErrorKind::SentUnknown => Opened::Later,
        // The stream before has broken off, and the backend has yet to notice.
        ErrorKind::Refused if head.status == StatusCode::CONFLICT => Opened::Later,
        ErrorKind::ServerFault if head.status.is_server_error() && head.status != StatusCode::NOT_IMPLEMENTED => {
            Opened::Later
        }
        _ => Opened::None {
            anywhere: never.contains(&head.status),
        },
    })
}

/// Where a stream has come to, over all its connections.
#[derive(Default)]
pub(super) struct Place {
    /// The last event that came.
    pub(super) last_id: Option<HeaderValue>,
    /// The pause that the backend asked for.
    retry: Option<Duration>,
    /// Connections in a row that could not be opened, and those that ended soon.
    failures: u32,
    short: u32,
    since: Option<Instant>,
}

impl Place {
    /// How long to wait before the next connection: what the backend asked for, else longer and longer.
    pub(super) fn pause(&mut self) -> Duration {
        match self.since.take() {
            Some(since) if since.elapsed() >= LONGEST_PAUSE => self.short = 0,
            Some(_) => {}
            None => self.failures = self.failures.saturating_add(1),
        }
        let grown = FIRST_PAUSE.saturating_mul(1 << self.short.min(8)).min(LONGEST_PAUSE);
        self.short = self.short.saturating_add(1);
        self.retry
            .map_or(grown, |asked| asked.clamp(SHORTEST_PAUSE, LONGEST_RETRY))
    }

    /// How often in a row the stream could not be opened.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    fn opened(&mut self) {
        self.since = Some(Instant::now());
        self.failures = 0;
    }
}

/// Reads a stream to its end.
pub(super) async fn follow(unasked: &mut Unasked, place: &mut Place, mut flow: Flow, max_bytes: usize) {
    place.opened();
    let mut parser = Parser::new(max_bytes);
    // No bound on silence: this stream may have nothing to say for days, and a lost backend shows in the calls.
    while let Some(Ok(chunk)) = poll_fn(|cx| {
        unasked.poll_questions(cx);
        flow.poll_chunk(cx)
    })
    .await
    {
        parser.feed(chunk);
        while let Ok(Some(data)) = parser.next() {
            unasked.event(data);
        }
        if parser.is_spoilt() {
            unasked.spoilt();
            break;
        }
    }
    let last_id = parser.last_id().and_then(|id| HeaderValue::from_str(id).ok());
    place.last_id = last_id.or(place.last_id.take());
    place.retry = parser.retry_ms().map(Duration::from_millis).or(place.retry);
}

/// Waits for `work` while questions go on.
pub(super) async fn meanwhile<T>(unasked: &mut Unasked, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|cx| {
        unasked.poll_questions(cx);
        work.as_mut().poll(cx)
    })
    .await
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);

const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A backend that wants to be asked again at once would cost both sides a processor.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause that a backend can ask for.
const LONGEST_RETRY: Duration = Duration::from_secs(10 * 60);
