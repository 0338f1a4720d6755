//! Questions of the backend to a client: whose they are, and the task that waits for each answer.
//!
//! A question is tied to the calls that may have caused it. When the last of them ends it is withdrawn from the client
//! and its id answered with an error; while it is open, those calls' idle limits stand still.

use std::sync::Arc;

use mcp_proxy_core::json::{RawJson, Request, RequestId};
use mcp_proxy_core::{Asked, Reply, codes};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::link::{Era, Link};
use crate::client::questions;

/// The questions that are open on a connection.
#[derive(Default)]
pub(super) struct Open(Vec<Question>);

struct Question {
    id: RequestId,
    /// The calls that may have caused it; empty for one that a client's own backend asks outside calls.
    calls: Vec<u64>,
    end: oneshot::Sender<End>,
}

impl Open {
    pub(super) fn contains(&self, id: &RequestId) -> bool {
        self.0.iter().any(|open| open.id == *id)
    }

    /// Whether one of them is about a call.
    pub(super) fn are_about(&self, call: u64) -> bool {
        self.0.iter().any(|open| open.calls.contains(&call))
    }

    /// Notes a question; `end` is told when it ends early.
    pub(super) fn add(&mut self, id: RequestId, calls: Vec<u64>, end: oneshot::Sender<End>) {
        self.0.push(Question { id, calls, end });
    }

    /// Forgets a question that was answered; the calls it was about.
    pub(super) fn close(&mut self, id: &RequestId) -> Vec<u64> {
        let at = self.0.iter().position(|open| open.id == *id);
        at.map(|at| self.0.swap_remove(at).calls).unwrap_or_default()
    }

    /// Ends a question that the backend takes back; the calls it was about.
    pub(super) fn withdraw(&mut self, id: &RawJson) -> Vec<u64> {
        let at = self.0.iter().position(|open| open.id.as_bytes() == id.as_bytes());
        let Some(at) = at else { return Vec::new() };
        let question = self.0.swap_remove(at);
        // It fails when it is being answered at this very moment.
        let _ = question.end.send(End::Withdrawn);
        question.calls
    }

    /// A call has ended, and with it the questions that can be about no other.
    pub(super) fn call_ended(&mut self, call: u64) {
        for at in (0..self.0.len()).rev() {
            let calls = &mut self.0[at].calls;
            let tied = calls.len();
            calls.retain(|id| *id != call);
            if calls.is_empty() && tied > 0 {
                // It fails when it is being answered at this very moment.
                let _ = self.0.swap_remove(at).end.send(End::CallsOver);
            }
        }
    }
}

/// Why a question ended before it was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The calls it was about have ended.
    CallsOver,
    /// The backend wants no answer any more.
    Withdrawn,
}

/// What becomes of a question.
pub(super) enum Verdict {
    /// A client is asked.
    Ask { asked: Asked, end: oneshot::Receiver<End> },
    /// It is answered at once.
    Answer(Reply),
    /// Its id is that of a question which is open: an answer would be taken for the other's.
    Repeated,
}

/// The questions of one connection. Dropping it withdraws them all.
pub(super) struct Asking {
    link: Arc<Link>,
    tasks: JoinSet<()>,
}

impl Asking {
    pub(super) fn new(link: Arc<Link>) -> Self {
        let tasks = JoinSet::new();
        Self { link, tasks }
    }

    /// Deals with a request of the backend. The answer that can be given at once; `None` when there will be one later,
    /// or none.
    pub(super) fn take(&mut self, request: Request) -> Option<Reply> {
        if let Some(Era::Sessionless(_)) = self.link.era() {
            // There, a server asks by its results only.
            return Some(questions::foreign());
        }
        if let Some(reply) = questions::without_client(&request.method) {
            return Some(reply);
        }
        if self.tasks.len() >= MAX_QUESTIONS {
            return Some(questions::too_many());
        }
        let id = request.id.detached();
        match self.link.attribute(&id, request.method, request.params) {
            Verdict::Ask { asked, end } => {
                self.tasks.spawn(wait(self.link.clone(), id, asked, end));
                None
            }
            Verdict::Answer(reply) => Some(reply),
            Verdict::Repeated => None,
        }
    }

    /// Waits for the end of a question; for ever when none is open.
    pub(super) async fn reap(&mut self) {
        if self.tasks.join_next().await.is_none() {
            std::future::pending().await
        }
    }
}

/// Waits for the client's answer and passes it on.
async fn wait(link: Arc<Link>, id: RequestId, asked: Asked, end: oneshot::Receiver<End>) {
    let reply = tokio::select! {
        biased;
        asked = timeout(questions::LONGEST_QUESTION, asked) => match asked {
            Ok(asked) => Some(questions::outcome(asked)),
            Err(_) => Some(Reply::error(codes::TIMEOUT, "the client did not answer in time")),
        },
        end = end => match end {
            Ok(End::CallsOver) => Some(Reply::error(codes::CANCELLED, "the call this is about has ended")),
            // Or the connection is closed.
            Ok(End::Withdrawn) | Err(_) => None,
        },
    };
    link.close_question(&id);
    if let Some(reply) = reply
        && !link.tell(questions::response(&id, &reply))
    {
        tracing::debug!(backend = %link.options.name, "a client's answer could not be sent: the backend does not read");
    }
}

/// Questions that are open at the same time on one connection.
const MAX_QUESTIONS: usize = 64;
