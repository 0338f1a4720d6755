//! [`Running`]: one call from its start to its answer, whoever waits for it.
//!
//! The call's future lives in [`CallState`], which the session's table, the client handle and the response share. So a
//! cancellation drops the future at once, also while a slow reader keeps the response body from being polled.
//!
//! A client of the session era that disconnects has not cancelled (MCP, Transports, "Sending Messages to the Server").
//! When the response is dropped before the call has ended, the call moves to a task that finishes it within
//! `session.resume`, or cancels it then.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, TryLockError, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use mcp_proxy_core::json::{Params, Request, RequestId, Slot};
use mcp_proxy_core::{
    Asked, Call, CallFuture, ClientHandle, ClientPort, Declared, Error, Interim, LogLevel, Method, ProtocolVersion,
    Reply, RpcError, codes,
};

use super::answer::Answer;
use super::calls::{CallTable, NotEntered};
use super::outbox::{self, Outbox, Push};
use super::questions::Questions;
use super::session::Entry;
use super::sessionless::{self, Subject};
use super::{Inner, ask, lock};

/// Most calls that go on without their client at a time, in the whole process; one more is cancelled instead.
const MAX_ORPHANS: usize = 10_000;

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

/// What all sides of a running call share.
pub(super) struct CallState {
    /// For questions, which outlive the borrow they are asked through.
    me: Weak<CallState>,
    id: RequestId,
    future: Mutex<Option<CallFuture>>,
    /// 0, or a [`Cause`].
    cause: AtomicU8,
    outbox: Outbox,
    front: Arc<Inner>,
    audience: Audience,
    /// What the client is and can do.
    declared: Arc<Declared>,
    version: ProtocolVersion,
    /// The least log level that this request asked for; a session's own is kept with the session.
    log_level: Option<LogLevel>,
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
    /// The id as JSON text.
    pub(super) fn id(&self) -> &[u8] {
        self.id.as_bytes()
    }

    /// Where messages for the client go.
    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
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

    fn cause(&self) -> Option<Cause> {
        match self.cause.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(Cause::Client),
            2 => Some(Cause::SessionEnded),
            _ => Some(Cause::Shutdown),
        }
    }

    /// Drops the future, unless it is being polled; the poller looks again afterwards. Never waits for the lock: the
    /// cancellation may come from within the poll.
    fn reap(&self) {
        let future = match self.future.try_lock() {
            Ok(mut slot) => slot.take(),
            Err(TryLockError::Poisoned(slot)) => slot.into_inner().take(),
            Err(TryLockError::WouldBlock) => None,
        };
        drop(future);
    }

    fn poll_reply(&self, cx: &mut Context<'_>) -> Poll<Result<Result<Reply, Error>, Cause>> {
        if let Some(cause) = self.cause() {
            self.reap();
            return Poll::Ready(Err(cause));
        }
        let mut finished = None;
        let polled = {
            let mut slot = lock(&self.future);
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

    /// Whether the client has asked to read this. Log messages have levels; anything else is wanted.
    fn wants(&self, message: &Interim) -> bool {
        if message.method != Method::LogMessage {
            return true;
        }
        let level = message.params.string(Slot::Level);
        let level = level.as_deref().and_then(LogLevel::parse);
        match &self.audience {
            // Before a session sets its level, what is sent is the backend's choice.
            Audience::Session(entry) => match (entry.log_level(), level) {
                (Some(least), Some(level)) => level >= least,
                _ => true,
            },
            // A request that names no level gets no log (2026-07-28).
            Audience::Request(_) => match (self.log_level, level) {
                (Some(least), Some(level)) => level >= least,
                (least, None) => least.is_some(),
                (None, Some(_)) => false,
            },
            Audience::Stray => false,
        }
    }

    fn is_unfinished(&self) -> bool {
        lock(&self.future).is_some()
    }
}

impl ClientPort for CallState {
    fn notify(&self, message: Interim) -> bool {
        if !self.outbox.is_open() || !self.wants(&message) {
            return false;
        }
        match self.outbox.push(outbox::text(&message), false) {
            Push::Taken => true,
            Push::Closed => false,
            Push::Full => {
                self.front.dropped.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
    }

    fn ask(&self, method: Method, params: Params) -> Asked {
        if let Err(missing) = self.declared.allows(self.version, &method, &params) {
            if let Audience::Request(questions) = &self.audience {
                questions.lacking(missing);
                self.outbox.wake();
            }
            return Box::pin(std::future::ready(Ok(ask::undeclared())));
        }
        match &self.audience {
            Audience::Session(entry) => ask::in_call(entry, &self.me, &method, &params),
            Audience::Request(questions) => {
                let asked = questions.ask(method, params);
                self.outbox.wake();
                asked
            }
            Audience::Stray => ask::unasked(ask::gone("the client cannot be asked outside a session")),
        }
    }
}

/// What a running call has to say next.
pub(super) enum Step {
    /// An interim message, as one line of JSON.
    Event(Bytes),
    /// The end: the answer, or `None` when the client has cancelled and expects none.
    Done(Option<Answer>),
}

/// The right to finish a call. Dropping it early hands the call over to a task, or cancels it.
pub(super) struct Running {
    call: Arc<CallState>,
    session: Option<Arc<Entry>>,
    outcome: Option<Option<Answer>>,
    /// The response was dropped before; there is no second hand-over.
    orphan: bool,
}

impl Running {
    /// Starts a call. `interim` says whether the response can carry interim messages.
    pub(super) fn start(
        front: &Arc<Inner>,
        session: Option<Arc<Entry>>,
        request: Request,
        interim: bool,
        context: mcp_proxy_core::Context,
    ) -> Result<Self, (NotEntered, RequestId)> {
        let audience = match &session {
            Some(session) => Audience::Session(session.clone()),
            None if context.version.is_sessionless() => {
                Audience::Request(Questions::new(Subject::new(&request.method, &request.params)))
            }
            None => Audience::Stray,
        };
        let call = Arc::new_cyclic(|me| CallState {
            me: me.clone(),
            id: request.id,
            future: Mutex::new(None),
            cause: AtomicU8::new(0),
            outbox: Outbox::new(interim),
            front: front.clone(),
            audience,
            declared: context.declared.clone(),
            version: context.version,
            log_level: context.log_level,
        });
        if let Err(why) = table(front, session.as_ref()).enter(&call, session.is_some()) {
            return Err((why, call.id.clone()));
        }
        front.running.fetch_add(1, Ordering::SeqCst);
        if let Some(session) = &session {
            session.begin();
        }
        let running = Self {
            call,
            session,
            outcome: None,
            orphan: false,
        };
        let mut call = Call::new(request.method).with_params(request.params);
        call.context = context;
        call.client = ClientHandle::new(running.call.clone());
        let future = front.app.service().call(call);
        *lock(&running.call.future) = Some(future);
        Ok(running)
    }

    /// The id of the call.
    pub(super) fn id(&self) -> &RequestId {
        &self.call.id
    }

    /// Goes on with the call. After [`Step::Done`] nothing more comes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        // Also registers the task for messages and cancellation.
        if let Poll::Ready(Some(event)) = self.call.outbox.poll_next(cx) {
            return Poll::Ready(Step::Event(event));
        }
        if self.outcome.is_none() {
            let Poll::Ready(outcome) = self.call.poll_reply(cx) else {
                return match self.call.outbox.pop() {
                    Some(event) => Poll::Ready(Step::Event(event)),
                    None => Poll::Pending,
                };
            };
            self.call.outbox.close();
            let id = Some(&self.call.id);
            self.outcome = Some(match outcome {
                Ok(outcome) => Some(match &self.call.audience {
                    Audience::Request(questions) => {
                        sessionless::finished(&self.call.front, &self.call.id, &questions.subject, outcome)
                    }
                    Audience::Session(_) | Audience::Stray => Answer::new(id, outcome),
                }),
                Err(Cause::Client) => None,
                Err(Cause::SessionEnded) => Some(Answer::error(id, &cancelled("its session has ended"))),
                Err(Cause::Shutdown) => Some(Answer::error(id, &cancelled("the proxy is shutting down"))),
            });
        }
        // What was said before the answer comes before it on the wire.
        match self.call.outbox.pop() {
            Some(event) => Poll::Ready(Step::Event(event)),
            None => Poll::Ready(Step::Done(self.outcome.take().flatten())),
        }
    }

    /// Lets the call go on without its client, for a while. False when it cannot.
    fn hand_over(&self) -> bool {
        let front = &self.call.front;
        let resume = front.options.session.resume;
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return false;
        };
        // Without a session nobody could ever resume it.
        if self.orphan || resume.is_zero() || self.session.is_none() || !self.call.is_unfinished() {
            return false;
        }
        if front.orphans.fetch_add(1, Ordering::Relaxed) >= MAX_ORPHANS {
            front.orphans.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let orphan = Self {
            call: self.call.clone(),
            session: self.session.clone(),
            outcome: None,
            orphan: true,
        };
        orphan.call.outbox.close();
        let task = async move {
            let end = poll_fn(|cx| {
                // Registers the task for a cancellation; a closed outbox holds nothing that matters.
                while let Poll::Ready(Some(_)) = orphan.call.outbox.poll_next(cx) {}
                orphan.call.poll_reply(cx).map(drop)
            });
            if tokio::time::timeout(resume, end).await.is_err() {
                tracing::debug!("a call whose client has disconnected was cancelled");
            }
        };
        front.tasks.spawn_on(task, &runtime);
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.hand_over() {
            return;
        }
        let front = &self.call.front;
        // Also breaks the circle of the future, its client handle and the state that holds the future.
        self.call.reap();
        self.call.outbox.close();
        table(front, self.session.as_ref()).leave(&self.call);
        if let Some(session) = &self.session {
            session.end(&front.sessions);
        }
        if self.orphan {
            front.orphans.fetch_sub(1, Ordering::Relaxed);
        }
        if front.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            front.idle.notify_waiters();
        }
    }
}

/// The error for a call that was cancelled, and why.
pub(super) fn cancelled(why: &str) -> RpcError {
    let message = format!("the call was cancelled: {why}");
    let data = serde_json::json!({ "reason": "cancelled" });
    RpcError::with_data(codes::CANCELLED, &message, &data)
}

fn table<'a>(front: &'a Inner, session: Option<&'a Arc<Entry>>) -> &'a CallTable {
    session.map_or(&front.strays, |session| &session.calls)
}
