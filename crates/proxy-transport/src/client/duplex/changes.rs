//! `list_changed` notifications, merged: however often a backend sends them, two refreshes a second are enough.

use std::time::Duration;

use mcp_proxy_core::Method;
use mcp_proxy_core::catalogue::Kind;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::client::PeerEvent;

/// What changed and has not been passed on yet.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    waiting: Vec<Kind>,
    next: Option<Instant>,
}

impl Changes {
    /// The lists that a notification says have changed. Resources and their templates share one notification.
    pub(crate) fn kinds(method: &Method) -> &'static [Kind] {
        match method {
            Method::ToolsChanged => &[Kind::Tool],
            Method::ResourcesChanged => &[Kind::Resource, Kind::Template],
            Method::PromptsChanged => &[Kind::Prompt],
            _ => &[],
        }
    }

    /// Notes that lists have changed.
    pub(crate) fn note(&mut self, kinds: &[Kind]) {
        for kind in kinds {
            if !self.waiting.contains(kind) {
                self.waiting.push(*kind);
            }
        }
    }

    /// Waits until something may be passed on; for ever when nothing has changed.
    pub(crate) async fn due(&self) {
        if self.waiting.is_empty() {
            return std::future::pending().await;
        }
        if let Some(next) = self.next {
            tokio::time::sleep_until(next).await;
        }
    }

    /// Passes on what waits. What finds no room stays for the next time: the receiver has as much to refresh already.
    pub(crate) fn pass_on(&mut self, events: &mpsc::Sender<PeerEvent>) {
        self.waiting.retain(|kind| {
            let sent = events.try_send(PeerEvent::ListChanged(*kind));
            matches!(sent, Err(mpsc::error::TrySendError::Full(_)))
        });
        self.next = Some(Instant::now() + INTERVAL);
    }
}

/// Shortest time between two rounds.
const INTERVAL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_storm_of_changes_is_two_rounds_a_second() {
        let (events, mut received) = mpsc::channel(16);
        let (start, mut changes) = (Instant::now(), Changes::default());
        for _ in 0..3 {
            for _ in 0..100 {
                changes.note(Changes::kinds(&Method::ToolsChanged));
            }
            changes.due().await;
            changes.pass_on(&events);
        }
        assert_eq!(start.elapsed(), INTERVAL * 2);
        for _ in 0..3 {
            assert!(matches!(received.try_recv(), Ok(PeerEvent::ListChanged(Kind::Tool))));
        }
        assert!(received.try_recv().is_err());
    }
}
