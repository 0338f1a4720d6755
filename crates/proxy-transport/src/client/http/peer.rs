//! The peer: which upstream session a call belongs to, and what happens when the backend has forgotten it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mcp_proxy_core::catalogue::Kind;
use mcp_proxy_core::json::Notification;
use mcp_proxy_core::{Call, CallFuture, Context, Declared, Error, ErrorKind, Method, Reply, SessionKey, codes};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::options::SessionMode;
use super::super::{BoxFuture, Peer};
use super::core::Core;
use super::encode;
use super::events::Events;
use super::exchange::{Answer, Fault, Outgoing, exchange, tell};
use super::pooled::Lease;
use super::session::{Cell, Upstream};
use super::sessionless::{Doubt, is_reason};
use super::watching::Watching;
use super::{levels, listen};

/// A backend after a handshake. Dropping it ends its own tasks and its own session; the sessions of clients belong to
/// the backend and outlive it.
pub(super) struct HttpPeer {
    inner: Arc<Inner>,
    /// Ends the tasks of this peer.
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Which handshake it came from; the newest one also stands for the clients' sessions.
    generation: u64,
}

struct Inner {
    core: Arc<Core>,
    catalogue: Arc<Cell>,
    /// Whether each client's session gets one of its own.
    per_client: bool,
    events: Arc<Events>,
    doubt: Doubt,
    watching: Watching,
}

impl HttpPeer {
    /// A peer whose handshake gave `upstream`.
    pub(super) fn new(core: Arc<Core>, upstream: Arc<Upstream>, events: Arc<Events>) -> Self {
        let per_client = match core.mode {
            SessionMode::Auto => upstream.id.is_some(),
            SessionMode::Shared => false,
            SessionMode::PerClient => true,
        };
        Self {
            generation: core.next_generation(),
            inner: Arc::new(Inner {
                core,
                catalogue: Cell::open(Declared::everything().upward(), upstream),
                per_client,
                events,
                doubt: Doubt::default(),
                watching: Watching::new(),
            }),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// Runs a task that ends with this peer.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(task));
    }

    /// Follows the stream of the catalogue's session, and asks again for what is watched when that session is another one.
    /// `announced` are the lists whose changes the backend has promised to announce. Told when the backend has answered for
    /// the first time.
    pub(super) fn spawn_listening(&self, announced: Vec<Kind>) -> oneshot::Receiver<()> {
        let (first, answered) = oneshot::channel();
        let inner = self.inner.clone();
        self.spawn(async move {
            let healed = || inner.watching.renew();
            listen::catalogue(&inner.core, &inner.catalogue, &inner.events, &announced, first, healed).await;
        });
        let inner = self.inner.clone();
        self.spawn(async move {
            loop {
                inner.watching.renewed().await;
                if let Err(error) = inner.keep_told().await {
                    tracing::warn!(%error, "a new session could not be asked for updates of resources");
                }
            }
        });
        answered
    }
}

impl Peer for HttpPeer {
    fn call(&self, call: Call) -> CallFuture {
        let inner = self.inner.clone();
        Box::pin(async move { inner.call(call).await })
    }

    fn notify(&self, client: SessionKey, notification: Notification) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.inner.notify(client, notification))
    }

    fn watch(&self, uris: Arc<[Box<str>]>) -> BoxFuture<'_, Result<(), Error>> {
        self.inner.watching.want(uris);
        Box::pin(self.inner.keep_told())
    }

    fn is_open(&self) -> bool {
        !self.stop.is_cancelled()
    }

    fn session_closed(&self, session: SessionKey) {
        if let Some(cell) = self.inner.core.sessions.remove(session) {
            // Running calls may still hold it; whoever lets go last ends it at the backend.
            drop(cell.close());
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.stop.cancel();
            // Being late is no reason to wait longer: the backend's own limits end what is left.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.end_sessions()).await;
        })
    }
}

impl HttpPeer {
    async fn end_sessions(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        let core = &self.inner.core;
        let own = self.inner.catalogue.close();
        if !core.is_newest(self.generation) {
            // A newer peer goes on. Calls that still run here keep the session, and the last of them ends it.
            return drop(own);
        }
        let mut of_clients = core.sessions.clear();
        of_clients.extend(core.pooled.clear());
        let mut ending = JoinSet::new();
        for upstream in own.into_iter().chain(of_clients.iter().filter_map(|cell| cell.close())) {
            if ending.len() == ENDING_AT_ONCE {
                ending.join_next().await;
            }
            let core = core.clone();
            ending.spawn(async move { upstream.end(&core).await });
        }
        while ending.join_next().await.is_some() {}
        core.pool.clear();
        core.tasks.close();
        core.tasks.wait().await;
    }
}

impl Drop for HttpPeer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Inner {
    async fn call(&self, call: Call) -> Result<Reply, Error> {
        let (cell, _lease) = self.cell(&call.context)?;
        let mut upstream = cell.get(&self.core, None).await.map_err(|error| self.noted(error))?;
        let mut healed = false;
        loop {
            match self.attempt(&call, &upstream).await {
                Ok(answer) if !says_session_gone(&answer, &upstream) => return self.believed(Ok(answer.reply)).await,
                // Nothing was run, so sending it again is safe whatever it is; but only once.
                Ok(_) | Err(Fault::SessionGone) if !healed => {
                    healed = true;
                    upstream = self.heal(&cell, &upstream).await?;
                }
                Ok(_) | Err(Fault::SessionGone) => return Err(forgetful()),
                Err(Fault::Failed(error)) => return self.believed(Err(self.noted(error))).await,
            }
        }
    }

    /// What came back, unless it says that the backend was replaced by one without sessions.
    async fn believed(&self, outcome: Result<Reply, Error>) -> Result<Reply, Error> {
        if !is_reason(false, &outcome) {
            return outcome;
        }
        // Rare, so it should not make every call's future larger.
        match Box::pin(self.doubt.settle(&self.core, false, &outcome)).await {
            Some(changed) => Err(self.noted(changed)),
            None => outcome,
        }
    }

    async fn attempt(&self, call: &Call, upstream: &Arc<Upstream>) -> Result<Answer, Fault> {
        let sets_level = call.method == Method::SetLevel;
        if let Some(level) = call.context.log_level
            && !sets_level
            && !upstream.covers(level)
        {
            // Boxed, since it is rare and would double every call's future.
            Box::pin(levels::adjust(&self.core, upstream, level)).await?;
        }
        let outgoing = Outgoing {
            method: &call.method,
            params: &call.params,
            upstream: Some(upstream),
            client: &call.client,
        };
        let answer = exchange(&self.core, outgoing).await?;
        if sets_level && matches!(answer.reply, Reply::Result(_)) {
            upstream.level.note(&call.params);
        }
        Ok(answer)
    }

    /// Tells the backend which resources to watch, on whichever session is the catalogue's.
    async fn keep_told(&self) -> Result<(), Error> {
        let mut upstream = self.catalogue.get(&self.core, None).await?;
        let told = match self.watching.tell(&self.core, &upstream).await {
            Err(Fault::SessionGone) => {
                upstream = self.heal(&self.catalogue, &upstream).await?;
                self.watching.tell(&self.core, &upstream).await
            }
            told => told,
        };
        told.map_err(|fault| match fault {
            Fault::Failed(error) => error,
            Fault::SessionGone => forgetful(),
        })
    }

    /// Tells the backend on the session that is this client's own, if it is open.
    async fn notify(&self, client: SessionKey, notification: Notification) -> Result<(), Error> {
        let Some(upstream) = self.core.sessions.find(client).and_then(|cell| cell.current()) else {
            return Ok(());
        };
        let body = encode::notification(&notification.method, &notification.params);
        match tell(&self.core, &upstream, body).await {
            Err(Fault::Failed(error)) => Err(error),
            // The session that takes its place will not know what this one was to be told, and asks by itself.
            Ok(()) | Err(Fault::SessionGone) => Ok(()),
        }
    }

    /// The session that a call belongs to: its client's own, one that callers without a session take turns with, or the
    /// one that all share.
    fn cell(&self, context: &Context) -> Result<(Arc<Cell>, Option<Lease>), Error> {
        match &context.session {
            Some(session) if self.per_client => Ok((self.core.sessions.cell(session)?, None)),
            None if self.per_client && context.version.is_sessionless() => {
                let (cell, lease) = self.core.pooled.lease(context)?;
                Ok((cell, Some(lease)))
            }
            _ => Ok((self.catalogue.clone(), None)),
        }
    }

    /// A session in place of one that the backend has forgotten.
    async fn heal(&self, cell: &Arc<Cell>, stale: &Arc<Upstream>) -> Result<Arc<Upstream>, Error> {
        stale.forget();
        let upstream = cell
            .get(&self.core, Some(stale))
            .await
            .map_err(|error| self.noted(error))?;
        if Arc::ptr_eq(cell, &self.catalogue) {
            // A backend that forgot its sessions may have been replaced by another version of itself.
            self.events.changed(&Kind::ALL);
            self.watching.renew();
        }
        Ok(upstream)
    }

    /// Tells the manager of an error that says that the backend cannot be reached.
    fn noted(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::NotSent {
            self.events.closed(&error);
        }
        error
    }
}

fn says_session_gone(answer: &Answer, upstream: &Upstream) -> bool {
    upstream.id.is_some() && matches!(&answer.reply, Reply::Error(error) if error.code() == codes::SESSION_NOT_FOUND)
}

fn forgetful() -> Error {
    Error::new(
        ErrorKind::ServerFault,
        "the backend forgot a session that it had just opened",
    )
}

/// How long ending all sessions may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Sessions that are ended at the same time.
const ENDING_AT_ONCE: usize = 32;
