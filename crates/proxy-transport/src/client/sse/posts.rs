//! Sending over HTTP+SSE: one POST for each message.
//!
//! Messages are posted in their order, each when the one before was accepted. A backend that accepts a message only
//! once it has dealt with it must not hold up the others, least of all their cancellations: after a moment the next one
//! is posted all the same, up to a bound of posts that run at once.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use mcp_proxy_core::Error;
use mcp_proxy_core::json::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::duplex::framing::{FrameError, Outgoing};
use crate::client::http::reach::Reach;

/// What the reader is told of a message that failed.
pub(super) enum Told {
    /// Just this request was refused.
    Refused { id: u64, error: Error },
    /// The connection is of no more use.
    Broken(Error),
}

impl From<Told> for FrameError {
    fn from(told: Told) -> Self {
        match told {
            Told::Refused { id, error } => Self::Refused { id, error },
            Told::Broken(error) => Self::Io(io::Error::other(error)),
        }
    }
}

/// The sending half.
pub(super) struct Posts {
    reach: Arc<Reach>,
    endpoint: Uri,
    queue: VecDeque<Bytes>,
    pending: usize,
    /// Aborted with the connection.
    running: JoinSet<()>,
    tell: mpsc::Sender<Told>,
}

impl Posts {
    /// Posts to `endpoint`; what fails is told to the reader.
    pub(super) fn new(reach: Arc<Reach>, endpoint: Uri, tell: mpsc::Sender<Told>) -> Self {
        Self {
            reach,
            endpoint,
            queue: VecDeque::new(),
            pending: 0,
            running: JoinSet::new(),
            tell,
        }
    }
}

impl Outgoing for Posts {
    fn push(&mut self, message: &[u8]) {
        self.pending += message.len();
        self.queue.push_back(Bytes::copy_from_slice(message));
    }

    fn pending(&self) -> usize {
        self.pending
    }

    async fn flush(&mut self) -> io::Result<()> {
        while !self.queue.is_empty() {
            while self.running.len() >= MAX_RUNNING {
                self.running.join_next().await;
            }
            let Some(text) = self.queue.pop_front() else { break };
            self.pending -= text.len();
            let (reach, endpoint, tell) = (self.reach.clone(), self.endpoint.clone(), self.tell.clone());
            let post = self.running.spawn(post(reach, endpoint, text, tell));
            let accepted = async { while !post.is_finished() && self.running.join_next().await.is_some() {} };
            // Not accepted yet: it goes on by itself.
            let _ = timeout(PATIENCE, accepted).await;
        }
        while self.running.try_join_next().is_some() {}
        Ok(())
    }

    async fn end(&mut self) {
        self.running.shutdown().await;
    }
}

async fn post(reach: Arc<Reach>, endpoint: Uri, text: Bytes, tell: mpsc::Sender<Told>) {
    let (error, broken) = match reach.post(&endpoint, text.clone()).await {
        Ok(None) => return,
        Ok(Some(error)) => (error, false),
        Err(error) => (error, true),
    };
    tracing::debug!(%error, "a message to the backend was not accepted");
    let id = match Message::scan(text) {
        Ok(Message::Request(request)) => request.id.as_u64(),
        _ => None,
    };
    // It fails when the reader has ended, and with it every call.
    if let Some(id) = id {
        let error = error.clone();
        let _ = tell.send(Told::Refused { id, error }).await;
    }
    if broken {
        let _ = tell.send(Told::Broken(error)).await;
    }
}

/// Posts that run at once.
const MAX_RUNNING: usize = 64;

/// How long a message that is not accepted keeps the next one waiting.
const PATIENCE: Duration = Duration::from_millis(250);
