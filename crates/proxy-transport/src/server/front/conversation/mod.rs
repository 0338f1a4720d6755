//! A conversation: one two-way stream of messages is one client, as over stdio, WebSocket and HTTP+SSE.
//!
//! ```text
//!   incoming ─► Conversation::hear ─► era by message ─► a task for each call ─┐
//!               the session's own stream ─────────────────────────────────────┴─► bounded queue ─► outgoing
//! ```
//!
//! `initialize` opens a session that lives as long as the stream; a request that is complete in itself (2026-07-28) needs
//! none, and is served as over HTTP but for the headers that repeat it. Calls run concurrently. The end of the stream cancels all
//! of them at once, unlike the end of an HTTP response: nobody could ever resume them. A client that does not read what is
//! written to it for [`PATIENCE`] is cut off; until then whatever fills the queue waits, and what the proxy reads of that
//! client with it.

mod calls;
mod writing;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use mcp_proxy_core::json::{Message, Notification, Request, ScanErrorKind, Slot};
use mcp_proxy_core::{Method, ProtocolVersion, codes};
use tokio::sync::mpsc;

use super::answer::Answer;
use super::caller::Caller;
use super::job::{Begun, Job, begin};
use super::open::enter;
use super::respond::Refusal;
use super::state::{Cause, Ways};
use super::stream::{Event, Reader};
use super::{Front, Inner, post, sessionless};
use crate::client::duplex::framing::{FrameError, Incoming, Outgoing};
use calls::{Calls, NotTaken};

/// Longest time during which a client takes nothing of what is written.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long what was said last may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Most messages that wait to be written; what comes after them waits where it is.
const QUEUE: usize = 64;

/// Most conversations at a time.
const MAX_CONVERSATIONS: usize = 10_000;

/// The right to one conversation, until it is dropped.
pub(super) struct Seat(Arc<Inner>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.conversations.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inner {
    /// Admits one more conversation.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Seat, Refusal> {
        let unavailable = |message| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, codes::OVERLOADED, message);
        if self.is_draining() {
            return Err(unavailable("the proxy is shutting down"));
        }
        let before = self.conversations.fetch_add(1, Ordering::Relaxed);
        let seat = Seat(self.clone());
        match before < MAX_CONVERSATIONS {
            true => Ok(seat),
            false => Err(unavailable("too many clients are connected")),
        }
    }
}

impl Front {
    /// Speaks with one client until either side has had enough. `ready` delays the answer to its first message.
    pub(super) async fn converse<I, O>(&self, mut incoming: I, outgoing: O, ready: impl Future<Output = ()> + Send)
    where
        I: Incoming,
        O: Outgoing,
    {
        let (say, queue) = mpsc::channel(QUEUE);
        let mut conversation = Conversation {
            front: self.0.clone(),
            caller: None,
            stream: None,
            calls: Calls::new(say.clone()),
            say,
        };
        let mut writing = std::pin::pin!(writing::write(outgoing, queue));
        let heard = async {
            tokio::select! {
                () = conversation.listen(&mut incoming, ready) => true,
                () = &mut writing => false,
            }
        };
        let readable = heard.await;
        conversation.end().await;
        // Whether it could be written or not, this is the end.
        if readable {
            let _ = tokio::time::timeout(LAST_WORDS, writing).await;
        }
    }
}

/// One client on its stream.
struct Conversation {
    front: Arc<Inner>,
    /// Its session, once it has opened one.
    caller: Option<Caller>,
    /// The session's own stream.
    stream: Option<Reader>,
    calls: Calls,
    say: mpsc::Sender<Answer>,
}

impl Conversation {
    /// Acts on what the client says until it says no more, its session ends, or the proxy stops.
    async fn listen(&mut self, incoming: &mut impl Incoming, ready: impl Future<Output = ()>) {
        let mut ready = std::pin::pin!(Some(ready));
        let stop = self.front.stop.clone();
        loop {
            tokio::select! {
                message = incoming.next() => match message {
                    Ok(Some(message)) => {
                        if let Some(first) = ready.as_mut().as_pin_mut() {
                            tokio::select! {
                                () = first => ready.set(None),
                                () = stop.cancelled() => return,
                            }
                        }
                        self.hear(message).await;
                    }
                    Ok(None) => return,
                    Err(error) => return self.misheard(&error).await,
                },
                line = next_line(self.stream.as_ref()) => match line {
                    Some(line) => self.say(Answer::text(line)).await,
                    // At shutdown streams end first; the calls may still have their answers.
                    None if self.front.is_draining() => self.stream = None,
                    None => return,
                },
                () = self.calls.ended(), if !self.calls.is_empty() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Acts on one message.
    async fn hear(&mut self, message: Bytes) {
        let scanned = Message::scan(message.clone());
        let is_complete = sessionless::speaks(&scanned, self.caller.is_some());
        match scanned {
            Ok(Message::Request(request)) if is_complete => self.requested(request).await,
            Ok(Message::Request(request)) => self.asked(request).await,
            Ok(Message::Notification(notification)) => self.told(notification),
            Ok(Message::Response(response)) => {
                // Without a session nobody can have asked.
                if let Some(caller) = &self.caller {
                    post::reply(&self.front, caller, response);
                }
            }
            Err(error) if *error.kind() == ScanErrorKind::Batch => self.batch(message).await,
            Err(error) => {
                let refusal = post::unreadable(&error).answer(error.id());
                self.say(refusal).await;
            }
        }
    }

    /// A request of the sessionless era.
    async fn requested(&mut self, request: Request) {
        let Err((why, id)) = self.calls.request(&self.front, request) else {
            return;
        };
        let refusal = match why {
            NotTaken::Duplicate => bad("a request of this id is still running"),
            NotTaken::Full => Refusal::new(StatusCode::OK, codes::OVERLOADED, "too many calls are running"),
        };
        self.say(refusal.answer(Some(&id))).await;
    }

    /// A request of a session, or the one that opens it.
    async fn asked(&mut self, request: Request) {
        if request.method == Method::Initialize {
            let answer = self.open(&request);
            return self.say(answer).await;
        }
        let begun = match &self.caller {
            Some(caller) => begin(&self.front, caller, request, Ways::Poller),
            None if request.method == Method::Ping => {
                let nobody = Caller {
                    session: None,
                    version: ProtocolVersion::default(),
                };
                begin(&self.front, &nobody, request, Ways::Poller)
            }
            None => Err((bad("`initialize` comes first"), request.id)),
        };
        match begun {
            Ok(Begun::Now(answer)) => self.say(answer).await,
            Ok(Begun::Later(running)) => self.calls.run(Job::One(running)),
            Err((refusal, id)) => self.say(refusal.answer(Some(&id))).await,
        }
    }

    /// `initialize`: opens the session of this stream.
    fn open(&mut self, request: &Request) -> Answer {
        let opened = match &self.caller {
            Some(_) => Err(bad("this session is already open")),
            None => enter(&self.front, request),
        };
        match opened {
            Ok((entry, answer)) => {
                // Nothing is kept: when the connection ends, so does the session.
                self.stream = entry.streams.open_own(Duration::ZERO, &self.front.logs);
                self.caller = Some(Caller {
                    version: entry.session.version,
                    session: Some(entry),
                });
                answer
            }
            Err(refusal) => refusal.answer(Some(&request.id)),
        }
    }

    fn told(&mut self, notification: Notification) {
        if notification.method == Method::Cancelled
            && let Some(id) = notification.params.text(Slot::RequestId)
            && self.calls.cancel(id)
        {
            return;
        }
        if let Some(caller) = &self.caller {
            post::notice(&self.front, caller, notification);
        }
    }

    async fn batch(&mut self, messages: Bytes) {
        let job = match &self.caller {
            Some(caller) => post::batch(&self.front, caller, messages),
            None => Err(bad("`initialize` comes first, and not in a batch")),
        };
        match job {
            Ok(Some(job)) => self.calls.run(job),
            Ok(None) => {}
            Err(refusal) => self.say(refusal.answer(None)).await,
        }
    }

    async fn misheard(&self, error: &FrameError) {
        if let FrameError::TooLong { limit } = error {
            let refusal = bad(format!("a message is longer than {limit} bytes"));
            return self.say(refusal.answer(None)).await;
        }
        tracing::debug!(%error, "a conversation broke off");
    }

    /// Queues a message. It is lost when the client reads no more, and then the conversation is about to end.
    async fn say(&self, message: Answer) {
        let _ = self.say.send(message).await;
    }

    /// Cancels everything, and waits until nothing is left.
    async fn end(mut self) {
        self.leave();
        self.calls.stop().await;
    }

    /// Ends the session, and so its calls: not to be finished without their client, as over HTTP.
    fn leave(&self) {
        if let Some(entry) = self.caller.as_ref().and_then(|caller| caller.session.as_ref()) {
            let cause = match self.front.is_draining() {
                true => Cause::Shutdown,
                false => Cause::SessionEnded,
            };
            self.front.remove(entry, cause);
        }
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.leave();
    }
}

async fn next_line(stream: Option<&Reader>) -> Option<Bytes> {
    let Some(stream) = stream else {
        return std::future::pending().await;
    };
    match poll_fn(|cx| stream.poll_next(cx)).await {
        Some((_, Event::Message(line))) => Some(line),
        // What ends a call's stream is never on the session's own.
        Some((_, Event::Answer(_) | Event::Cancelled)) | None => None,
    }
}

fn bad(message: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, codes::INVALID_REQUEST, message)
}
