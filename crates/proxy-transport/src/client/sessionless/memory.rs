//! What is remembered of a backend's era between two connections.
//!
//! Only that a backend knows nothing of the sessionless era is worth remembering: it spares a question that such a backend
//! may answer slowly or not at all. A backend of that era is asked at each connect anyway, for what it can do. The memory
//! fades, since a backend that was upgraded still takes the old handshake and so would never prove it wrong.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Whether a backend is known to speak the session era only.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Option<Instant>>);

impl Memory {
    /// Notes that the backend did not understand the question.
    pub(crate) fn speaks_sessions(&self) {
        self.set(Some(Instant::now() + BELIEVED));
    }

    /// Forgets, since something contradicts it.
    pub(crate) fn forget(&self) {
        self.set(None);
    }

    /// Whether the question can be spared.
    pub(crate) fn is_session_only(&self) -> bool {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn set(&self, until: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// How long it is believed.
const BELIEVED: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_fades() {
        let memory = Memory::default();
        assert!(!memory.is_session_only());
        memory.speaks_sessions();
        assert!(memory.is_session_only());
        tokio::time::advance(BELIEVED).await;
        assert!(!memory.is_session_only());
        memory.speaks_sessions();
        memory.forget();
        assert!(!memory.is_session_only());
    }
}
