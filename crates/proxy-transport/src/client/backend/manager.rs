//! The task behind a backend: connect, list, listen for changes, and start over when the connection is gone.

use std::sync::Arc;
use std::time::Duration;

use mcp_proxy_core::catalogue::{Kind, Listing};
use mcp_proxy_core::{Error, ErrorKind};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::{Names, OpenPeer, Phase, Shared, Watched, listing};
use crate::client::{BoxFuture, Connected, Peer, PeerEvent};

/// A connection that lasted this long ends a streak of failures.
const STABLE: Duration = Duration::from_secs(60);

/// How long a list that could not be refreshed waits for its next try.
const REFRESH_RETRY: Duration = Duration::from_secs(2);

pub(super) async fn run(shared: Arc<Shared>) {
    let stop = shared.stop.clone();
    // Biased: stopping wins over whatever else is ready.
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = serve(&shared) => {}
    }
    if let Some(peer) = shared.peer.swap(None) {
        peer.0.close().await;
    }
    shared.set(|status| status.phase = Phase::Stopped);
}

async fn serve(shared: &Shared) {
    let mut failures = 0;
    if shared.options.lazy {
        shared.wake.notified().await;
    }
    loop {
        shared.set(|status| status.phase = Phase::Connecting);
        let error = match connect(shared).await {
            Ok((peer, events)) => {
                let since = Instant::now();
                let ended = tokio::select! {
                    ended = attend(shared, &peer, events) => ended,
                    never = keep_watching(shared, &shared.watched, |uris| peer.watch(uris)) => match never {},
                    never = keep_watching(shared, &shared.watched_tasks, |ids| peer.watch_tasks(ids)) => match never {},
                };
                if since.elapsed() >= STABLE {
                    failures = 0;
                }
                ended
            }
            Err(error) => Some(error),
        };
        let Some(error) = error else {
            // Stopped for idleness: nothing failed, and nobody needs it now.
            shared.set(|status| status.phase = Phase::Idle);
            shared.wake.notified().await;
            continue;
        };
        let delay = shared.options.backoff.delay(failures, random());
        failures = failures.saturating_add(1);
        report(shared, &error, failures, delay);
        let mut served = false;
        shared.set(|status| {
            served = status.phase == Phase::Ready;
            // No wait, no waiting state: calls that arrive now wait for the attempt instead of failing.
            status.phase = if delay.is_zero() {
                Phase::Connecting
            } else {
                Phase::Waiting
            };
            status.failures = failures;
            status.error = Some(error);
        });
        if served {
            shared.changed.notify_one();
        }
        sleep(delay).await;
    }
}

/// One attempt: handshake and lists within the connect time-out.
async fn connect(shared: &Shared) -> Result<(Arc<dyn Peer>, mpsc::Receiver<PeerEvent>), Error> {
    let limit = shared.options.connect_timeout;
    let last = shared.status.borrow().listing.clone();
    let attempt = async {
        let Connected { peer, hello, events } = shared.connector.connect(shared.downstream.clone()).await?;
        match listing::all(&peer, &hello, last.as_deref(), &shared.options.name).await {
            Ok(listing) => Ok((peer, events, hello, listing)),
            Err(error) => {
                peer.close().await;
                Err(error)
            }
        }
    };
    let (peer, events, hello, listing) = timeout(limit, attempt).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Timeout { sent: true },
            format!("no answer to the handshake within {} s", limit.as_secs()),
        ))
    })?;
    tracing::info!(
        backend = %shared.options.name,
        version = %hello.version,
        tools = listing.tools.len(),
        resources = listing.resources.len(),
        prompts = listing.prompts.len(),
        "backend ready"
    );
    let previous = shared.peer.swap(Some(Arc::new(OpenPeer(peer.clone()))));
    if let Some(previous) = previous.filter(|previous| !Arc::ptr_eq(&previous.0, &peer)) {
        shared.tasks.spawn(async move { previous.0.close().await });
    }
    shared.publish(Phase::Ready, listing);
    Ok((peer, events))
}

/// Follows a connection to its end. `None` when it ended because nobody used it.
async fn attend(shared: &Shared, peer: &Arc<dyn Peer>, mut events: mpsc::Receiver<PeerEvent>) -> Option<Error> {
    let mut dirty: Vec<Kind> = Vec::new();
    let mut retry_at = None;
    loop {
        let retry = async {
            match retry_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = events.recv() => match event {
                Some(PeerEvent::ListChanged(kind)) => {
                    note(&mut dirty, kind);
                    // Resources and templates share one notification.
                    if kind == Kind::Resource {
                        note(&mut dirty, Kind::Template);
                    }
                }
                Some(PeerEvent::Closed(error)) => return Some(error),
                None => return None,
            },
            () = retry => {}
        }
        retry_at = refresh(shared, peer, &mut dirty)
            .await
            .then(|| Instant::now() + REFRESH_RETRY);
    }
}

/// Tells the peer what to watch, now and whenever it is something else. On its own, so that a list that hangs delays no
/// subscription.
async fn keep_watching<'p>(
    shared: &Shared,
    watched: &Watched,
    tell: impl Fn(Names) -> BoxFuture<'p, Result<(), Error>>,
) -> std::convert::Infallible {
    let mut wanted = watched.wanted.subscribe();
    let mut told = false;
    loop {
        let names = wanted.borrow_and_update().clone();
        // A new peer watches nothing, so nothing need be said of nothing.
        if told || !names.is_empty() {
            told = true;
            let limit = shared.options.connect_timeout;
            match timeout(limit, tell(names.clone())).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(backend = %shared.options.name, %error, "the backend could not be asked for updates");
                }
                Err(_) => {
                    tracing::warn!(backend = %shared.options.name, "the backend did not answer when asked for updates");
                }
            }
        }
        watched.told.send_replace(names);
        if wanted.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn note(dirty: &mut Vec<Kind>, kind: Kind) {
    if !dirty.contains(&kind) {
        dirty.push(kind);
    }
}

/// Asks for the changed lists again; what fails stays dirty. True when something did.
async fn refresh(shared: &Shared, peer: &Arc<dyn Peer>, dirty: &mut Vec<Kind>) -> bool {
    let Some(current) = shared.status.borrow().listing.clone() else {
        return false;
    };
    let mut listing = Listing::clone(&current);
    let mut left = Vec::new();
    for kind in dirty.drain(..) {
        let name = &shared.options.name;
        let version = listing.version.unwrap_or_default();
        match timeout(shared.options.connect_timeout, listing::one(peer, version, kind)).await {
            Ok(Ok(Ok(list))) => list.settle(&mut listing, kind),
            Ok(Ok(Err(refusal))) => {
                tracing::warn!(backend = %name, list = kind.list_key(), %refusal, "the backend refused one of its lists");
            }
            Ok(Err(error)) => {
                tracing::warn!(backend = %name, list = kind.list_key(), %error, "a changed list could not be read; trying again");
                left.push(kind);
            }
            Err(_) => {
                tracing::warn!(backend = %name, list = kind.list_key(), "a changed list was not answered in time; trying again");
                left.push(kind);
            }
        }
    }
    *dirty = left;
    shared.publish(Phase::Ready, listing);
    !dirty.is_empty()
}

fn report(shared: &Shared, error: &Error, failures: u32, delay: Duration) {
    let source = std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default();
    let retry_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    // One line when it goes away; the attempts that follow are details.
    if failures <= 1 {
        tracing::warn!(backend = %shared.options.name, %error, source, retry_ms, "backend away");
    } else {
        tracing::debug!(backend = %shared.options.name, %error, source, failures, retry_ms, "backend still away");
    }
}

fn random() -> u8 {
    let mut byte = [0];
    // Without randomness the jitter is fixed, which is all that is lost.
    getrandom::fill(&mut byte).map(|()| byte[0]).unwrap_or(128)
}

impl Shared {
    fn set(&self, change: impl FnOnce(&mut super::Status)) {
        self.status.send_modify(change);
    }

    fn publish(&self, phase: Phase, listing: Listing) {
        let mut changed = false;
        self.set(|status| {
            changed = status.phase != phase;
            status.phase = phase;
            status.failures = 0;
            status.error = None;
            if status.listing.as_deref() != Some(&listing) {
                changed = true;
                status.listing = Some(Arc::new(listing));
            }
        });
        if changed {
            self.changed.notify_one();
        }
    }
}
