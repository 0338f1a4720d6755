//! Clients over HTTP+SSE, the transport of 2024-11-05 with two addresses: GET `/sse` opens a stream of events, whose first
//! names the address that messages are posted to; all answers come on the stream.
//!
//! A post is taken (202) before it is acted on, so whatever is wrong with a message is said on the stream. The stream and
//! its posts are one [conversation](super::conversation), which ends with the stream.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use hashbrown::HashMap;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use mcp_proxy_core::codes;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::body::{FrontBody, Silence};
use super::guard::{Accept, is_json};
use super::intake::collect;
use super::respond::{Refusal, empty, events, method_not_allowed};
use super::{Front, Inner, lock, outbox};
use crate::client::duplex::framing::{FrameError, Incoming, Outgoing};

/// Most posts of one client that wait to be acted on; what comes after them waits for its answer.
const WAITING: usize = 16;
/// Events that wait for the connection to take them, beside those that the conversation keeps.
const WRITTEN: usize = 4;

/// The two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Where a stream is opened.
    Events,
    /// Where messages are posted to.
    Messages,
}

impl Place {
    /// The address of that path.
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/sse" => Some(Self::Events),
            "/message" => Some(Self::Messages),
            _ => None,
        }
    }
}

/// Where posts go: by the secret id of their stream.
#[derive(Default)]
pub(super) struct Streams(Mutex<HashMap<u128, mpsc::Sender<Bytes>>>);

/// Answers a request to one of the two.
pub(super) async fn serve<B>(front: &Front, place: Place, request: Request<B>) -> Response<FrontBody>
where
    B: Body<Data = Bytes>,
{
    let answer = match (place, request.method()) {
        (Place::Events, &Method::GET) => open(front, request.headers()),
        (Place::Messages, &Method::POST) => take(&front.0, request).await,
        (Place::Events, _) => return method_not_allowed("GET", "a stream is opened by GET"),
        (Place::Messages, _) => return method_not_allowed("POST", "messages are posted"),
    };
    answer.unwrap_or_else(|refusal| refusal.response(None))
}

/// Opens a stream.
fn open(front: &Front, headers: &HeaderMap) -> Result<Response<FrontBody>, Refusal> {
    if !Accept::of(headers).stream {
        let message = "`Accept` must name text/event-stream";
        return Err(Refusal::new(
            StatusCode::NOT_ACCEPTABLE,
            codes::INVALID_REQUEST,
            message,
        ));
    }
    let seat = front.0.admit()?;
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| {
        tracing::error!(%error, "no stream can be opened without randomness from the system");
        let message = "the proxy failed inside; its log says more";
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, codes::INTERNAL_ERROR, message)
    })?;
    let (post, posts) = mpsc::channel(WAITING);
    let (write, written) = mpsc::channel(WRITTEN);
    let gone = CancellationToken::new();
    let entered = Entered {
        front: front.0.clone(),
        id: u128::from_be_bytes(id),
    };
    lock(&front.0.sse.0).insert(entered.id, post);
    let body = Written {
        first: Some(format!("event: endpoint\ndata: /message?sessionId={:032x}\n\n", entered.id).into()),
        events: written,
        silence: Silence::new(front.0.options.keep_alive),
        _gone: gone.clone().drop_guard(),
    };
    let talk = front.clone();
    front.0.tasks.spawn(async move {
        let outgoing = Events {
            queue: VecDeque::new(),
            pending: 0,
            write: Some(write),
        };
        talk.converse(Posts { posts, gone }, outgoing, std::future::ready(()))
            .await;
        drop((entered, seat));
    });
    Ok(events(FrontBody::conversation(body)))
}

/// Takes a message.
async fn take<B>(front: &Inner, request: Request<B>) -> Result<Response<FrontBody>, Refusal>
where
    B: Body<Data = Bytes>,
{
    let (head, body) = request.into_parts();
    if !is_json(&head.headers) {
        let message = "`Content-Type` must be application/json";
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            codes::INVALID_REQUEST,
            message,
        ));
    }
    let unknown = || {
        let message = "this stream is unknown or has ended; open a new one";
        Refusal::new(StatusCode::NOT_FOUND, codes::SESSION_NOT_FOUND, message)
    };
    let id = head.uri.query().and_then(session_id).ok_or_else(unknown)?;
    let post = lock(&front.sse.0).get(&id).cloned().ok_or_else(unknown)?;
    let body = collect(body, &head.headers, front.options.body_bytes).await?;
    post.send(body).await.map_err(|_| unknown())?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// The id in the query of a post: 32 hexadecimal digits.
fn session_id(query: &str) -> Option<u128> {
    let id = query.split('&').find_map(|pair| pair.strip_prefix("sessionId="))?;
    let is_ours = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_ours.then(|| u128::from_str_radix(id, 16).ok()).flatten()
}

/// A stream that posts can find, until this is dropped.
struct Entered {
    front: Arc<Inner>,
    id: u128,
}

impl Drop for Entered {
    fn drop(&mut self) {
        lock(&self.front.sse.0).remove(&self.id);
    }
}

/// The posts of one client.
struct Posts {
    posts: mpsc::Receiver<Bytes>,
    /// Cancelled when the stream was closed.
    gone: CancellationToken,
}

impl Incoming for Posts {
    async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        tokio::select! {
            () = self.gone.cancelled() => Ok(None),
            post = self.posts.recv() => Ok(post),
        }
    }
}

/// The events for one client.
struct Events {
    queue: VecDeque<Bytes>,
    pending: usize,
    /// `None` once the stream has ended.
    write: Option<mpsc::Sender<Bytes>>,
}

impl Outgoing for Events {
    fn push(&mut self, message: &[u8]) {
        let mut line = message.to_vec();
        outbox::flatten(&mut line);
        let event = outbox::event(&line);
        self.pending += event.len();
        self.queue.push_back(event);
    }

    fn pending(&self) -> usize {
        self.pending
    }

    async fn flush(&mut self) -> io::Result<()> {
        while !self.queue.is_empty() {
            let write = self.write.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
            let place = write.reserve().await.map_err(|_| io::ErrorKind::BrokenPipe)?;
            if let Some(event) = self.queue.pop_front() {
                self.pending -= event.len();
                place.send(event);
            }
        }
        Ok(())
    }

    async fn end(&mut self) {
        self.write = None;
    }
}

/// What the connection writes.
pub(super) struct Written {
    /// The address for posts, before all else.
    first: Option<Bytes>,
    events: mpsc::Receiver<Bytes>,
    silence: Silence,
    _gone: DropGuard,
}

impl Written {
    /// The next event or comment.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        match self.events.poll_recv(cx) {
            Poll::Ready(event) => {
                self.silence.broken();
                Poll::Ready(event)
            }
            Poll::Pending => self.silence.poll(cx).map(Some),
        }
    }
}
