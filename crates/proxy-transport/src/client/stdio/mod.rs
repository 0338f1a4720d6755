//! Backends that are child processes and speak over their standard input and output.
//!
//! One process serves all clients; with [`SessionMode::PerClient`] each client has one of its own, callers without a session
//! share one with those of the same principal that declare the same, and a first one shows the catalogue what the backend
//! offers. A process is stopped by closing its input, then SIGTERM, then SIGKILL, to its
//! whole group. Nobody has to wait for that: every process has a keeper task that sees to its end, and whoever drops a
//! connector, a peer or a connect future leaves nothing behind.
//!
//! On Linux the `mcp-proxy` binary starts children under a [supervisor](crate::supervise), so that they die with the proxy
//! even when it is killed. Elsewhere, and in programs that do not name a supervisor, a killed proxy closes its children's
//! input, which well-behaved servers take as their end.

mod clients;
mod command;
mod environment;
mod process;
mod signal;
mod stderr;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use mcp_proxy_core::json::Notification;
use mcp_proxy_core::{Call, CallFuture, Downstream, Error, SessionKey};
use tokio_util::task::TaskTracker;

use self::clients::{Clients, Party};
use self::process::Process;
use super::duplex::Behalf;
use super::options::{SessionMode, StdioOptions};
use super::sessionless::memory::Memory;
use super::{BoxFuture, Connected, Connector, Peer};

/// Starts a backend's process and connects to it.
pub struct StdioConnector {
    shared: Arc<Shared>,
    clients: Arc<Clients>,
}

/// What all processes of one backend have in common.
struct Shared {
    name: Arc<str>,
    options: StdioOptions,
    /// One counter for all of its processes: ids never repeat.
    ids: Arc<AtomicU64>,
    /// What is remembered of the era it speaks.
    memory: Arc<Memory>,
    /// Owns the keepers and the readers of standard error.
    tasks: TaskTracker,
}

impl StdioConnector {
    /// Connects to `options.command`; `name` is the backend's, for the log.
    pub fn new(name: impl Into<Arc<str>>, options: StdioOptions) -> Self {
        let shared = Shared {
            name: name.into(),
            options,
            ids: Arc::new(AtomicU64::new(1)),
            memory: Arc::default(),
            tasks: TaskTracker::new(),
        };
        Self {
            shared: Arc::new(shared),
            clients: Arc::default(),
        }
    }

    async fn open(&self, downstream: Arc<dyn Downstream>) -> Result<Connected, Error> {
        let behalf = Behalf::everybody(downstream.clone());
        let (process, hello, events) = Process::open(&self.shared, behalf, self.shared.options.idle_stop).await?;
        let own = self.shared.options.session == SessionMode::PerClient;
        let peer = StdioPeer {
            shared: self.shared.clone(),
            downstream,
            process: Arc::new(process),
            clients: own.then(|| (self.clients.clone(), self.clients.adopt())),
        };
        Ok(Connected {
            peer: Arc::new(peer),
            hello,
            events,
        })
    }
}

impl Connector for StdioConnector {
    fn connect(&self, downstream: Arc<dyn Downstream>) -> BoxFuture<'_, Result<Connected, Error>> {
        Box::pin(self.open(downstream))
    }
}

/// A backend's running process, or its first one.
struct StdioPeer {
    shared: Arc<Shared>,
    downstream: Arc<dyn Downstream>,
    process: Arc<Process>,
    /// The processes of clients, where each has its own, and our number among those who use them.
    clients: Option<(Arc<Clients>, u64)>,
}

impl Peer for StdioPeer {
    fn call(&self, call: Call) -> CallFuture {
        match (&self.clients, Party::of(&call)) {
            (Some((clients, _)), Some(party)) => {
                let (clients, shared, downstream) = (clients.clone(), self.shared.clone(), self.downstream.clone());
                Box::pin(async move {
                    let reply = clients.call(&shared, &downstream, party, call).await;
                    reply.map_err(|error| error.backend(shared.name.clone()))
                })
            }
            _ => Box::pin(self.process.clone().call(call)),
        }
    }

    fn notify(&self, client: SessionKey, notification: Notification) -> BoxFuture<'_, Result<(), Error>> {
        let own = self.clients.as_ref().and_then(|(clients, _)| clients.get(client));
        Box::pin(async move {
            match own {
                Some(process) => process.peer.notify(client, notification).await,
                None => Ok(()),
            }
        })
    }

    fn watch(&self, uris: Arc<[Box<str>]>) -> BoxFuture<'_, Result<(), Error>> {
        self.process.peer.watch(uris)
    }

    fn watch_tasks(&self, ids: Arc<[Box<str>]>) -> BoxFuture<'_, Result<(), Error>> {
        self.process.peer.watch_tasks(ids)
    }

    fn is_open(&self) -> bool {
        self.process.peer.is_open()
    }

    fn session_closed(&self, session: SessionKey) {
        if let Some((clients, _)) = &self.clients {
            clients.remove(session);
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            match &self.clients {
                Some((clients, us)) => drop(tokio::join!(self.process.close(), clients.close(*us))),
                None => self.process.close().await,
            }
        })
    }
}
