//! [`Owners`]: which session began a task, so that it alone hears how the task is doing (2025-11-25).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mcp_proxy_core::SessionKey;
use mcp_proxy_core::catalogue::BackendIndex;
use tokio::time::Instant;

/// Most tasks that are remembered; the oldest go first. Whose is forgotten can still be asked for.
pub(super) const MAX_TASKS: usize = 10_000;
/// How long one is remembered.
const MEMORY: Duration = Duration::from_secs(24 * 60 * 60);

type Key = (BackendIndex, Arc<str>);

#[derive(Default)]
pub(super) struct Owners {
    by_task: HashMap<Key, (SessionKey, Instant)>,
    /// In the order they were noted.
    order: VecDeque<Key>,
}

impl Owners {
    pub(super) fn add(&mut self, session: SessionKey, backend: BackendIndex, id: &str) {
        let key: Key = (backend, id.into());
        if self.by_task.insert(key.clone(), (session, Instant::now())).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > MAX_TASKS || self.order.front().is_some_and(|key| self.is_old(key)) {
            if let Some(oldest) = self.order.pop_front() {
                self.by_task.remove(&oldest);
            }
        }
    }

    pub(super) fn find(&self, backend: BackendIndex, id: &str) -> Option<SessionKey> {
        let key: Key = (backend, id.into());
        let (session, since) = self.by_task.get(&key)?;
        (since.elapsed() < MEMORY).then_some(*session)
    }

    fn is_old(&self, key: &Key) -> bool {
        self.by_task.get(key).is_none_or(|(_, since)| since.elapsed() >= MEMORY)
    }
}
