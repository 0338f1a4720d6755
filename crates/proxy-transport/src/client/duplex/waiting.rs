//! A call that waits for its answer, and how far its request has come.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use mcp_proxy_core::ClientHandle;
use mcp_proxy_core::json::RawJson;
use tokio::time::Instant;

use super::callers::Caller;

/// A call that waits for its answer.
pub(super) struct Waiting {
    pub(super) client: ClientHandle,
    pub(super) token: Option<RawJson>,
    pub(super) caller: Caller,
    /// It is meant to go on as long as the connection.
    pub(super) lasts: bool,
    stage: Stage,
    heard: Mutex<Instant>,
}

/// A message on its way to the writer.
pub(super) struct Outbound {
    pub(super) text: Bytes,
    /// The call it belongs to; `None` for notifications.
    pub(super) call: Option<Arc<Waiting>>,
}

/// How far a request has come. The writer takes it or the call withdraws it, whoever is first.
struct Stage(AtomicU8);

const QUEUED: u8 = 0;
const TAKEN: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Waiting {
    pub(super) fn new(client: ClientHandle, caller: Caller, token: Option<RawJson>, lasts: bool) -> Arc<Self> {
        Arc::new(Self {
            client,
            token,
            caller,
            lasts,
            stage: Stage(AtomicU8::new(QUEUED)),
            heard: Mutex::new(Instant::now()),
        })
    }

    /// The writer takes the request; false when it was withdrawn.
    pub(super) fn take(&self) -> bool {
        self.stage.step(QUEUED, TAKEN)
    }

    /// The writer gives back a request of which no byte has left.
    pub(super) fn give_back(&self) {
        self.stage.step(TAKEN, QUEUED);
    }

    /// Withdraws the request; false when the backend may know of it.
    pub(super) fn withdraw(&self) -> bool {
        self.stage.step(QUEUED, WITHDRAWN)
    }

    pub(super) fn was_taken(&self) -> bool {
        self.stage.0.load(Ordering::Acquire) == TAKEN
    }

    pub(super) fn is_sent_by(&self, caller: Caller) -> bool {
        self.caller == caller && self.was_taken()
    }

    /// The backend said something about this call.
    pub(super) fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// When the backend last said something about this call.
    pub(super) fn last_heard(&self) -> Instant {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stage {
    fn step(&self, from: u8, to: u8) -> bool {
        self.0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }
}
