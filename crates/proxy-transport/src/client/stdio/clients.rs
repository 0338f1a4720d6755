//! One process for each client: opened by its first call, stopped when its session ends. Callers without a session have
//! one together with those of the same principal that declare the same; it is stopped when nobody uses it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use mcp_proxy_core::json::RawJson;
use mcp_proxy_core::{Call, Declared, Downstream, Error, ErrorKind, Reply, SessionKey};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::Shared;
use super::process::Process;
use crate::client::Peer;
use crate::client::duplex::Behalf;

/// The processes of a backend's clients.
#[derive(Default)]
pub(super) struct Clients {
    slots: Mutex<HashMap<Party, Slot>>,
    /// Counts the peers that have used these processes: only the newest closes them.
    peers: AtomicU64,
}

/// Who has a process of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Party {
    /// One client.
    Client(SessionKey),
    /// Callers without a session between which the backend need not tell.
    Alike { subject: Arc<str>, capabilities: RawJson },
}

impl Party {
    /// Whose process a call belongs on; `None` for a call of the proxy's own.
    pub(super) fn of(call: &Call) -> Option<Self> {
        match &call.context.session {
            Some(session) => Some(Self::Client(session.key)),
            None if call.client.is_open() => Some(Self::Alike {
                subject: call.context.principal.subject.clone(),
                capabilities: call.context.declared.upward(),
            }),
            None => None,
        }
    }
}

/// Filled by the first caller while others wait; stays empty when that fails, so no error is kept.
type Slot = Arc<OnceCell<Arc<Process>>>;

impl Clients {
    /// Makes a call on the client's own process. A process that has ended, or was stopped for idleness, is replaced.
    pub(super) async fn call(
        &self,
        shared: &Arc<Shared>,
        downstream: &Arc<dyn Downstream>,
        party: Party,
        call: Call,
    ) -> Result<Reply, Error> {
        let mut again = true;
        loop {
            let slot = self.slot(&party)?;
            let process = slot
                .get_or_try_init(|| open(shared, &party, &call.context.declared, downstream))
                .await?
                .clone();
            if process.peer.is_open() {
                let reply = process.clone().call(call.clone()).await;
                // Nothing was sent because the process ended just now.
                let missed = matches!(&reply, Err(error) if error.kind() == ErrorKind::NotSent);
                if !(again && missed && !process.peer.is_open()) {
                    return reply;
                }
                again = false;
            }
            self.forget(&party, &slot);
        }
    }

    /// The client is gone: its process is stopped once its last call is answered.
    pub(super) fn remove(&self, client: SessionKey) {
        self.slots().remove(&Party::Client(client));
    }

    /// The client's own process, if it has one that is open.
    pub(super) fn get(&self, client: SessionKey) -> Option<Arc<Process>> {
        let slot = self.slots().get(&Party::Client(client)).cloned()?;
        slot.get().filter(|process| process.peer.is_open()).cloned()
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

    fn slot(&self, party: &Party) -> Result<Slot, Error> {
        let mut slots = self.slots();
        if slots.len() >= MAX_PROCESSES && !slots.contains_key(party) {
            slots.retain(|_, slot| slot.get().is_none_or(|process| process.peer.is_open()));
            if slots.len() >= MAX_PROCESSES {
                let message = format!("this backend already runs {MAX_PROCESSES} processes, one for each client");
                return Err(Error::new(ErrorKind::Overloaded, message));
            }
        }
        Ok(slots.entry_ref(party).or_default().clone())
    }

    fn forget(&self, party: &Party, old: &Slot) {
        let mut slots = self.slots();
        if slots.get(party).is_some_and(|slot| Arc::ptr_eq(slot, old)) {
            slots.remove(party);
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Party, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn open(
    shared: &Arc<Shared>,
    party: &Party,
    declared: &Declared,
    downstream: &Arc<dyn Downstream>,
) -> Result<Arc<Process>, Error> {
    let stop = shared.options.idle_stop;
    let (behalf, idle_stop) = match party {
        Party::Client(client) => (Behalf::client(*client, declared, downstream.clone()), stop),
        // No session ends that could end it.
        Party::Alike { .. } => (
            Behalf::alike(declared, downstream.clone()),
            Some(stop.unwrap_or(ALIKE_STOP).min(ALIKE_STOP)),
        ),
    };
    // Its events are dropped: the catalogue shows what the backend's first process offers.
    let opened = timeout(OPEN_TIMEOUT, Process::open(shared, behalf, idle_stop)).await;
    let (process, ..) = opened.map_err(|_| {
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

/// How long the process of callers without a session is kept without a call.
const ALIKE_STOP: Duration = Duration::from_secs(300);

/// How long a client's process may take to start.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
