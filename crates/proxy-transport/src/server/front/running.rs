//! [`Running`]: one call from its start to its answer, whoever waits for it.
//!
//! The call's future lives in [`CallState`], which the session's table, the client handle and the response share. So a
//! cancellation drops the future at once, also while a slow reader keeps the response body from being polled.
//!
//! When the response is dropped before the call has ended, the call moves to a task of its own, see [`orphan`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, TryLockError, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use mcp_proxy_core::json::{Params, Request, RequestId};
use mcp_proxy_core::{
    Asked, Call, CallFuture, ClientHandle, ClientPort, Declared, Error, Interim, Method, ProtocolVersion, Reply,
    RpcError, codes,
};

use super::answer::Answer;
use super::calls::{CallTable, NotEntered};
use super::outbox::{self, Outbox, Push};
use super::questions::{Interruption, Questions};
use super::session::Entry;
use super::sessionless::{self, Subject, Suspended};
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
    id: RequestId,
    future: Mutex<Option<CallFuture>>,
    /// 0, or a [`Cause`].
    cause: AtomicU8,
    ways: Ways,
    /// For [`Ways::Poller`]; in any case whom to wake when the call is cancelled.
    outbox: Outbox,
    /// For [`Ways::Stream`], once there is a message or a long silence.
    stream: OnceLock<Arc<Stream>>,
    /// The call goes on in a task of its own; the response that it was part of has no say any more.
    handed: AtomicBool,
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

    fn open_stream(&self, entry: &Entry) -> &Arc<Stream> {
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
    fn reap(&self) {
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
    fn claim(&self, wait: bool) -> bool {
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
    /// The end was told to whoever polls.
    done: bool,
    /// This is the task of a call that was handed over.
    orphan: bool,
    /// The request that is answered, where it is not the one that began the call.
    id: Option<RequestId>,
    /// Set once the call has been suspended: then a task of its own drives it.
    held: Option<Arc<Suspended>>,
    /// The call goes on, and another response will end it.
    parted: bool,
}

impl Running {
    /// Starts a call. `ways` says where interim messages go.
    pub(super) fn start(
        front: &Arc<Inner>,
        session: Option<Arc<Entry>>,
        request: Request,
        ways: Ways,
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
            ways,
            outbox: Outbox::new(ways != Ways::Closed),
            stream: OnceLock::new(),
            handed: AtomicBool::new(false),
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
            done: false,
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
            done: false,
            orphan: false,
            id: Some(id),
            held: Some(held.clone()),
            parted: false,
        }
    }

    /// Takes a call away from its response, for a task of its own; `None` when it has ended, or went before. Unless told
    /// to `wait`, also when it is being polled at this moment.
    pub(super) fn orphan(call: &Arc<CallState>, wait: bool) -> Option<Self> {
        if !call.claim(wait) {
            return None;
        }
        // Without a stream there is none whose number the client could know.
        call.outbox.close();
        Some(Self {
            call: call.clone(),
            session: call.session().cloned(),
            outcome: None,
            done: false,
            orphan: true,
            id: None,
            held: None,
            parted: false,
        })
    }

    /// The call.
    pub(super) fn call(&self) -> &CallState {
        &self.call
    }

    /// The stream for its messages, and the session; `None` when it has no use for one.
    pub(super) fn open_stream(&self) -> Option<(Arc<Stream>, Arc<Entry>)> {
        match &self.call.audience {
            Audience::Session(entry) if self.call.ways == Ways::Stream => {
                Some((self.call.open_stream(entry).clone(), entry.clone()))
            }
            _ => None,
        }
    }

    /// The id of the request that is answered.
    pub(super) fn id(&self) -> &RequestId {
        self.id.as_ref().unwrap_or(&self.call.id)
    }

    /// Goes on with the call. After [`Step::Done`] nothing more comes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        // Also registers the task for messages and cancellation.
        let event = match self.session {
            Some(_) => self.call.outbox.pop(),
            None => match self.call.outbox.poll_next(cx) {
                Poll::Ready(event) => event,
                Poll::Pending => None,
            },
        };
        if let Some(event) = event {
            return Poll::Ready(Step::Event(event));
        }
        if self.outcome.is_none() {
            let polled = match &self.held {
                None => self.call.poll_reply(cx, self.orphan),
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
            None => {
                self.done = true;
                Poll::Ready(Step::Done(self.outcome.take().flatten()))
            }
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
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.orphan && orphan::hand_over(&self.call) {
            return;
        }
        let front = &self.call.front;
        match (&self.session, &self.held) {
            (Some(session), _) => {
                // Also breaks the circle of the future, its client handle and the state that holds the future.
                self.call.reap();
                self.call.outbox.close();
                session.calls.leave(&self.call);
                if let (false, Some(stream)) = (self.done, self.call.stream()) {
                    // Nobody will ever write its end.
                    session.streams.forget(stream);
                    stream.close();
                }
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
