//! Questions of a backend that wait for a client's answer.
//!
//! Whoever reads the stream that they came on polls them along with it, so no question keeps the next from being read,
//! and none outlives its reader. Each answer is a POST of its own on the session that the question came from.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use mcp_proxy_core::json::{Notification, RequestId, Slot};
use mcp_proxy_core::{Asked, Error, ErrorKind, Reply};

use super::super::questions::{self, LONGEST_QUESTION};
use super::core::Core;
use super::exchange::tell;
use super::session::Upstream;

/// The open questions of one stream, and the answers on their way. Dropping it withdraws the questions; answers that
/// are on their way still arrive.
pub(super) struct Asking {
    core: Weak<Core>,
    open: Vec<Question>,
    posts: Vec<Post>,
}

struct Question {
    id: RequestId,
    answer: Pin<Box<dyn Future<Output = Reply> + Send>>,
}

type Post = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Asking {
    /// Nothing asked yet; this allocates nothing.
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self {
            core: Arc::downgrade(core),
            open: Vec::new(),
            posts: Vec::new(),
        }
    }

    /// Whether a client is thinking about a question.
    pub(super) fn is_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether one more question finds room.
    pub(super) fn has_room(&self) -> bool {
        self.open.len() + self.posts.len() < MAX_QUESTIONS
    }

    /// Waits for the answer to the backend's request `id`.
    pub(super) fn add(&mut self, id: &RequestId, asked: Asked) {
        let answer = async {
            let asked = tokio::time::timeout(LONGEST_QUESTION, asked).await;
            questions::outcome(asked.unwrap_or_else(|_| Err(unanswered())))
        };
        self.open.push(Question {
            // Kept for as long as a user thinks, so not with the buffer that it came in.
            id: id.detached(),
            answer: Box::pin(answer),
        });
    }

    /// The backend does not want to know any more (`notifications/cancelled`). False when it asked no such thing.
    pub(super) fn withdraw(&mut self, cancelled: &Notification) -> bool {
        let id = cancelled.params.text(Slot::RequestId);
        let before = self.open.len();
        self.open.retain(|question| Some(question.id.as_bytes().as_ref()) != id);
        self.open.len() < before
    }

    /// Goes on with questions and answers. `upstream` gives the session that answers go to; when it is gone, they are
    /// nobody's.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, upstream: impl Fn() -> Option<Arc<Upstream>>) {
        let mut at = 0;
        while at < self.open.len() {
            let Poll::Ready(reply) = self.open[at].answer.as_mut().poll(cx) else {
                at += 1;
                continue;
            };
            let question = self.open.swap_remove(at);
            if let (Some(core), Some(upstream)) = (self.core.upgrade(), upstream()) {
                let body = questions::response(&question.id, &reply);
                self.posts.push(Box::pin(post(core, upstream, body)));
            }
        }
        self.posts.retain_mut(|post| post.as_mut().poll(cx).is_pending());
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut posts = std::mem::take(&mut self.posts);
        if let Some(core) = self.core.upgrade().filter(|_| !posts.is_empty()) {
            core.errand(poll_fn(move |cx| {
                posts.retain_mut(|post| post.as_mut().poll(cx).is_pending());
                if posts.is_empty() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            }));
        }
    }
}

/// Answers a request of the backend in the background.
pub(super) fn answer(core: &Arc<Core>, upstream: &Arc<Upstream>, id: &RequestId, reply: &Reply) {
    let body = questions::response(id, reply);
    core.errand(post(core.clone(), upstream.clone(), body));
}

async fn post(core: Arc<Core>, upstream: Arc<Upstream>, body: Bytes) {
    // A backend that cannot be told has patience of its own, or its call breaks off as well.
    if tell(&core, &upstream, body).await.is_err() {
        tracing::debug!("an answer to a question of a backend was not delivered");
    }
}

fn unanswered() -> Error {
    Error::new(
        ErrorKind::Timeout { sent: true },
        "the client did not answer the question in time",
    )
}

/// Questions of one stream that are open at once. One more is refused.
const MAX_QUESTIONS: usize = 64;
