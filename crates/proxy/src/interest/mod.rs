//! What clients asked to hear of outside their calls: changes of resources, states of tasks, log messages.
//!
//! ```text
//!   stack (subscribe, setLevel, listen) ──► Interest ──► Watch: per backend, the union of what its clients want
//!   backend ──► runtime/downstream ──► Interest: who wants to hear of this ──► front
//! ```
//!
//! It is kept by session, and a stream of `subscriptions/listen` counts as one. Everything of a session is forgotten with
//! it; what a session that has already ended asks for is refused, so nothing stays behind. All of it is bounded.

mod owners;
#[cfg(test)]
mod tests;
mod topics;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mcp_proxy_core::catalogue::BackendIndex;
use mcp_proxy_core::{LogLevel, SessionKey};
use mcp_proxy_transport::client::BoxFuture;

pub(crate) use topics::{About, Refused};

use owners::Owners;
use topics::Topics;

/// Tells a backend what its clients want to hear of: the whole set, by its own names. Never blocks.
///
/// Whoever changes the interest brings it along. Backends hold the interest, so it must not hold them.
pub(crate) type Watch = Arc<dyn Fn(BackendIndex, About, Arc<[Box<str>]>) + Send + Sync>;

/// Waits until a backend has been asked for all that, unless it is away. Has no limit of its own.
pub(crate) type Settled = Arc<dyn Fn(BackendIndex) -> BoxFuture<'static, ()> + Send + Sync>;

/// Everything clients asked to hear of.
#[derive(Default)]
pub(crate) struct Interest {
    topics: Mutex<Topics>,
    owners: Mutex<Owners>,
}

impl Interest {
    /// A session begins.
    pub(crate) fn open(&self, session: SessionKey) {
        lock(&self.topics).open(session);
    }

    /// A session has ended: all it asked for is forgotten.
    pub(crate) fn close(&self, session: SessionKey, watch: &Watch) {
        let mut topics = lock(&self.topics);
        // Told under the lock, here and below: two changes at once must not reach the backend in the wrong order.
        for (backend, about) in topics.close(session) {
            watch(backend, about, topics.union(backend, about));
        }
    }

    /// A session wants to hear of something.
    pub(crate) fn add(
        &self,
        session: SessionKey,
        backend: BackendIndex,
        about: About,
        local: &str,
        watch: &Watch,
    ) -> Result<(), Refused> {
        let mut topics = lock(&self.topics);
        if topics.add(session, backend, about, local)? {
            watch(backend, about, topics.union(backend, about));
        }
        Ok(())
    }

    /// It does not any more.
    pub(crate) fn remove(&self, session: SessionKey, backend: BackendIndex, about: About, local: &str, watch: &Watch) {
        let mut topics = lock(&self.topics);
        if topics.remove(session, backend, about, local) {
            watch(backend, about, topics.union(backend, about));
        }
    }

    /// Who wants to hear of something, in no order. Who watches a resource hears of what lies below it, too.
    pub(crate) fn listeners(&self, backend: BackendIndex, about: About, local: &str) -> Vec<SessionKey> {
        lock(&self.topics).listeners(backend, about, local)
    }

    /// Notes the log level of a session; gives the least one that any session wants.
    pub(crate) fn set_level(&self, session: Option<SessionKey>, level: LogLevel) -> LogLevel {
        let mut topics = lock(&self.topics);
        if let Some(session) = session {
            topics.set_level(session, level);
        }
        topics.least_level().map_or(level, |least| least.min(level))
    }

    /// Notes whose task this is.
    pub(crate) fn own_task(&self, session: SessionKey, backend: BackendIndex, id: &str) {
        lock(&self.owners).add(session, backend, id);
    }

    /// Whose task it is.
    pub(crate) fn task_owner(&self, backend: BackendIndex, id: &str) -> Option<SessionKey> {
        lock(&self.owners).find(backend, id)
    }
}

/// Locks a mutex whose data no panic can leave half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
