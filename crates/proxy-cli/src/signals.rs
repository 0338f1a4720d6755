//! The signals that ask a process to stop: the first politely, the second at once.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::output::Failure;

impl Signals {
    /// Does what `work` makes of a future that ends with the first signal.
    ///
    /// # Errors
    /// `Interrupted` when a second signal came before the work was done.
    pub(crate) async fn stop<W: Future<Output = ()>>(mut self, work: impl FnOnce(Asked) -> W) -> Result<(), Failure> {
        let first = Arc::new(Notify::new());
        let asked = Arc::clone(&first);
        let twice = async move {
            self.next().await;
            tracing::info!("stopping; a second signal stops at once");
            asked.notify_one();
            self.next().await;
        };
        tokio::select! {
            () = work(Box::pin(async move { first.notified().await })) => Ok(()),
            () = twice => Err(Failure::Interrupted),
        }
    }
}

/// Ends with the first signal.
pub(crate) type Asked = std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// The signals that ask a process to stop.
#[cfg(unix)]
pub(crate) struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Listens from now on.
    pub(crate) fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(|error| Failure::new(format!("cannot listen for signals: {error}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Elsewhere there is Ctrl-C.
#[cfg(not(unix))]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Listens from now on.
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
