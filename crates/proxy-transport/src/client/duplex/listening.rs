//! What a sessionless backend announces: one `subscriptions/listen` for all that anybody here wants to hear.
//!
//! It stays open as long as the connection. When other resources are wanted, a new one is opened and acknowledged before
//! the old one is cancelled, so nothing falls between them; messages carry the id of their request, and only those of
//! the newest that was acknowledged count. One that the backend ends is opened again, and as changes may have been missed
//! meanwhile, all lists count as changed then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mcp_proxy_core::json::{Params, RawJson};
use mcp_proxy_core::{Call, Error, ErrorKind, Method, ProtocolVersion, Reply, codes};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::Inner;
use super::call::{self, Waiter};
use super::link::Link;
use crate::client::sessionless::listen::{Announces, Wanted};
use crate::client::{Hello, PeerEvent};

/// What is listened to on one connection.
pub(super) struct Listening {
    /// What anybody wants to hear of.
    pub(super) wanted: watch::Sender<Wanted>,
    /// The request whose messages count; 0 for none.
    heard: watch::Sender<u64>,
    /// The request that is being opened; 0 for none.
    opening: AtomicU64,
}

impl Default for Listening {
    fn default() -> Self {
        Self {
            wanted: watch::channel(Wanted::default()).0,
            heard: watch::channel(0).0,
            opening: AtomicU64::new(0),
        }
    }
}

impl Listening {
    /// Whether a message that names this request counts. The first that names the one being opened puts it in place of
    /// the one before.
    pub(super) fn is_heard(&self, request: &RawJson) -> bool {
        let Ok(id) = request.as_str().parse::<u64>() else {
            return false;
        };
        if id != 0 && self.opening.load(Ordering::Acquire) == id {
            self.opening.store(0, Ordering::Release);
            self.heard.send_replace(id);
        }
        *self.heard.borrow() == id && id != 0
    }
}

/// Starts to listen, if the backend announces anything.
pub(super) fn start(inner: &Arc<Inner>, hello: &Hello) {
    let announces = Announces::of(&hello.capabilities);
    let task = Task {
        link: inner.link.clone(),
        announces,
        version: hello.version,
        events: inner.events.clone(),
    };
    inner.tasks.spawn(async move {
        let done = task.link.done.clone();
        tokio::select! {
            biased;
            () = done.cancelled() => {}
            () = task.run() => {}
        }
    });
}

struct Task {
    link: Arc<Link>,
    announces: Announces,
    version: ProtocolVersion,
    /// Weak, for the end of the connection is the end of its events.
    events: mpsc::WeakSender<PeerEvent>,
}

impl Task {
    async fn run(&self) {
        let mut wanted = self.link.listening.wanted.subscribe();
        let mut current: Option<Waiter<'_>>;
        let (mut failures, mut lost) = (0, false);
        loop {
            let now = wanted.borrow_and_update().clone();
            let opened = match self.announces.params(self.version, &now) {
                None => Ok(None),
                Some(params) => self.open(params).await.map(Some),
            };
            match opened {
                // The one before is cancelled here, now that the new one is in place.
                Ok(new) => current = new,
                Err(Failure::Unknown) => {
                    tracing::debug!(backend = %self.link.options.name, "the backend announces changes but takes no subscriptions");
                    return;
                }
                Err(Failure::Other(error)) => {
                    tracing::debug!(backend = %self.link.options.name, %error, "could not listen to the backend's changes; trying again");
                    self.pause(&mut failures).await;
                    continue;
                }
            }
            if std::mem::take(&mut lost) {
                self.all_changed();
            }
            let since = Instant::now();
            let ended = async {
                match &mut current {
                    Some(waiter) => drop(waiter.end().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                () = ended => {
                    lost = true;
                    if since.elapsed() >= STABLE {
                        failures = 0;
                    }
                    self.pause(&mut failures).await;
                }
            }
        }
    }

    /// Sends the request and waits until it is acknowledged.
    async fn open(&self, params: Params) -> Result<Waiter<'_>, Failure> {
        let listening = &self.link.listening;
        let mut heard = listening.heard.subscribe();
        let request = Call::new(Method::SubscriptionsListen).with_params(params);
        let mut waiter = call::begin(&self.link, request, |id| {
            listening.opening.store(id, Ordering::Release);
        })
        .await
        .map_err(Failure::Other)?;
        let id = waiter.id();
        let acknowledged = async {
            // It fails when the connection is gone, and this task with it.
            let _ = heard.wait_for(|heard| *heard == id).await;
        };
        let opened = tokio::select! {
            biased;
            () = acknowledged => Ok(()),
            answer = timeout(self.link.options.idle_timeout.min(PATIENCE), waiter.end()) => Err(answer),
        };
        match opened {
            Ok(()) => Ok(waiter),
            Err(answer) => {
                listening.opening.store(0, Ordering::Release);
                Err(match answer {
                    Ok(Ok(Reply::Error(error))) if error.code() == codes::METHOD_NOT_FOUND => Failure::Unknown,
                    Ok(Ok(Reply::Error(error))) => Failure::refused(&error.message()),
                    Ok(Ok(Reply::Result(_))) => Failure::refused("it ended the subscription before it began"),
                    Ok(Err(error)) => Failure::Other(error),
                    Err(_) => Failure::refused("it did not acknowledge the subscription"),
                })
            }
        }
    }

    /// Whatever changed while nobody listened has gone unnoticed.
    fn all_changed(&self) {
        let Some(events) = self.events.upgrade() else { return };
        for kind in self.announces.lists() {
            // Where there is no room, there is as much to refresh already.
            let _ = events.try_send(PeerEvent::ListChanged(kind));
        }
    }

    async fn pause(&self, failures: &mut u32) {
        let pause = FIRST_PAUSE * 2_u32.pow((*failures).min(6));
        *failures = failures.saturating_add(1);
        sleep(pause).await;
    }
}

/// Why the backend cannot be listened to.
enum Failure {
    /// It does not know how.
    Unknown,
    /// For now.
    Other(Error),
}

impl Failure {
    fn refused(why: &str) -> Self {
        Self::Other(Error::new(ErrorKind::Refused, why))
    }
}

/// How long the acknowledgement may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause before a subscription is opened again; it doubles with each failure, up to half a minute.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// A subscription that lasted this long ends a streak of failures.
const STABLE: Duration = Duration::from_secs(60);
