//! The peer over any two-way stream of messages: a child process, an in-process server, a WebSocket, HTTP+SSE.
//!
//! ```text
//!   call ──► queue (256) ──► writer task ──► framing ──► backend
//!     │ id, progress token      │ one flush for all that waits
//!     ▼                         ▼
//!   waiting calls ◄───────── reader task ◄── framing ◄── backend
//!     answer · progress · log · list_changed · ping · question ──► a task each, until the client has answered
//! ```
//!
//! Opening a connection finds out which era the backend speaks (`opening`). In the session era it asks clients by requests
//! of its own (`asking`, `callers`) and reports updates of single resources (`watching`); in the other it asks by its
//! results, which `client::sessionless` turns into rounds, and reports on one subscription (`listening`).
//!
//! The two tasks never wait for each other, nor for a client: pipes fill up in both directions, and whoever then waits
//! to write before it reads on waits for ever. Ids count up and never repeat, not even over several connections to the
//! same backend, so that a late answer cannot be taken for another call's.

pub(crate) mod allowance;
mod asking;
mod behalf;
mod call;
mod callers;
mod changes;
pub(crate) mod framing;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handshake;
mod level;
pub(crate) mod lines;
mod link;
mod listening;
mod opening;
mod progress;
mod reader;
#[cfg(test)]
mod tests;
mod waiting;
mod watching;
mod wire;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mcp_proxy_core::json::Notification;
use mcp_proxy_core::{Call, CallFuture, Error, ErrorKind, SessionKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use self::behalf::Behalf;
use self::framing::{Incoming, Outgoing};
use self::lines::{LineReader, LineWriter};
use self::link::{Era, Link};
use self::watching::Watching;
use super::options::{IDLE_TIMEOUT, MAX_MESSAGE_BYTES};
use super::sessionless::memory::Memory;
use super::{BoxFuture, Connected, Hello, Peer, PeerEvent};

/// What a [`DuplexPeer`] needs to know.
#[derive(Clone, Debug)]
pub struct DuplexOptions {
    /// The backend's name, for the log.
    pub name: Arc<str>,
    /// Longest silence during one call; what arrives for the call starts it anew.
    pub idle_timeout: Duration,
    /// Largest message that is taken, in bytes. A larger one ends the connection.
    pub max_message_bytes: usize,
    /// Where request ids come from. A connector hands the same counter to all its connections.
    pub ids: Arc<AtomicU64>,
    /// What is remembered of the backend's era, by all connections of a connector; `None` for a transport that exists in
    /// the session era only.
    pub(crate) memory: Option<Arc<Memory>>,
}

impl DuplexOptions {
    /// The defaults, with a counter of its own.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            idle_timeout: IDLE_TIMEOUT,
            max_message_bytes: MAX_MESSAGE_BYTES,
            ids: Arc::new(AtomicU64::new(1)),
            memory: Some(Arc::default()),
        }
    }
}

/// A connection to a backend over one two-way stream. It is closed when the last clone and the last call are gone.
#[derive(Clone)]
pub struct DuplexPeer {
    inner: Arc<Inner>,
}

/// Owns the connection: dropping it ends both tasks.
struct Inner {
    link: Arc<Link>,
    tasks: TaskTracker,
    watching: Watching,
    events: mpsc::WeakSender<PeerEvent>,
}

/// What a connection has dropped because it made no sense or belonged to nobody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Output that is no JSON-RPC message.
    pub junk: u64,
    /// Answers to no call that waits: late, foreign or repeated ones.
    pub foreign: u64,
    /// Notifications nobody could be given.
    pub undeliverable: u64,
    /// Requests of the backend that were refused.
    pub refused: u64,
}

impl DuplexPeer {
    /// Starts speaking newline-delimited JSON-RPC. The handshake is still to be made.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn lines<R, W>(
        reader: R,
        writer: W,
        options: DuplexOptions,
        behalf: Behalf,
    ) -> (Self, mpsc::Receiver<PeerEvent>)
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let limit = options.max_message_bytes;
        Self::start(LineReader::new(reader, limit), LineWriter::new(writer), options, behalf)
    }

    /// Starts speaking newline-delimited JSON-RPC and makes the handshake. Dropping the future ends the connection.
    ///
    /// # Errors
    /// Whatever kept the backend from answering.
    pub async fn connect<R, W>(reader: R, writer: W, options: DuplexOptions, behalf: Behalf) -> Result<Connected, Error>
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let limit = options.max_message_bytes;
        Self::connect_framed(LineReader::new(reader, limit), LineWriter::new(writer), options, behalf).await
    }

    /// Starts speaking over any framing and makes the handshake. Dropping the future ends the connection.
    ///
    /// # Errors
    /// Whatever kept the backend from answering.
    pub(crate) async fn connect_framed(
        incoming: impl Incoming,
        outgoing: impl Outgoing,
        options: DuplexOptions,
        behalf: Behalf,
    ) -> Result<Connected, Error> {
        let (peer, events) = Self::start(incoming, outgoing, options, behalf);
        let hello = opening::open(&peer).await?;
        Ok(Connected {
            peer: Arc::new(peer),
            hello,
            events,
        })
    }

    fn start(
        incoming: impl Incoming,
        outgoing: impl Outgoing,
        mut options: DuplexOptions,
        behalf: Behalf,
    ) -> (Self, mpsc::Receiver<PeerEvent>) {
        options.idle_timeout = options.idle_timeout.min(LONGEST_TIMEOUT);
        let (link, to_write, control) = Link::new(options, behalf);
        let (events, received) = mpsc::channel(EVENTS);
        let tasks = TaskTracker::new();
        tasks.spawn(writer::write(outgoing, to_write, control, link.clone()));
        let inner = Arc::new(Inner {
            link: link.clone(),
            tasks: tasks.clone(),
            watching: Watching::default(),
            events: events.downgrade(),
        });
        // Its place is kept from the start, so that the last event always finds room.
        if let Ok(closed) = events.clone().try_reserve_owned() {
            tasks.spawn(reader::read(incoming, link, events, closed));
        }
        tasks.close();
        (Self { inner }, received)
    }

    /// Finds out which era the backend speaks, and makes the handshake where there is one.
    ///
    /// # Errors
    /// Whatever kept the backend from answering, or what was wrong with its answer.
    pub async fn open(&self) -> Result<Hello, Error> {
        opening::open(self).await
    }

    /// What was dropped so far.
    pub fn dropped(&self) -> Dropped {
        let counters = &self.inner.link.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Dropped {
            junk: read(&counters.junk),
            foreign: read(&counters.foreign),
            undeliverable: read(&counters.undeliverable),
            refused: read(&counters.refused),
        }
    }

    /// A handle that does not keep the connection alive, for whoever watches it.
    pub(crate) fn follow(&self) -> Watch {
        Watch {
            link: self.inner.link.clone(),
        }
    }
}

/// Whether opening a connection that has failed is worth another attempt at once: the backend ended when it was asked
/// for its era, which the next attempt spares it. `asked` says that this one had to ask.
pub(crate) fn spares(memory: &Memory, asked: bool, error: &Error) -> bool {
    asked && error.kind() == ErrorKind::SentUnknown && memory.is_session_only()
}

/// Watches a connection without keeping it alive.
pub(crate) struct Watch {
    link: Arc<Link>,
}

impl Watch {
    /// Waits until the connection is closed.
    pub(crate) async fn closed(&self) {
        self.link.done.cancelled().await;
    }

    /// Ends the connection for a reason.
    pub(crate) fn fail(&self, reason: &Error) {
        self.link.close(reason);
    }

    /// Ends the connection when it has not been used for `silence`; otherwise says when to look again.
    pub(crate) fn close_if_idle(&self, silence: Duration, reason: &Error) -> Result<(), Instant> {
        self.link.close_if_idle(silence, reason)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.link.close(&closed_here());
    }
}

impl Peer for DuplexPeer {
    fn call(&self, call: Call) -> CallFuture {
        Box::pin(call::call(self.inner.clone(), call))
    }

    fn notify(&self, client: SessionKey, notification: Notification) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let link = &self.inner.link;
            // Told on behalf of one, a shared backend would take it for all; and one without sessions knows of nothing that
            // a client could tell it.
            match link.behalf.owner == Some(client) && !matches!(link.era(), Some(Era::Sessionless(_))) {
                true => link.notify(&notification).await,
                false => Ok(()),
            }
        })
    }

    fn watch(&self, uris: Arc<[Box<str>]>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            match self.inner.link.era() {
                Some(Era::Sessionless(_)) => {
                    self.inner
                        .link
                        .listening
                        .wanted
                        .send_modify(|wanted| wanted.uris = uris);
                    Ok(())
                }
                _ => watching::subscribe(&self.inner, uris).await,
            }
        })
    }

    fn watch_tasks(&self, ids: Arc<[Box<str>]>) -> BoxFuture<'_, Result<(), Error>> {
        // In the session era nobody listens to this.
        self.inner
            .link
            .listening
            .wanted
            .send_modify(|wanted| wanted.tasks = ids);
        Box::pin(async { Ok(()) })
    }

    fn is_open(&self) -> bool {
        self.inner.link.is_open()
    }

    fn session_closed(&self, _: SessionKey) {}

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.inner.link.close(&closed_here());
            self.inner.tasks.wait().await;
        })
    }
}

fn closed_here() -> Error {
    Error::new(ErrorKind::SentUnknown, "the connection to the backend was closed")
}

/// Events that wait for the manager. Changes are merged, so more than one of each kind never waits.
const EVENTS: usize = 16;

/// Anything longer is as good as for ever, and an instant that far ahead could not be computed.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);
