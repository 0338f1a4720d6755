//! [`Calls`]: the calls of one conversation, each in a task that says what comes of it.

use std::future::poll_fn;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::server::front::answer::Answer;
use crate::server::front::job::Job;
use crate::server::front::running::Step;

/// The running calls. Dropping it drops them.
pub(super) struct Calls {
    tasks: JoinSet<()>,
    say: mpsc::Sender<Answer>,
}

impl Calls {
    /// None yet. What they say goes to `say`.
    pub(super) fn new(say: mpsc::Sender<Answer>) -> Self {
        Self {
            tasks: JoinSet::new(),
            say,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Runs a call that was begun.
    pub(super) fn run(&mut self, job: Job) {
        self.tasks.spawn(carry(job, self.say.clone()));
    }

    /// Waits until a call has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(super) async fn ended(&mut self) {
        if let Some(Err(error)) = self.tasks.join_next().await
            && !error.is_cancelled()
        {
            tracing::error!(%error, "a call failed inside the proxy");
        }
    }

    /// Drops all that still run.
    pub(super) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// Says what comes of a call, in its order.
async fn carry(mut job: Job, say: mpsc::Sender<Answer>) {
    loop {
        let message = match poll_fn(|cx| job.poll(cx)).await {
            Step::Event(line) => Answer::text(line),
            Step::Done(answer) => {
                // Ended before its answer is on the wire, so that the client may use the id again at once.
                drop(job);
                // A cancelled call is not answered.
                if let Some(answer) = answer {
                    let _ = say.send(answer).await;
                }
                return;
            }
        };
        if say.send(message).await.is_err() {
            return;
        }
    }
}
