//! Upstream sessions: one for the proxy itself (the catalogue's), and where the backend keeps sessions apart, one for
//! each client's session.
//!
//! ```text
//!            first use                    handshake done
//!   Empty ───────────────► Opening ───────────────────────► Open ── unknown to the backend ──► Opening …
//!     ▲                       │ failed: everyone waiting            (404, -32005)
//!     └───────────────────────┘ is told, nothing is kept
//! ```
//!
//! A session is opened by a task of its own, so that no caller who gives up takes the others' session with it. It ends
//! at the backend when the last holder lets go of it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hashbrown::HashMap;
use http::HeaderValue;
use mcp_proxy_core::json::RawJson;
use mcp_proxy_core::{Error, ErrorKind, LogLevel, ProtocolVersion, Session, SessionKey};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::levels::Level;
use super::reading::release;
use super::voice::Voice;
use super::{handshake, listen};

/// A session that the backend has opened for us, or the lack of one that it shares among all.
pub(super) struct Upstream {
    /// Its `Mcp-Session-Id`; `None` when the backend keeps no sessions.
    pub(super) id: Option<HeaderValue>,
    /// The revision agreed on.
    pub(super) version: ProtocolVersion,
    /// Whether the backend declared `logging`.
    pub(super) logs: bool,
    /// The log level that it was told.
    pub(super) level: Level,
    /// What its calls share with its own event stream.
    pub(super) voice: Arc<Voice>,
    /// Ends that stream.
    pub(super) stop: CancellationToken,
    /// The backend has forgotten it, or was told to.
    over: AtomicBool,
    core: Weak<Core>,
}

impl Upstream {
    pub(super) fn new(core: &Arc<Core>, id: Option<HeaderValue>, version: ProtocolVersion, logs: bool) -> Self {
        Self {
            id,
            version,
            logs,
            level: Level::untold(),
            voice: Arc::default(),
            stop: CancellationToken::new(),
            over: AtomicBool::new(false),
            core: Arc::downgrade(core),
        }
    }

    /// Notes that the backend does not know it any more.
    pub(super) fn forget(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.stop.cancel();
    }

    /// Whether the backend sends the log messages of this level, as far as it sends any.
    pub(super) fn covers(&self, wanted: LogLevel) -> bool {
        !self.logs || self.level.covers(wanted)
    }

    /// Ends it at the backend, unless that has happened.
    pub(super) async fn end(&self, core: &Arc<Core>) {
        self.stop.cancel();
        if self.id.is_none() || self.over.swap(true, Ordering::Relaxed) {
            return;
        }
        delete(core, core.delete(self)).await;
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.cancel();
        if self.id.is_none() || *self.over.get_mut() {
            return;
        }
        if let Some(core) = self.core.upgrade() {
            let request = core.delete(self);
            let errand_core = core.clone();
            core.errand(async move { delete(&errand_core, request).await });
        }
    }
}

async fn delete(core: &Arc<Core>, request: http::Request<http_body_util::Full<bytes::Bytes>>) {
    // A backend may refuse (405) or be gone; either way the session is none of ours any more.
    if let Ok(link) = core.pool.checkout().await
        && let Ok((_, flow)) = link.send(request).await
    {
        release(core, flow);
    }
}

/// Whose calls a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The proxy's own, and everybody's where the backend keeps no sessions apart. Its peer follows its stream.
    Proxy,
    /// One client's.
    Client(SessionKey),
    /// Those of callers without a session.
    Callers,
}

/// One upstream session and its renewals.
pub(super) struct Cell {
    owner: Owner,
    /// The capabilities that its sessions are opened with.
    declared: RawJson,
    state: Mutex<State>,
}

enum State {
    Empty,
    Opening(Pending),
    Open(Arc<Upstream>),
    Closed,
}

type Pending = watch::Receiver<Option<Result<Arc<Upstream>, Error>>>;

impl Cell {
    /// A session to be opened at first use.
    pub(super) fn empty(declared: RawJson, owner: Owner) -> Arc<Self> {
        Self::with(declared, owner, State::Empty)
    }

    /// The catalogue's session, which is open.
    pub(super) fn open(declared: RawJson, upstream: Arc<Upstream>) -> Arc<Self> {
        Self::with(declared, Owner::Proxy, State::Open(upstream))
    }

    fn with(declared: RawJson, owner: Owner, state: State) -> Arc<Self> {
        Arc::new(Self {
            owner,
            declared,
            state: Mutex::new(state),
        })
    }

    /// The session, opened if need be; everyone who asks meanwhile waits for the same opening. `stale` is the one that
    /// was found unknown to the backend and must not be given again.
    ///
    /// # Errors
    /// Why it could not be opened. Since nothing of the caller's own call was sent, that is what the kind says.
    pub(super) async fn get(
        self: &Arc<Self>,
        core: &Arc<Core>,
        stale: Option<&Arc<Upstream>>,
    ) -> Result<Arc<Upstream>, Error> {
        let mut pending = {
            let mut state = self.state();
            match &*state {
                State::Open(upstream) if !stale.is_some_and(|stale| Arc::ptr_eq(stale, upstream)) => {
                    return Ok(upstream.clone());
                }
                State::Opening(pending) => pending.clone(),
                State::Closed => return Err(Error::new(ErrorKind::NotSent, "the session with the backend has ended")),
                State::Open(_) | State::Empty => {
                    let pending = self.start(core);
                    *state = State::Opening(pending.clone());
                    pending
                }
            }
        };
        let opened = match pending.wait_for(Option::is_some).await {
            Ok(opened) => opened.clone(),
            Err(_) => None,
        };
        match opened {
            Some(opened) => opened,
            None => Err(Error::new(
                ErrorKind::NotSent,
                "opening a session with the backend was given up",
            )),
        }
    }

    /// The session, if one is open.
    pub(super) fn current(&self) -> Option<Arc<Upstream>> {
        match &*self.state() {
            State::Open(upstream) => Some(upstream.clone()),
            _ => None,
        }
    }

    /// Ends it for good; gives the session that has to be ended at the backend.
    pub(super) fn close(&self) -> Option<Arc<Upstream>> {
        match std::mem::replace(&mut *self.state(), State::Closed) {
            State::Open(upstream) => Some(upstream),
            // The task that is opening it will find it closed.
            _ => None,
        }
    }

    fn start(self: &Arc<Self>, core: &Arc<Core>) -> Pending {
        let (told, pending) = watch::channel(None);
        let opening = Opening(self.clone());
        let core_of_task = core.clone();
        core.tasks.spawn(async move {
            let opened = handshake::open(&core_of_task, &opening.0.declared).await;
            let opened = opened.map(|(upstream, _)| upstream).map_err(nothing_sent);
            if let Ok(upstream) = &opened {
                match opening.0.owner {
                    Owner::Proxy => {}
                    Owner::Client(key) => listen::session(&core_of_task, upstream, Some(key)).await,
                    Owner::Callers => listen::session(&core_of_task, upstream, None).await,
                }
            }
            opening.settle(opened.as_ref().ok());
            told.send_replace(Some(opened));
        });
        pending
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The duty to leave a cell usable, whatever becomes of the task that opens its session.
struct Opening(Arc<Cell>);

impl Opening {
    fn settle(&self, opened: Option<&Arc<Upstream>>) {
        let mut state = self.0.state();
        if matches!(*state, State::Opening(_)) {
            *state = match opened {
                Some(upstream) => State::Open(upstream.clone()),
                None => State::Empty,
            };
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        // Does nothing after a regular end.
        self.settle(None);
    }
}

/// A handshake whose outcome is open says of the caller's own call that it was never sent.
fn nothing_sent(error: Error) -> Error {
    match error.kind() {
        ErrorKind::SentUnknown | ErrorKind::Timeout { .. } => {
            Error::new(ErrorKind::NotSent, "no session with the backend could be opened").caused_by(error)
        }
        _ => error,
    }
}

/// The upstream sessions of clients, by their downstream sessions.
#[derive(Default)]
pub(super) struct Sessions {
    shards: [Mutex<HashMap<SessionKey, Arc<Cell>>>; SHARDS],
    count: AtomicUsize,
}

impl Sessions {
    /// The cell of a client's session.
    ///
    /// # Errors
    /// `Overloaded` at the bound on sessions.
    pub(super) fn cell(&self, session: &Session) -> Result<Arc<Cell>, Error> {
        let mut shard = self.shard(session.key);
        if let Some(cell) = shard.get(&session.key) {
            return Ok(cell.clone());
        }
        if self.count.load(Ordering::Relaxed) >= MAX_SESSIONS {
            return Err(Error::new(
                ErrorKind::Overloaded,
                "too many sessions with the backend are open",
            ));
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let cell = Cell::empty(session.declared.upward(), Owner::Client(session.key));
        shard.insert(session.key, cell.clone());
        Ok(cell)
    }

    /// The cell of a client's session, if it has one.
    pub(super) fn find(&self, key: SessionKey) -> Option<Arc<Cell>> {
        self.shard(key).get(&key).cloned()
    }

    /// Takes out the cell of a client's session that has ended.
    pub(super) fn remove(&self, key: SessionKey) -> Option<Arc<Cell>> {
        let cell = self.shard(key).remove(&key)?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(cell)
    }

    /// Takes out all.
    pub(super) fn clear(&self) -> Vec<Arc<Cell>> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let cells = std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
            self.count.fetch_sub(cells.len(), Ordering::Relaxed);
            all.extend(cells.into_values());
        }
        all
    }

    fn shard(&self, key: SessionKey) -> MutexGuard<'_, HashMap<SessionKey, Arc<Cell>>> {
        let shard = key.0 as usize % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Parts of the map, so that calls of different sessions seldom meet at one lock.
const SHARDS: usize = 16;

/// Upstream sessions of clients that are kept at once.
const MAX_SESSIONS: usize = 65_536;
