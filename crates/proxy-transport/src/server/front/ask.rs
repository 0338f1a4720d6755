//! Asking a client of the session era: a request on one of its streams, answered by a POST of its own.
//!
//! A question belongs to the session, not to the stream it went out on: whichever connection the answer comes by, it is
//! found by its id, which is ours and never used twice. Dropping the future of a question withdraws it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use mcp_proxy_core::json::Params;
use mcp_proxy_core::{Asked, Error, ErrorKind, Method, Reply, codes};
use tokio::sync::oneshot;
use tokio::time::Sleep;

use super::lock;
use super::outbox;
use super::session::Entry;
use super::state::CallState;
use super::stream::Stream;
use super::streams::Reach;

/// Most questions that wait for their answers in one session.
pub(super) const MAX_OPEN: usize = 64;
/// How long a question waits. People are slow, but a form that nobody looks at any more must not hold a call forever.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);

/// Ids begin here, far from the small numbers that clients count their own requests with: a cancellation then means one
/// or the other.
const FIRST_ID: u64 = 1_000_000_000;

type Outcome = Result<Reply, Error>;

/// The questions of one session that wait for an answer.
#[derive(Default)]
pub(super) struct Asking(Mutex<Table>);

#[derive(Default)]
struct Table {
    last: u64,
    open: Vec<(u64, oneshot::Sender<Outcome>)>,
    ended: bool,
}

impl Asking {
    fn enter(&self) -> Result<(u64, oneshot::Receiver<Outcome>), Error> {
        let mut table = lock(&self.0);
        if table.ended {
            return Err(gone("the client's session has ended"));
        }
        if table.open.len() >= MAX_OPEN {
            let message = "the client has too many questions to answer";
            return Err(Error::new(ErrorKind::Overloaded, message));
        }
        let (sender, receiver) = oneshot::channel();
        table.last += 1;
        let id = FIRST_ID + table.last;
        table.open.push((id, sender));
        Ok((id, receiver))
    }

    /// Ends a question. False when it is not open: unknown, answered before, or withdrawn.
    pub(super) fn settle(&self, id: u64, outcome: Outcome) -> bool {
        // A question whose future is being dropped at this moment takes no answer.
        self.take(id).is_some_and(|sender| sender.send(outcome).is_ok())
    }

    /// The client wants nothing more of a question. The id is JSON text.
    pub(super) fn refuse(&self, id: &[u8]) {
        let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
        if let Some(id) = id {
            self.settle(id, Err(gone("the client does not answer this question")));
        }
    }

    fn take(&self, id: u64) -> Option<oneshot::Sender<Outcome>> {
        let mut table = lock(&self.0);
        let at = table.open.iter().position(|(open, _)| *open == id)?;
        let (_, sender) = table.open.swap_remove(at);
        // Most sessions are asked once in a while, and idle longer.
        if table.open.is_empty() {
            table.open = Vec::new();
        }
        Some(sender)
    }

    /// Ends all questions, and takes no more.
    pub(super) fn close(&self) {
        let open = {
            let mut table = lock(&self.0);
            table.ended = true;
            std::mem::take(&mut table.open)
        };
        drop(open);
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.0).open.len()
    }
}

/// Asks on the stream of the call that caused the question, else on the session's own.
pub(super) fn in_call(
    entry: &Arc<Entry>,
    call: &Weak<CallState>,
    reach: Reach,
    method: &Method,
    params: &Params,
) -> Asked {
    ask(entry, Some(call), reach, method, params)
}

/// Asks on the session's own stream, when its client may be asked this.
pub(super) fn outside(entry: &Arc<Entry>, reach: Reach, method: &Method, params: &Params) -> Asked {
    let session = &entry.session;
    match session.declared.allows(session.version, method, params) {
        Ok(()) => ask(entry, None, reach, method, params),
        Err(_) => Box::pin(std::future::ready(Ok(undeclared()))),
    }
}

/// What a backend hears that asks more than its client declared.
pub(super) fn undeclared() -> Reply {
    Reply::error(
        codes::METHOD_NOT_FOUND,
        "the client did not declare that it can be asked this",
    )
}

/// A question that failed before it was asked.
pub(super) fn unasked(error: Error) -> Asked {
    Box::pin(std::future::ready(Err(error)))
}

fn ask(entry: &Arc<Entry>, call: Option<&Weak<CallState>>, reach: Reach, method: &Method, params: &Params) -> Asked {
    let (id, answer) = match entry.asking.enter() {
        Ok(entered) => entered,
        Err(error) => return unasked(error),
    };
    let text = outbox::question(id, method, params);
    let in_call = call.filter(|call| call.upgrade().is_some_and(|call| call.put(text.clone())));
    let way = match in_call {
        Some(call) => Some(Way::Call(call.clone())),
        None => entry.streams.send(&text, false, reach).map(Way::Own),
    };
    let Some(way) = way else {
        entry.asking.take(id);
        return unasked(gone("the client has no stream on which it can be asked"));
    };
    Box::pin(Question {
        id,
        answer,
        patience: Box::pin(tokio::time::sleep(PATIENCE)),
        entry: entry.clone(),
        way,
    })
}

/// Where a question went, and where its withdrawal goes.
enum Way {
    /// The stream of the call. Weak: the call's own future holds the question.
    Call(Weak<CallState>),
    /// A stream of the session's own.
    Own(Arc<Stream>),
}

impl Way {
    fn withdraw(&self, text: Bytes) {
        match self {
            Self::Call(call) => {
                if let Some(call) = call.upgrade() {
                    call.withdraw(text);
                }
            }
            Self::Own(stream) => {
                stream.push(text, false);
            }
        }
    }
}

/// One question on its way. Dropped before its end, it is withdrawn.
struct Question {
    id: u64,
    answer: oneshot::Receiver<Outcome>,
    patience: Pin<Box<Sleep>>,
    entry: Arc<Entry>,
    way: Way,
}

impl Future for Question {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        if let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(cx) {
            return Poll::Ready(answer.unwrap_or_else(|_| Err(gone("the client's session has ended"))));
        }
        ready!(self.patience.as_mut().poll(cx));
        self.withdraw("nobody answered in time");
        let message = "the client did not answer the question in time";
        Poll::Ready(Err(Error::new(ErrorKind::Timeout { sent: true }, message)))
    }
}

impl Question {
    fn withdraw(&self, reason: &str) {
        if self.entry.asking.take(self.id).is_none() {
            return;
        }
        self.way.withdraw(outbox::withdrawal(self.id, reason));
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.withdraw("the answer is no longer needed");
    }
}

/// The error for a client that cannot be asked, or is gone.
pub(super) fn gone(why: &'static str) -> Error {
    Error::new(ErrorKind::Cancelled, why)
}
