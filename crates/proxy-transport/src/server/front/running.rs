//! [`Running`]: one call from its start to its answer, whoever waits for it.
//!
//! When the response is dropped before the call has ended, the call moves to a task of its own, see [`orphan`].

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use mcp_proxy_core::json::{Request, RequestId};
use mcp_proxy_core::{Call, ClientHandle, RpcError, codes};

use super::answer::Answer;
use super::calls::{CallTable, NotEntered};
use super::questions::{Interruption, Questions};
use super::session::Entry;
use super::sessionless::{self, Subject, Suspended};
use super::state::{Audience, CallState, Cause, Ways};
use super::stream::Stream;
use super::{Inner, lock, orphan};

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
        let call = CallState::new(request.id, ways, front, audience, &context);
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
