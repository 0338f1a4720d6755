//! Where calls for a backend end: straight at its peer, or waiting for one that is being connected.

use std::sync::Arc;
use std::task::{Context, Poll};

use mcp_proxy_core::{Call, CallFuture, Error, ErrorKind, Reply};
use tower::Service;

use super::{Phase, Shared};

/// The service of one [`Backend`](super::Backend).
#[derive(Clone)]
pub struct BackendService {
    shared: Arc<Shared>,
}

impl BackendService {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl Service<Call> for BackendService {
    type Response = Reply;
    type Error = Error;
    /// The peer's own future: nothing is added on the way.
    type Future = CallFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> CallFuture {
        match &*self.shared.peer.load() {
            Some(peer) if peer.0.is_open() => peer.0.call(call),
            _ => Box::pin(when_connected(self.shared.clone(), call)),
        }
    }
}

/// Waits for the connection that is being made, if one is. Making one has its own time limit, so this has too.
async fn when_connected(shared: Arc<Shared>, call: Call) -> Result<Reply, Error> {
    let name = shared.options.name.clone();
    let away = |error: Option<Error>| {
        let away = Error::new(ErrorKind::NotSent, format!("backend `{name}` is not available")).backend(name.clone());
        match error {
            Some(error) => away.caused_by(error),
            None => away,
        }
    };
    let mut status = shared.status.subscribe();
    // Two attempts at the most: the one under way, and the one that follows a peer that has just died.
    let limit = tokio::time::Instant::now() + shared.options.connect_timeout;
    loop {
        {
            let status = status.borrow_and_update();
            match status.phase {
                // Ready with a closed peer: it has just died and the manager is about to notice.
                Phase::Ready | Phase::Connecting => {}
                Phase::Idle => shared.wake.notify_one(),
                Phase::Waiting | Phase::Stopped => return Err(away(status.error.clone())),
            }
        }
        let peer = shared.peer.load_full().filter(|peer| peer.0.is_open());
        if let Some(peer) = peer {
            return peer.0.call(call).await;
        }
        match tokio::time::timeout_at(limit, status.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(away(None)),
        }
    }
}
