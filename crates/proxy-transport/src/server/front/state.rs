//! [`CallState`]: what the response, the session's table, the client handle and a task of its own share of one call.
//!
//! The call's future lives here. So a cancellation drops it at once, also while a slow reader keeps the response body from
//! being polled; and whoever drives the call may change.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, TryLockError, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use mcp_proxy_core::json::{Params, RequestId};
use mcp_proxy_core::{Asked, CallFuture, ClientPort, Declared, Error, Interim, Method, ProtocolVersion, Reply, codes};

use super::outbox::{self, Outbox, Push};
use super::questions::Questions;
use super::session::Entry;
use super::stream::Stream;
use super::streams::Reach;
use super::{Inner, ask, lock, orphan};

/// Why a call ended without an answer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Cause {
    /// The client said `notifications/cancelled`: it expects no answer.
    Client = 1,
    /// Its session ended.
    SessionEnded = 2,
    /// The proxy stops.
    Shutdown = 3,
}

/// Where messages go that come before the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ways {
    /// Nowhere: the response cannot carry them.
    Closed,
    /// To whoever polls the call.
    Poller,
    /// Into a stream of the session, which its client may resume.
    Stream,
}

/// What all sides of a running call share.
pub(super) struct CallState {
    /// For questions, which outlive the borrow they are asked through.
    me: Weak<CallState>,
    pub(super) id: RequestId,
    pub(super) future: Mutex<Option<CallFuture>>,
    /// 0, or a [`Cause`].
    cause: AtomicU8,
    pub(super) ways: Ways,
    /// For [`Ways::Poller`]; in any case whom to wake when the call is cancelled.
    pub(super) outbox: Outbox,
    /// For [`Ways::Stream`], once there is a message or a long silence.
    pub(super) stream: OnceLock<Arc<Stream>>,
    /// The call goes on in a task of its own; the response that it was part of has no say any more.
    handed: AtomicBool,
    pub(super) front: Arc<Inner>,
    pub(super) audience: Audience,
    /// What the client is and can do.
    pub(super) declared: Arc<Declared>,
    pub(super) version: ProtocolVersion,
}

/// The client of a call, as messages and questions that come in between must know it.
pub(super) enum Audience {
    /// A session: a question is a request on one of its streams.
    Session(Arc<Entry>),
    /// One request of the sessionless era: questions end its response, and the call waits for the next request.
    Request(Questions),
    /// A session-era call outside any session. Nothing could come back to it.
    Stray,
}

impl CallState {
    pub(super) fn new(
        id: RequestId,
        ways: Ways,
        front: &Arc<Inner>,
        audience: Audience,
        context: &mcp_proxy_core::Context,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            id,
            future: Mutex::new(None),
            cause: AtomicU8::new(0),
            ways,
            outbox: Outbox::new(ways != Ways::Closed),
            stream: OnceLock::new(),
            handed: AtomicBool::new(false),
            front: front.clone(),
            audience,
            declared: context.declared.clone(),
            version: context.version,
        })
    }

    /// The id as JSON text.
    pub(super) fn id(&self) -> &[u8] {
        self.id.as_bytes()
    }

    /// Where messages for whoever polls the call wait.
    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The session it belongs to.
    pub(super) fn session(&self) -> Option<&Arc<Entry>> {
        match &self.audience {
            Audience::Session(entry) => Some(entry),
            Audience::Request(_) | Audience::Stray => None,
        }
    }

    /// The stream of its messages, if it has come to that.
    pub(super) fn stream(&self) -> Option<&Arc<Stream>> {
        self.stream.get()
    }

    pub(super) fn open_stream(&self, entry: &Entry) -> &Arc<Stream> {
        self.stream.get_or_init(|| {
            let resume = self.front.options.session.resume;
            entry.streams.open_call(self.me.clone(), resume, &self.front.logs)
        })
    }

    /// Whether a message would go anywhere.
    fn is_heard(&self) -> bool {
        self.stream.get().is_some() || self.outbox.is_open()
    }

    fn push(&self, text: Bytes) -> Push {
        let Audience::Session(entry) = &self.audience else {
            return self.outbox.push(text, false);
        };
        let stream = match (self.ways, self.stream.get()) {
            (Ways::Stream, Some(stream)) => stream,
            (Ways::Stream, None) if self.outbox.is_open() => {
                let stream = self.open_stream(entry);
                // Whoever waits for the answer must make it a stream now.
                self.outbox.wake();
                stream
            }
            _ => return self.outbox.push(text, false),
        };
        match stream.push(text.clone(), false) {
            Push::Slow => {
                // Its reader is cut off, and if that is a dead connection, nobody would ever poll the call again.
                if let Some(call) = self.me.upgrade() {
                    orphan::hand_over_unless_polled(&call);
                }
                stream.push(text, false)
            }
            pushed => pushed,
        }
    }

    /// Puts a question to the client where it reads what comes of this call, if it does.
    pub(super) fn put(&self, question: Bytes) -> bool {
        if let (Some(stream), Audience::Session(entry)) = (self.stream.get(), &self.audience)
            && !stream.is_live()
            && entry.streams.is_live()
        {
            // Nobody reads this stream now, but the client does read another.
            return false;
        }
        self.is_heard() && self.push(question) == Push::Taken
    }

    /// Says that a question needs no answer any more, where it was put.
    pub(super) fn withdraw(&self, text: Bytes) {
        self.push(text);
    }

    /// Ends the call: its future is dropped now, or by whoever is polling it at this moment.
    pub(super) fn cancel(&self, cause: Cause) {
        let first = self
            .cause
            .compare_exchange(0, cause as u8, Ordering::SeqCst, Ordering::SeqCst);
        if first.is_ok() {
            self.reap();
            self.outbox.wake();
        }
    }

    /// Why it was ended, if it was.
    pub(super) fn cause(&self) -> Option<Cause> {
        match self.cause.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(Cause::Client),
            2 => Some(Cause::SessionEnded),
            _ => Some(Cause::Shutdown),
        }
    }

    /// Drops the future, unless it is being polled; the poller looks again afterwards. Never waits for the lock: the
    /// cancellation may come from within the poll.
    pub(super) fn reap(&self) {
        let future = match self.future.try_lock() {
            Ok(mut slot) => slot.take(),
            Err(TryLockError::Poisoned(slot)) => slot.into_inner().take(),
            Err(TryLockError::WouldBlock) => None,
        };
        drop(future);
    }

    /// Goes on with the call. Only one task at a time may; `orphan` says that it is that of a call that was handed over.
    pub(super) fn poll_reply(&self, cx: &mut Context<'_>, orphan: bool) -> Poll<Result<Result<Reply, Error>, Cause>> {
        if let Some(cause) = self.cause() {
            self.reap();
            return Poll::Ready(Err(cause));
        }
        let mut finished = None;
        let polled = {
            let mut slot = lock(&self.future);
            if let Audience::Session(_) = self.audience {
                if !orphan && self.is_handed() {
                    return Poll::Pending;
                }
                // Under the lock, so that a response which loses its call at this moment cannot take the task's place.
                self.outbox.register(cx);
            }
            match slot.as_mut() {
                None => Poll::Ready(None),
                Some(future) => {
                    // A panic in one call must not take the connection, or other calls, with it.
                    let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
                    let polled = match polled {
                        Ok(Poll::Pending) => Poll::Pending,
                        Ok(Poll::Ready(outcome)) => Poll::Ready(Some(outcome)),
                        Err(_) => Poll::Ready(Some(Ok(Reply::error(
                            codes::INTERNAL_ERROR,
                            "the proxy failed inside; its log says more",
                        )))),
                    };
                    if polled.is_ready() {
                        finished = slot.take();
                    }
                    polled
                }
            }
        };
        drop(finished);
        match (polled, self.cause()) {
            (Poll::Ready(Some(outcome)), _) => Poll::Ready(Ok(outcome)),
            (_, Some(cause)) => {
                self.reap();
                Poll::Ready(Err(cause))
            }
            (Poll::Ready(None), None) => Poll::Ready(Err(Cause::Client)),
            (Poll::Pending, None) => Poll::Pending,
        }
    }

    /// The front it runs in.
    pub(super) fn front(&self) -> &Arc<Inner> {
        &self.front
    }

    /// What was asked of a client without a session.
    pub(super) fn questions(&self) -> Option<&Questions> {
        match &self.audience {
            Audience::Request(questions) => Some(questions),
            Audience::Session(_) | Audience::Stray => None,
        }
    }

    /// Leaves nothing behind of a call outside sessions.
    pub(super) fn part(self: &Arc<Self>) {
        // Also breaks the circle of the future, its client handle and the state that holds the future.
        self.reap();
        self.outbox.close();
        if let Some(questions) = self.questions() {
            questions.close();
        }
        self.front.strays.leave(self);
    }

    /// Whether it goes on in a task of its own.
    pub(super) fn is_handed(&self) -> bool {
        self.handed.load(Ordering::Acquire)
    }

    /// Takes the call away from its response, once; false when it has ended. Unless told to `wait`, also when it is being
    /// polled at this moment.
    pub(super) fn claim(&self, wait: bool) -> bool {
        let slot = match self.future.try_lock() {
            Ok(slot) => slot,
            Err(TryLockError::Poisoned(slot)) => slot.into_inner(),
            Err(TryLockError::WouldBlock) if wait => lock(&self.future),
            Err(TryLockError::WouldBlock) => return false,
        };
        slot.is_some() && !self.handed.swap(true, Ordering::AcqRel)
    }
}

impl ClientPort for CallState {
    fn notify(&self, message: Interim) -> bool {
        if !self.is_heard() {
            return false;
        }
        let message = match &self.audience {
            Audience::Request(questions) => match questions.admit(message) {
                Some(message) => message,
                None => return false,
            },
            Audience::Session(entry) if entry.wants(&message) => message,
            // Whoever has no session could not have said which log messages it wants.
            Audience::Stray if message.method != Method::LogMessage => message,
            Audience::Session(_) | Audience::Stray => return false,
        };
        match self.push(outbox::text(&message)) {
            Push::Taken => true,
            Push::Closed => false,
            Push::Full | Push::Slow => {
                self.front.dropped.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    fn ask(&self, method: Method, params: Params) -> Asked {
        let is_allowed = || self.declared.allows(self.version, &method, &params).is_ok();
        match &self.audience {
            Audience::Request(questions) => {
                let asked = questions.ask(method, params);
                self.outbox.wake();
                asked
            }
            Audience::Session(entry) if is_allowed() => {
                let reach = Reach::Within(self.front.options.session.resume);
                ask::in_call(entry, &self.me, reach, &method, &params)
            }
            Audience::Stray if is_allowed() => ask::unasked(ask::gone("the client cannot be asked outside a session")),
            Audience::Session(_) | Audience::Stray => Box::pin(std::future::ready(Ok(ask::undeclared()))),
        }
    }
}
