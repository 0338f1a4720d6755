//! One process for each client: opened by its first call, stopped when its session ends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use mcp_proxy_core::{Call, Error, ErrorKind, Reply, SessionKey};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::Shared;
use super::process::Process;
use crate::client::Peer;

/// The processes of a backend's clients.
#[derive(Default)]
pub(super) struct Clients {
    slots: Mutex<HashMap<SessionKey, Slot>>,
    /// Counts the peers that have used these processes: only the newest closes them.
    peers: AtomicU64,
}

/// Filled by the first caller while others wait; stays empty when that fails, so no error is kept.
type Slot = Arc<OnceCell<Arc<Process>>>;

impl Clients {
    /// Makes a call on the client's own process. A process that has ended, or was stopped for idleness, is replaced.
    pub(super) async fn call(&self, shared: &Arc<Shared>, client: SessionKey, call: Call) -> Result<Reply, Error> {
        let mut again = true;
        loop {
            let slot = self.slot(client)?;
            let process = slot.get_or_try_init(|| open(shared)).await?.clone();
            if process.peer.is_open() {
                let reply = process.clone().call(call.clone()).await;
                // Nothing was sent because the process ended just now.
                let missed = matches!(&reply, Err(error) if error.kind() == ErrorKind::NotSent);
                if !(again && missed && !process.peer.is_open()) {
                    return reply;
                }
                again = false;
            }
            self.forget(client, &slot);
        }
    }

    /// The client is gone: its process is stopped once its last call is answered.
    pub(super) fn remove(&self, client: SessionKey) {
        self.slots().remove(&client);
    }

    /// A new peer uses these processes from now on.
    pub(super) fn adopt(&self) -> u64 {
        self.peers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Stops all and waits for their end, unless a newer peer than `peer` uses them: the backend's first process may be
    /// replaced while those of the clients are well.
    pub(super) async fn close(&self, peer: u64) {
        if self.peers.load(Ordering::Relaxed) != peer {
            return;
        }
        let slots = std::mem::take(&mut *self.slots());
        let stopping: Vec<_> = slots.values().filter_map(|slot| slot.get().cloned()).collect();
        drop(slots);
        // Told first, waited for afterwards: they stop side by side.
        let mut waits = tokio::task::JoinSet::new();
        for process in stopping {
            waits.spawn(async move { process.close().await });
        }
        while waits.join_next().await.is_some() {}
    }

    fn slot(&self, client: SessionKey) -> Result<Slot, Error> {
        let mut slots = self.slots();
        if slots.len() >= MAX_PROCESSES && !slots.contains_key(&client) {
            slots.retain(|_, slot| slot.get().is_none_or(|process| process.peer.is_open()));
            if slots.len() >= MAX_PROCESSES {
                let message = format!("this backend already runs {MAX_PROCESSES} processes, one for each client");
                return Err(Error::new(ErrorKind::Overloaded, message));
            }
        }
        Ok(slots.entry(client).or_default().clone())
    }

    fn forget(&self, client: SessionKey, old: &Slot) {
        let mut slots = self.slots();
        if slots.get(&client).is_some_and(|slot| Arc::ptr_eq(slot, old)) {
            slots.remove(&client);
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<SessionKey, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open(shared: &Arc<Shared>) -> Result<Arc<Process>, Error> {
    // Its events are dropped: the catalogue shows what the backend's first process offers.
    let (process, _) = Process::start(shared)?;
    timeout(OPEN_TIMEOUT, process.handshake(shared)).await.map_err(|_| {
        let message = format!(
            "a process of its own for the client did not start within {} s",
            OPEN_TIMEOUT.as_secs()
        );
        Error::new(ErrorKind::Timeout { sent: false }, message)
    })??;
    Ok(Arc::new(process))
}

/// Processes of one backend at the same time.
const MAX_PROCESSES: usize = 256;

/// How long a client's process may take to start.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
