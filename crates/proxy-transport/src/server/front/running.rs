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
use super::questions::{Interruption, Questions};
use super::session::Entry;
use super::sessionless::{self, Subject, Suspended};
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
    fn reap(&self) {
        let future = match self.future.try_lock() {
            Ok(mut slot) => slot.take(),
            Err(TryLockError::Poisoned(slot)) => slot.into_inner().take(),
            Err(TryLockError::WouldBlock) => None,
        };
        drop(future);
    }

    /// Goes on with the call. Only one task at a time may.
    pub(super) fn poll_reply(&self, cx: &mut Context<'_>) -> Poll<Result<Result<Reply, Error>, Cause>> {
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

    /// Whether a session's client has asked to read this. Log messages have levels; anything else is wanted.
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
            Audience::Request(_) | Audience::Stray => false,
        }
    }

    fn is_unfinished(&self) -> bool {
        lock(&self.future).is_some()
    }
}

impl ClientPort for CallState {
    fn notify(&self, message: Interim) -> bool {
        if !self.outbox.is_open() {
            return false;
        }
        let message = match &self.audience {
            Audience::Request(questions) => match questions.admit(message) {
                Some(message) => message,
                None => return false,
            },
            Audience::Session(_) | Audience::Stray if self.wants(&message) => message,
            Audience::Session(_) | Audience::Stray => return false,
        };
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
        let is_allowed = || self.declared.allows(self.version, &method, &params).is_ok();
        match &self.audience {
            Audience::Request(questions) => {
                let asked = questions.ask(method, params);
                self.outbox.wake();
                asked
            }
            Audience::Session(entry) if is_allowed() => ask::in_call(entry, &self.me, &method, &params),
            Audience::Stray if is_allowed() => ask::unasked(ask::gone("the client cannot be asked outside a session")),
            Audience::Session(_) | Audience::Stray => Box::pin(std::future::ready(Ok(ask::undeclared()))),
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
    /// The request that is answered, where it is not the one that began the call.
    id: Option<RequestId>,
    /// Set once the call has been suspended: then a task of its own drives it.
    held: Option<Arc<Suspended>>,
    /// The call goes on, and another response will end it.
    parted: bool,
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
                let subject = Subject::new(&request.method, &request.params, &context);
                Audience::Request(Questions::new(subject, &context))
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
            id: None,
            held: None,
            parted: false,
        };
        let mut call = Call::new(request.method).with_params(request.params);
        call.context = context;
        call.client = ClientHandle::new(running.call.clone());
        let future = front.app.service().call(call);
        *lock(&running.call.future) = Some(future);
        Ok(running)
    }

    /// Goes on with a suspended call, for the request `id`.
    pub(super) fn resume(held: &Arc<Suspended>, id: RequestId) -> Self {
        let call = held.call().clone();
        call.front.running.fetch_add(1, Ordering::SeqCst);
        Self {
            call,
            session: None,
            outcome: None,
            orphan: false,
            id: Some(id),
            held: Some(held.clone()),
            parted: false,
        }
    }

    /// The id of the request that is answered.
    pub(super) fn id(&self) -> &RequestId {
        self.id.as_ref().unwrap_or(&self.call.id)
    }

    /// Goes on with the call. After [`Step::Done`] nothing more comes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        // Also registers the task for messages and cancellation.
        if let Poll::Ready(Some(event)) = self.call.outbox.poll_next(cx) {
            return Poll::Ready(Step::Event(event));
        }
        if self.outcome.is_none() {
            let polled = match &self.held {
                None => self.call.poll_reply(cx),
                Some(held) => held.poll_outcome(),
            };
            let Poll::Ready(outcome) = polled else {
                return match self.call.outbox.pop() {
                    Some(event) => Poll::Ready(Step::Event(event)),
                    None => self.interrupted(),
                };
            };
            self.call.outbox.close();
            let id = self.id();
            self.outcome = Some(match outcome {
                Ok(outcome) => Some(match &self.call.audience {
                    Audience::Request(questions) => match questions.interruption() {
                        // Refusing its question has made the backend give up.
                        Some(Interruption::Lacking(missing)) => sessionless::lacking(id, &missing),
                        Some(Interruption::Asked(_)) | None => {
                            sessionless::finished(&self.call.front, id, questions, outcome)
                        }
                    },
                    Audience::Session(_) | Audience::Stray => Answer::new(Some(id), outcome),
                }),
                Err(Cause::Client) => None,
                Err(Cause::SessionEnded) => Some(Answer::error(Some(id), &cancelled("its session has ended"))),
                Err(Cause::Shutdown) => Some(Answer::error(Some(id), &cancelled("the proxy is shutting down"))),
            });
        }
        // What was said before the answer comes before it on the wire.
        match self.call.outbox.pop() {
            Some(event) => Poll::Ready(Step::Event(event)),
            None => Poll::Ready(Step::Done(self.outcome.take().flatten())),
        }
    }

    /// Ends the response where a backend has asked something of a client without a session.
    fn interrupted(&mut self) -> Poll<Step> {
        let Some(questions) = self.call.questions() else {
            return Poll::Pending;
        };
        let id = self.id.as_ref().unwrap_or(&self.call.id);
        let answer = match questions.interruption() {
            None => return Poll::Pending,
            Some(Interruption::Lacking(missing)) => Err(sessionless::lacking(id, &missing)),
            Some(Interruption::Asked(requests)) => {
                self.call.outbox.close();
                sessionless::suspend(&self.call, &mut self.held, questions, id, &requests)
            }
        };
        self.parted = answer.is_ok();
        if answer.is_err() {
            self.call.cancel(Cause::Client);
        }
        Poll::Ready(Step::Done(Some(answer.unwrap_or_else(|refusal| refusal))))
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
            id: None,
            held: None,
            parted: false,
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
        match (&self.session, &self.held) {
            (Some(session), _) => {
                // Also breaks the circle of the future, its client handle and the state that holds the future.
                self.call.reap();
                self.call.outbox.close();
                session.calls.leave(&self.call);
                session.end(&front.sessions);
            }
            (None, _) if self.parted => {}
            (None, Some(held)) => held.end(Cause::Client),
            (None, None) => self.call.part(),
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
