//! The event stream of the catalogue's session (GET): how a backend says that its lists changed.
//!
//! A backend need not offer one. If it does, the stream is opened again whenever it ends, with a growing pause, and what
//! may have been missed meanwhile is looked up. When it cannot be opened again because nobody answers, the backend is
//! gone.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use mcp_proxy_core::catalogue::Kind;
use mcp_proxy_core::json::Message;
use mcp_proxy_core::{Error, ErrorKind};
use tokio::time::Instant;

use super::super::questions;
use super::asking::answer;
use super::core::{Core, EVENT_STREAM};
use super::events::Events;
use super::pool::{Flow, SendFault};
use super::reading::release;
use super::session::{Cell, Upstream};
use super::sse::Parser;
use super::status;

/// Follows the stream until the backend offers none any more or is gone. `announced` are the lists whose changes the
/// backend has promised to announce.
pub(super) async fn listen(core: Arc<Core>, cell: Arc<Cell>, events: Arc<Events>, announced: Vec<Kind>) {
    let mut pause = FIRST_PAUSE;
    // Without a stream that once worked, 404 is a way of saying that there is none.
    let mut worked = false;
    let mut last_id = None;
    loop {
        let upstream = match cell.get(&core, None).await {
            Ok(upstream) => upstream,
            Err(error) => return events.closed(&error),
        };
        let opened = match open(&core, &upstream, last_id.as_ref()).await {
            Ok(opened) => opened,
            Err(error) => return events.closed(&error),
        };
        match opened {
            Opened::Stream(flow) => {
                if worked {
                    events.changed(&announced);
                }
                worked = true;
                let since = Instant::now();
                let left = follow(&core, &upstream, &events, flow).await;
                last_id = left.last_id.or(last_id);
                pause = match left.retry {
                    Some(asked) => asked.clamp(FIRST_PAUSE, LONGEST_PAUSE),
                    None if since.elapsed() >= LONGEST_PAUSE => FIRST_PAUSE,
                    None => pause,
                };
            }
            Opened::Unknown if worked => {
                worked = false;
                last_id = None;
                upstream.forget();
                match cell.get(&core, Some(&upstream)).await {
                    Ok(_) => events.changed(&Kind::ALL),
                    Err(error) => return events.closed(&error),
                }
                continue;
            }
            Opened::Later => {}
            Opened::Unknown | Opened::None => {
                if worked {
                    // It may have been replaced by a backend that is to be spoken to in another way.
                    let message = "the backend no longer offers the stream that it did";
                    events.closed(&Error::new(ErrorKind::ServerFault, message));
                }
                return;
            }
        }
        drop(upstream);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

enum Opened {
    Stream(Flow),
    /// The backend offers none.
    None,
    /// It does not know the session.
    Unknown,
    /// It could not serve it just now.
    Later,
}

async fn open(core: &Arc<Core>, upstream: &Upstream, last_id: Option<&HeaderValue>) -> Result<Opened, Error> {
    let link = core.pool.checkout().await?;
    let sent = tokio::time::timeout(core.idle_timeout, link.send(core.get(upstream, last_id))).await;
    let (head, flow) = match sent {
        Ok(Ok(response)) => response,
        Ok(Err(SendFault::NotSent(..) | SendFault::Lost(_))) | Err(_) => return Ok(Opened::Later),
    };
    let is_stream = status::media_type(&head.headers).is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM));
    match head.status {
        StatusCode::OK if is_stream => return Ok(Opened::Stream(flow)),
        StatusCode::NOT_FOUND if upstream.id.is_some() => {
            release(core, flow);
            return Ok(Opened::Unknown);
        }
        _ => release(core, flow),
    }
    Ok(match status::judge(&head).kind() {
        ErrorKind::Pushback { .. } | ErrorKind::SentUnknown => Opened::Later,
        ErrorKind::ServerFault if head.status.is_server_error() && head.status != StatusCode::NOT_IMPLEMENTED => {
            Opened::Later
        }
        _ => Opened::None,
    })
}

/// What a stream that has ended leaves for the next.
struct Left {
    /// The last event that came.
    last_id: Option<HeaderValue>,
    /// The pause that the backend asked for.
    retry: Option<Duration>,
}

/// Reads a stream to its end.
async fn follow(core: &Arc<Core>, upstream: &Arc<Upstream>, events: &Events, mut flow: Flow) -> Left {
    let mut parser = Parser::new(core.max_bytes);
    // No bound on silence: this stream may have nothing to say for days, and a lost backend shows in the calls.
    while let Some(Ok(chunk)) = std::future::poll_fn(|cx| flow.poll_chunk(cx)).await {
        parser.feed(chunk);
        while let Ok(Some(data)) = parser.next().inspect_err(|_| core.drop_message()) {
            match Message::scan(data) {
                Ok(Message::Notification(notification)) if events.take(&notification.method) => {}
                Ok(Message::Request(request)) => {
                    let reply = questions::without_client(&request.method);
                    let reply = reply.unwrap_or_else(|| questions::of_nobody(&request.method));
                    answer(core, upstream, &request.id, &reply);
                }
                // A notification here belongs to no call, so it is nobody's; answers do not come this way.
                _ => core.drop_message(),
            }
        }
        if parser.is_spoilt() {
            break;
        }
    }
    Left {
        last_id: parser.last_id().and_then(|id| HeaderValue::from_str(id).ok()),
        retry: parser.retry_ms().map(Duration::from_millis),
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(500);

const LONGEST_PAUSE: Duration = Duration::from_secs(30);
