//! Shutting down: no new calls, time for the running ones, a polite end for all streams.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::state::Cause;
use super::{Front, Inner};

/// How long cancelled calls get to say so.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Front {
    /// Ends everything by `deadline`: new calls are refused at once, standalone streams end, running calls may finish.
    /// Those that have not are then cancelled and answered with a JSON-RPC error, and all sessions end.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting; what was refused stays refused. Calling it again goes on.
    pub async fn drain(&self, deadline: Instant) {
        let front = &*self.0;
        front.draining.store(true, Ordering::SeqCst);
        for entry in front.sessions.all() {
            entry.streams.close(false);
        }
        front.listeners.finish(front);
        // Nobody can come back to them any more.
        front.suspensions.close();
        front.wait_for_calls(deadline).await;
        front.strays.close(Cause::Shutdown);
        for entry in front.sessions.all() {
            entry.calls.close(Cause::Shutdown);
        }
        front.wait_for_calls(Instant::now() + LAST_WORDS).await;
        for entry in front.sessions.all() {
            front.remove(&entry, Cause::Shutdown);
        }
        front.stop.cancel();
        front.tasks.close();
        if tokio::time::timeout(LAST_WORDS, front.tasks.wait()).await.is_err() {
            tracing::warn!("calls without a client outlived the shutdown");
        }
    }
}

impl Inner {
    async fn wait_for_calls(&self, deadline: Instant) {
        let none = async {
            loop {
                let idle = self.idle.notified();
                if self.running.load(Ordering::SeqCst) == 0 {
                    return;
                }
                idle.await;
            }
        };
        // Whether they ended or not, what comes next is the same.
        let _ = tokio::time::timeout_at(deadline, none).await;
    }
}
