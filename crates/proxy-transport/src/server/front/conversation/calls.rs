//! [`Calls`]: what runs for one conversation, each call in a task that says what comes of it.

use std::future::poll_fn;
use std::sync::Arc;

use hashbrown::HashMap;
use mcp_proxy_core::Method;
use mcp_proxy_core::json::{Notification, Params, Request, RequestId};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, Id, JoinSet};

use crate::server::front::answer::Answer;
use crate::server::front::calls::MAX_CALLS;
use crate::server::front::job::Job;
use crate::server::front::running::Step;
use crate::server::front::sessionless::{self, Begun, Stream};
use crate::server::front::{Inner, outbox};

/// What runs. Dropping it drops all of it.
pub(super) struct Calls {
    tasks: JoinSet<()>,
    /// Requests of the sessionless era by id; those of a session are in the session's own table.
    requests: HashMap<RequestId, AbortHandle>,
    ids: HashMap<Id, RequestId>,
    say: mpsc::Sender<Answer>,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// One of that id is running.
    Duplicate,
    /// Too many are running.
    Full,
}

impl Calls {
    /// None yet. What they say goes to `say`.
    pub(super) fn new(say: mpsc::Sender<Answer>) -> Self {
        Self {
            tasks: JoinSet::new(),
            requests: HashMap::new(),
            ids: HashMap::new(),
            say,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Runs a call of a session that was begun.
    pub(super) fn run(&mut self, job: Job) {
        let say = self.say.clone();
        self.tasks.spawn(async move {
            // The receiver is gone only when all of this ends.
            let _ = carry(job, &say).await;
        });
    }

    /// Runs a request of the sessionless era.
    pub(super) fn request(&mut self, front: &Arc<Inner>, request: Request) -> Result<(), (NotTaken, RequestId)> {
        if self.requests.contains_key(&request.id) {
            return Err((NotTaken::Duplicate, request.id));
        }
        if self.tasks.len() >= MAX_CALLS {
            return Err((NotTaken::Full, request.id));
        }
        let id = request.id.detached();
        let (front, say) = (front.clone(), self.say.clone());
        let task = self.tasks.spawn(async move {
            // As above.
            let _ = serve(&front, request, &say).await;
        });
        self.ids.insert(task.id(), id.clone());
        self.requests.insert(id, task);
        Ok(())
    }

    /// Drops the request of the sessionless era that has this id; false when there is none.
    pub(super) fn cancel(&mut self, id: &[u8]) -> bool {
        let found = self.requests.iter().find(|(other, _)| other.as_bytes() == id);
        found.is_some_and(|(_, task)| {
            task.abort();
            true
        })
    }

    /// Waits until something has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn ended(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            None => return,
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => {
                if !error.is_cancelled() {
                    tracing::error!(%error, "a call failed inside the proxy");
                }
                error.id()
            }
        };
        if let Some(id) = self.ids.remove(&id) {
            self.requests.remove(&id);
        }
    }

    /// Drops all that still runs.
    pub(super) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// Nobody reads any more.
struct Gone;

async fn say(message: Answer, to: &mpsc::Sender<Answer>) -> Result<(), Gone> {
    to.send(message).await.map_err(|_| Gone)
}

/// Says what comes of a call, in its order.
async fn carry(mut job: Job, to: &mpsc::Sender<Answer>) -> Result<(), Gone> {
    loop {
        match poll_fn(|cx| job.poll(cx)).await {
            Step::Event(line) => say(Answer::text(line), to).await?,
            Step::Done(answer) => {
                // Ended before its answer is on the wire, so that the client may use the id again at once.
                drop(job);
                // A cancelled call is not answered.
                return match answer {
                    Some(answer) => say(answer, to).await,
                    None => Ok(()),
                };
            }
        }
    }
}

/// Serves a request of the sessionless era.
async fn serve(front: &Arc<Inner>, request: Request, to: &mpsc::Sender<Answer>) -> Result<(), Gone> {
    let id = request.id.clone();
    match sessionless::begin(front, None, request, true).await {
        Begun::Now(answer) => say(answer, to).await,
        Begun::Later(running) => carry(Job::One(running), to).await,
        Begun::Listens(stream) => listen(stream, &id, to).await,
    }
}

/// Says what a client has asked to hear of. Over HTTP a stream that ends early ends with the response; here it has to be
/// said.
async fn listen(mut stream: Stream, id: &RequestId, to: &mpsc::Sender<Answer>) -> Result<(), Gone> {
    while let Some(line) = poll_fn(|cx| stream.poll_line(cx)).await {
        say(Answer::text(line), to).await?;
    }
    if stream.is_finished() {
        return Ok(());
    }
    let about = [br#"{"requestId":"#, &id.as_bytes()[..], b"}"].concat();
    let params = Params::parse(about).unwrap_or_default();
    let cancelled = Notification {
        method: Method::Cancelled,
        params,
    };
    say(Answer::text(outbox::text(&cancelled)), to).await
}
