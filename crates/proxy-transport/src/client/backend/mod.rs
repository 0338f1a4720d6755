//! [`Backend`]: one configured MCP server, whatever state it is in.
//!
//! ```text
//!            ┌────────────── wake (a call, lazy or idle) ◄─── Idle ◄── child stopped for idleness
//!            ▼                                                 ▲
//!   ──► Connecting ──handshake, lists──► Ready ──connection gone──► Waiting ──back-off──► Connecting …
//!            └──────────── refused, silent, malformed ────────────────┘
//! ```
//!
//! A task per backend walks these states, so a slow or dead backend delays nobody: neither start-up, nor lists, nor
//! calls to others. Its last listing stays. Calls go straight to the peer while that is open; while a connection is
//! being made they wait for it, no longer than making one may take; otherwise they fail at once.

mod backoff;
mod listing;
mod manager;
mod service;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use mcp_proxy_core::catalogue::Listing;
use mcp_proxy_core::json::Notification;
use mcp_proxy_core::{Downstream, Error, SessionKey};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::{Connector, Peer};

pub use backoff::Backoff;
pub use service::BackendService;

/// How to run one backend.
#[derive(Clone, Debug)]
pub struct BackendOptions {
    /// Its configured name.
    pub name: Arc<str>,
    /// Connect when first [woken](Backend::wake) instead of at start. Its lists stay empty until then.
    pub lazy: bool,
    /// How long one attempt to connect and list may take.
    pub connect_timeout: Duration,
    /// How long to wait between attempts.
    pub backoff: Backoff,
}

/// Where a backend stands. A snapshot; see the module page for the transitions.
#[derive(Clone, Debug)]
pub struct Status {
    /// The state.
    pub phase: Phase,
    /// What it offered when it last answered; kept while it is away.
    pub listing: Option<Arc<Listing>>,
    /// Failed attempts since it was last ready.
    pub failures: u32,
    /// Why it is not ready, for logs and operators.
    pub error: Option<Error>,
}

/// The states of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nobody has asked for it yet, or it was stopped for idleness.
    Idle,
    /// A connection is being made.
    Connecting,
    /// It serves.
    Ready,
    /// It is away; the next attempt follows.
    Waiting,
    /// It was stopped for good.
    Stopped,
}

/// How long passing on a notification may take.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(10);

/// One configured MCP server. Cloning copies a pointer; [`stop`](Self::stop) ends it for all clones, dropping the last
/// one ends it without waiting.
#[derive(Clone)]
pub struct Backend {
    shared: Arc<Shared>,
    /// The task holds `shared` too, so the last clone of this is what ends it.
    _alive: Arc<DropGuard>,
}

pub(super) struct Shared {
    options: BackendOptions,
    connector: Arc<dyn Connector>,
    peer: ArcSwapOption<OpenPeer>,
    status: watch::Sender<Status>,
    /// Wakes an idle manager.
    wake: Notify,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Told whenever the listing is another one, or the backend goes away or comes back.
    changed: Arc<Notify>,
    /// Takes what the backend says outside calls.
    downstream: Arc<dyn Downstream>,
    /// The resources whose updates are wanted.
    watched: Watched,
    /// The tasks whose states are wanted.
    watched_tasks: Watched,
}

/// Names of what the proxy wants to hear of.
type Names = Arc<[Box<str>]>;

/// What is wanted, and of what the peer was told.
struct Watched {
    wanted: watch::Sender<Names>,
    told: watch::Sender<Names>,
}

/// Sized, so that it fits an atomic pointer.
pub(super) struct OpenPeer(pub(super) Arc<dyn Peer>);

impl Backend {
    /// Starts the backend's task on the current tokio runtime. `changed` is notified when the listing changes and
    /// when the backend goes away or comes back; `downstream` takes what the backend says outside calls.
    pub fn start(
        options: BackendOptions,
        connector: Arc<dyn Connector>,
        changed: Arc<Notify>,
        downstream: Arc<dyn Downstream>,
    ) -> Self {
        let phase = if options.lazy { Phase::Idle } else { Phase::Connecting };
        let (status, _) = watch::channel(Status {
            phase,
            listing: None,
            failures: 0,
            error: None,
        });
        let shared = Arc::new(Shared {
            options,
            connector,
            peer: ArcSwapOption::empty(),
            status,
            wake: Notify::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            changed,
            downstream,
            watched: Watched::nothing(),
            watched_tasks: Watched::nothing(),
        });
        shared.tasks.spawn(manager::run(shared.clone()));
        let alive = Arc::new(shared.stop.clone().drop_guard());
        Self { shared, _alive: alive }
    }

    /// Its configured name.
    pub fn name(&self) -> &Arc<str> {
        &self.shared.options.name
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// Follows the status.
    pub fn follow(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    /// The service that calls for this backend end in.
    pub fn service(&self) -> BackendService {
        BackendService::new(self.shared.clone())
    }

    /// Connects a lazy backend that nobody has asked for yet; for any other this does nothing.
    pub fn wake(&self) {
        if self.shared.status.borrow().phase == Phase::Idle && self.shared.status.borrow().listing.is_none() {
            self.shared.wake.notify_one();
        }
    }

    /// Tells the peer that a downstream session has ended.
    pub fn session_closed(&self, session: SessionKey) {
        if let Some(peer) = &*self.shared.peer.load() {
            peer.0.session_closed(session);
        }
    }

    /// Sets the resources, by the backend's own URIs, of whose updates the proxy wants to hear, in place of those set
    /// before. Kept over reconnects.
    pub fn watch(&self, uris: Arc<[Box<str>]>) {
        self.shared.watched.replace(uris);
    }

    /// The same for tasks, by the backend's own ids.
    pub fn watch_tasks(&self, ids: Arc<[Box<str>]>) {
        self.shared.watched_tasks.replace(ids);
    }

    /// Ends when the backend has been asked for all that is watched, so that nothing is missed from then on. Does not wait
    /// for a backend that is away; for any other the caller has to set a limit.
    pub async fn watched(&self) {
        if self.status().phase == Phase::Ready {
            self.shared.watched.settled().await;
            self.shared.watched_tasks.settled().await;
        }
    }

    /// Passes on a notification of a client, if the client has something of its own upstream. Best effort, in the
    /// background.
    pub fn notify(&self, client: SessionKey, notification: Notification) {
        let Some(peer) = self.shared.peer.load_full() else {
            return;
        };
        let name = self.shared.options.name.clone();
        self.shared.tasks.spawn(async move {
            let told = timeout(NOTIFY_TIMEOUT, peer.0.notify(client, notification)).await;
            if !matches!(told, Ok(Ok(()))) {
                tracing::debug!(backend = %name, "a notification of a client was not delivered");
            }
        });
    }

    /// Ends the connection politely and stops for good. Bounded by the peer's own limits (about five seconds).
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Watched {
    fn nothing() -> Self {
        Self {
            wanted: watch::channel(Names::default()).0,
            told: watch::channel(Names::default()).0,
        }
    }

    fn replace(&self, names: Names) {
        self.wanted.send_if_modified(|wanted| {
            let differs = **wanted != *names;
            *wanted = names;
            differs
        });
    }

    /// Waits until the peer has been told of what is wanted, however it took it.
    async fn settled(&self) {
        let mut told = self.told.subscribe();
        // The sender lives as long as this does.
        let _ = told.wait_for(|told| **told == **self.wanted.borrow()).await;
    }
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backend")
            .field("name", self.name())
            .field("phase", &self.status().phase)
            .finish()
    }
}
