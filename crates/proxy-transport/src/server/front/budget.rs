//! What the logs of streams may hold: bounds for one session and for the whole process, counted in the same place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Most events that are kept for one session, all its streams together.
pub(super) const SESSION_EVENTS: usize = 10_000;
/// Most bytes that are kept for one session.
pub(super) const SESSION_BYTES: usize = 4 * 1024 * 1024;
/// Most bytes that are kept for all sessions together.
pub(super) const TOTAL_BYTES: usize = 64 * 1024 * 1024;

/// What an event weighs beside its text.
const OVERHEAD: usize = 64;

/// What all logs of the process hold.
#[derive(Debug, Default)]
pub(super) struct Total {
    bytes: AtomicUsize,
    /// Messages that were never read before they had to go.
    pub(super) lost: AtomicU64,
}

impl Total {
    /// How many bytes all logs hold.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What the logs of one session hold.
#[derive(Debug)]
pub(super) struct Budget {
    /// Off: nothing is kept once it was read.
    keeps: bool,
    events: AtomicUsize,
    bytes: AtomicUsize,
    pub(super) total: Arc<Total>,
}

impl Budget {
    pub(super) fn new(keeps: bool, total: Arc<Total>) -> Self {
        Self {
            keeps,
            events: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            total,
        }
    }

    /// Whether anything is kept at all.
    pub(super) fn keeps(&self) -> bool {
        self.keeps
    }

    /// An event of that length was added.
    pub(super) fn add(&self, len: usize) {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(len + OVERHEAD, Ordering::Relaxed);
        self.total.bytes.fetch_add(len + OVERHEAD, Ordering::Relaxed);
    }

    /// And has gone.
    pub(super) fn remove(&self, len: usize) {
        self.events.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(len + OVERHEAD, Ordering::Relaxed);
        self.total.bytes.fetch_sub(len + OVERHEAD, Ordering::Relaxed);
    }

    /// Whether more is held than may be.
    pub(super) fn is_exceeded(&self) -> bool {
        !self.keeps
            || self.events.load(Ordering::Relaxed) > SESSION_EVENTS
            || self.bytes.load(Ordering::Relaxed) > SESSION_BYTES
            || self.total.bytes.load(Ordering::Relaxed) > TOTAL_BYTES
    }
}
