//! [`CallTable`]: the calls that run in one session, by JSON-RPC id.

use std::hash::BuildHasher;
use std::sync::{Arc, Mutex};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::lock;
use super::state::{CallState, Cause};

/// Most calls that run in one session at a time.
pub(super) const MAX_CALLS: usize = 4096;

/// Running calls by id. Ids are the client's own, so two sessions may use the same one.
#[derive(Default)]
pub(super) struct CallTable {
    table: Mutex<Table>,
    hasher: DefaultHashBuilder,
}

#[derive(Default)]
struct Table {
    calls: HashTable<Arc<CallState>>,
    closed: Option<Cause>,
}

/// Why a call was not entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotEntered {
    /// A call of that id is running.
    Duplicate,
    /// Too many are running.
    Full,
    /// The session has ended meanwhile.
    Closed,
}

impl CallTable {
    /// Enters a call. With `unique`, an id that is running already is refused.
    pub(super) fn enter(&self, call: &Arc<CallState>, unique: bool) -> Result<(), NotEntered> {
        let hash = self.hash(call.id());
        let mut table = lock(&self.table);
        if table.closed.is_some() {
            return Err(NotEntered::Closed);
        }
        if unique && table.calls.find(hash, |other| other.id() == call.id()).is_some() {
            return Err(NotEntered::Duplicate);
        }
        if table.calls.len() >= if unique { MAX_CALLS } else { usize::MAX } {
            return Err(NotEntered::Full);
        }
        table
            .calls
            .insert_unique(hash, call.clone(), |call| self.hash(call.id()));
        Ok(())
    }

    /// Removes a call that was entered.
    pub(super) fn leave(&self, call: &Arc<CallState>) {
        let hash = self.hash(call.id());
        let mut table = lock(&self.table);
        if let Ok(entry) = table.calls.find_entry(hash, |other| Arc::ptr_eq(other, call)) {
            entry.remove();
        }
        // A burst must not leave its table behind in a session that then idles.
        if table.calls.is_empty() && table.calls.capacity() > 16 {
            table.calls = HashTable::new();
        }
    }

    /// The running call of that id.
    pub(super) fn find(&self, id: &[u8]) -> Option<Arc<CallState>> {
        let table = lock(&self.table);
        table.calls.find(self.hash(id), |call| call.id() == id).cloned()
    }

    /// Cancels everything and admits nothing more.
    pub(super) fn close(&self, cause: Cause) {
        let calls: Vec<_> = {
            let mut table = lock(&self.table);
            table.closed = Some(cause);
            table.calls.iter().cloned().collect()
        };
        // Outside the lock: cancelling drops futures, and what those do is not ours to know.
        for call in calls {
            call.cancel(cause);
        }
    }

    fn hash(&self, id: &[u8]) -> u64 {
        self.hasher.hash_one(id)
    }
}
