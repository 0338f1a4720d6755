//! [`Sessions`]: the sessions of all clients, found by the secret id that each request repeats.
//!
//! Bounded in number and in memory, sharded so that no lock is common to all requests. A session ends by `DELETE`, by
//! idleness (checked at every look-up, so an expired id is unknown even before it is swept), by the bound (the one idle
//! longest goes first; one with an open stream or a running call last), or with the proxy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use http::HeaderValue;
use mcp_proxy_core::json::{Notification, Slot};
use mcp_proxy_core::{LogLevel, Method, ProtocolVersion, Session, SessionKey};
use tokio::time::Instant;

use super::ask::Asking;
use super::calls::CallTable;
use super::lock;
use super::streams::{Reach, Streams};
use crate::server::options::SessionOptions;

const SHARDS: usize = 32;
/// How many candidates for eviction one scan of all sessions finds.
const CANDIDATES: usize = 64;

/// One session of a client.
pub(super) struct Entry {
    pub(super) session: Arc<Session>,
    pub(super) calls: CallTable,
    /// What backends asked of the client.
    pub(super) asking: Asking,
    /// Its event streams.
    pub(super) streams: Streams,
    id: u128,
    /// Running requests and open streams.
    busy: AtomicU32,
    /// When it was last used, in nanoseconds after [`Sessions::epoch`].
    used: AtomicU64,
    /// 0, or one more than the level that the client set.
    log_level: AtomicU8,
}

impl Entry {
    /// Notes that the client is alive.
    pub(super) fn touch(&self, sessions: &Sessions) {
        self.used.store(sessions.now(), Ordering::Relaxed);
    }

    /// A request of this session is being served, or a stream of it read, until the guard is dropped.
    pub(super) fn begin(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// The opposite of [`begin`](Self::begin).
    pub(super) fn end(&self, sessions: &Sessions) {
        self.touch(sessions);
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// The least log level that the client wants to read; `None` before it has said.
    pub(super) fn log_level(&self) -> Option<LogLevel> {
        let level = self.log_level.load(Ordering::Relaxed).checked_sub(1)?;
        LogLevel::ALL.get(usize::from(level)).copied()
    }

    /// Whether the client has asked to read this, and its revision knows it.
    pub(super) fn wants(&self, message: &Notification) -> bool {
        match message.method {
            Method::LogMessage => {
                let level = message.params.string(Slot::Level);
                // Before a session sets its level, what is sent is the backend's choice.
                match (self.log_level(), level.as_deref().and_then(LogLevel::parse)) {
                    (Some(least), Some(level)) => level >= least,
                    _ => true,
                }
            }
            Method::TaskStatus | Method::ElicitationComplete => self.session.version >= ProtocolVersion::V2025_11_25,
            Method::TaskChanged | Method::SubscriptionsAcknowledged => false,
            _ => true,
        }
    }

    /// Sends a message on exactly one of the session's own streams; false when none takes it, or the client does not want
    /// it. News that waits there already is not added again.
    pub(super) fn tell(&self, message: &Notification, text: &Bytes) -> bool {
        let merge = matches!(
            message.method,
            Method::ToolsChanged | Method::ResourcesChanged | Method::PromptsChanged | Method::ResourceUpdated
        );
        self.wants(message) && self.streams.send(text, merge, Reach::Anybody).is_some()
    }

    /// Sets the least log level that the client wants to read.
    pub(super) fn set_log_level(&self, level: LogLevel) {
        self.log_level.store(level as u8 + 1, Ordering::Relaxed);
    }

    /// The value of `Mcp-Session-Id`.
    pub(super) fn wire_id(&self) -> HeaderValue {
        let text = format!("{:032x}", self.id);
        HeaderValue::from_str(&text).expect("hexadecimal digits are visible ASCII")
    }

    /// Sorts those first that should go first.
    fn rank(&self) -> (bool, u64, SessionKey) {
        let busy = self.busy.load(Ordering::Relaxed) > 0;
        (busy, self.used.load(Ordering::Relaxed), self.session.key)
    }
}

type Shard = Mutex<HashMap<u128, Arc<Entry>>>;

/// All sessions.
pub(super) struct Sessions {
    shards: Box<[Shard]>,
    /// The secret ids by the key that the rest of the proxy knows.
    keys: Box<[Mutex<HashMap<SessionKey, u128>>]>,
    count: AtomicUsize,
    epoch: Instant,
    options: SessionOptions,
    candidates: Mutex<Vec<(u64, u128)>>,
}

/// What is known of a session id.
pub(super) enum Found {
    /// It is live.
    Live(Arc<Entry>),
    /// It was idle too long and has just been removed; its end is to be told.
    Expired(Arc<Entry>),
    /// Unknown.
    Unknown,
}

impl Sessions {
    pub(super) fn new(options: SessionOptions) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            keys: (0..SHARDS).map(|_| Mutex::default()).collect(),
            count: AtomicUsize::new(0),
            epoch: Instant::now(),
            options,
            candidates: Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// A number for a new session.
    pub(super) fn next_key() -> SessionKey {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        SessionKey(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Enters a session under a new random id. Gives those that had to go for it.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub(super) fn open(&self, session: Arc<Session>) -> Result<(Arc<Entry>, Vec<Arc<Entry>>), getrandom::Error> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        let entry = Arc::new(Entry {
            session,
            calls: CallTable::default(),
            asking: Asking::default(),
            id: u128::from_be_bytes(id),
            busy: AtomicU32::new(0),
            used: AtomicU64::new(self.now()),
            streams: Streams::default(),
            log_level: AtomicU8::new(0),
        });
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut evicted = Vec::new();
        while self.len() > self.options.max.max(1) {
            match self.evict() {
                Some(entry) => evicted.push(entry),
                None => break,
            }
        }
        lock(self.keys(entry.session.key)).insert(entry.session.key, entry.id);
        lock(self.shard(entry.id)).insert(entry.id, entry.clone());
        Ok((entry, evicted))
    }

    /// Looks up the value of `Mcp-Session-Id`, and notes that its client is alive.
    pub(super) fn find(&self, id: &HeaderValue) -> Found {
        let Some(id) = parse(id.as_bytes()) else {
            return Found::Unknown;
        };
        let mut shard = lock(self.shard(id));
        match shard.get(&id) {
            None => Found::Unknown,
            Some(entry) if self.is_expired(entry) => {
                let entry = entry.clone();
                shard.remove(&id);
                self.forgotten(&entry);
                Found::Expired(entry)
            }
            Some(entry) => {
                entry.touch(self);
                Found::Live(entry.clone())
            }
        }
    }

    /// The live session of that key.
    pub(super) fn by_key(&self, key: SessionKey) -> Option<Arc<Entry>> {
        let id = *lock(self.keys(key)).get(&key)?;
        lock(self.shard(id)).get(&id).cloned()
    }

    /// Removes a session; false when somebody else did.
    pub(super) fn remove(&self, entry: &Entry) -> bool {
        let removed = lock(self.shard(entry.id)).remove(&entry.id).is_some();
        if removed {
            self.forgotten(entry);
        }
        removed
    }

    /// Removes what has been idle too long.
    pub(super) fn sweep(&self) -> Vec<Arc<Entry>> {
        let mut expired = Vec::new();
        for shard in &self.shards {
            let mut shard = lock(shard);
            expired.extend(
                shard
                    .extract_if(|_, entry| self.is_expired(entry))
                    .map(|(_, entry)| entry),
            );
            if shard.capacity() > 64 && shard.len() * 4 < shard.capacity() {
                shard.shrink_to_fit();
            }
        }
        expired.iter().for_each(|entry| self.forgotten(entry));
        expired
    }

    /// All sessions of this moment.
    pub(super) fn all(&self) -> Vec<Arc<Entry>> {
        let mut all = Vec::with_capacity(self.len());
        for shard in &self.shards {
            all.extend(lock(shard).values().cloned());
        }
        all
    }

    /// How often to sweep.
    pub(super) fn sweep_interval(&self) -> Duration {
        (self.options.idle / 4).clamp(Duration::from_secs(1), Duration::from_secs(60))
    }

    fn is_expired(&self, entry: &Entry) -> bool {
        let silent = self.now().saturating_sub(entry.used.load(Ordering::Relaxed));
        entry.busy.load(Ordering::Relaxed) == 0 && u128::from(silent) > self.options.idle.as_nanos()
    }

    /// Removes the session that should go first. A scan of all finds several candidates in order; a candidate that has
    /// not been used since is still the next to go, since whatever was used later ranks behind it.
    fn evict(&self) -> Option<Arc<Entry>> {
        loop {
            let candidate = lock(&self.candidates).pop();
            let Some((used, id)) = candidate else { break };
            let mut shard = lock(self.shard(id));
            let still = |entry: &Arc<Entry>| {
                let (busy, last, _) = entry.rank();
                !busy && last == used
            };
            if shard.get(&id).is_some_and(still) {
                let entry = shard.remove(&id)?;
                self.forgotten(&entry);
                return Some(entry);
            }
        }
        let mut first = BTreeMap::new();
        for shard in &self.shards {
            for entry in lock(shard).values() {
                first.insert(entry.rank(), entry.clone());
                if first.len() > CANDIDATES {
                    first.pop_last();
                }
            }
        }
        let (_, victim) = first.pop_first()?;
        *lock(&self.candidates) = first
            .into_iter()
            .rev()
            .filter(|((busy, ..), _)| !busy)
            .map(|((_, used, _), entry)| (used, entry.id))
            .collect();
        self.remove(&victim).then_some(victim)
    }

    /// A session was taken out of its shard.
    fn forgotten(&self, entry: &Entry) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        let mut keys = lock(self.keys(entry.session.key));
        keys.remove(&entry.session.key);
        if keys.capacity() > 64 && keys.len() * 4 < keys.capacity() {
            keys.shrink_to_fit();
        }
    }

    fn keys(&self, key: SessionKey) -> &Mutex<HashMap<SessionKey, u128>> {
        // Keys count up, so neighbours meet different locks.
        &self.keys[(key.0 % SHARDS as u64) as usize]
    }

    fn shard(&self, id: u128) -> &Shard {
        // Ids are random, so any of their bits will do.
        &self.shards[(id % SHARDS as u128) as usize]
    }
}

/// Reads a session id: 32 lower-case hexadecimal digits.
fn parse(text: &[u8]) -> Option<u128> {
    if text.len() != 32 {
        return None;
    }
    text.iter().try_fold(0, |id, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(id << 4 | u128::from(digit))
    })
}
