//! What a backend tells the proxy without being asked: changed lists, and its own end.
//!
//! Changes are noted in a few bits and sent on by one task, at most twice a second, so a backend that announces
//! thousands costs two refreshes. The session's own event stream (GET) is read by a second task while the backend offers
//! one.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mcp_proxy_core::catalogue::Kind;
use mcp_proxy_core::{Error, Method};
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::{Notify, futures::Notified};

use super::super::PeerEvent;
use super::interim::changed_lists;

/// Where events of one peer are noted. A clone of the sending half lives in the task that sends them on.
pub(super) struct Events {
    changed: AtomicU8,
    wake: Notify,
    /// Room kept for the last event, so that it can always be sent. Gone once it was.
    last: Mutex<Option<OwnedPermit<PeerEvent>>>,
}

impl Events {
    /// Notes events and gives the receiving half of the channel, and what [`forward`] needs.
    pub(super) fn new() -> (Arc<Self>, mpsc::Sender<PeerEvent>, mpsc::Receiver<PeerEvent>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let events = Self::none();
        *events.last() = sender.clone().try_reserve_owned().ok();
        (Arc::new(events), sender, receiver)
    }

    /// Takes events for nobody.
    pub(super) fn none() -> Self {
        Self {
            changed: AtomicU8::new(0),
            wake: Notify::new(),
            last: Mutex::new(None),
        }
    }

    /// Notes a notification about lists; false when it is about something else.
    pub(super) fn take(&self, method: &Method) -> bool {
        let kinds = changed_lists(method);
        self.changed(kinds);
        !kinds.is_empty()
    }

    /// Notes that lists changed, or may have.
    pub(super) fn changed(&self, kinds: &[Kind]) {
        let bits = kinds.iter().fold(0, |bits, kind| bits | bit(*kind));
        if bits != 0 {
            self.changed.fetch_or(bits, Ordering::Release);
            self.wake.notify_one();
        }
    }

    /// Says that the backend seems to be gone. Only the first time counts, and nothing comes after it.
    pub(super) fn closed(&self, error: &Error) {
        if let Some(permit) = self.last().take() {
            permit.send(PeerEvent::Closed(error.clone()));
            self.wake.notify_one();
        }
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<OwnedPermit<PeerEvent>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.last().is_none()
    }

    fn noted(&self) -> Notified<'_> {
        self.wake.notified()
    }
}

/// Sends on what is noted, until the last event or until nobody listens.
pub(super) async fn forward(events: Arc<Events>, sender: mpsc::Sender<PeerEvent>) {
    loop {
        events.noted().await;
        let changed = events.changed.swap(0, Ordering::Acquire);
        for kind in Kind::ALL.into_iter().filter(|kind| changed & bit(*kind) != 0) {
            if events.is_over() || sender.send(PeerEvent::ListChanged(kind)).await.is_err() {
                return;
            }
        }
        if events.is_over() {
            return;
        }
        tokio::time::sleep(MERGE).await;
    }
}

fn bit(kind: Kind) -> u8 {
    1 << kind as u8
}

/// Events that wait for the manager: each kind once or twice, and the last.
const QUEUE: usize = 16;

/// Changes within this time are told once.
const MERGE: Duration = Duration::from_millis(500);
