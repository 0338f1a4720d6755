//! The tasks that follow sessions' own event streams (GET).
//!
//! A backend need not offer any. If it does, a stream is opened again whenever it ends, with a growing pause, after the
//! event that came last. That of the catalogue's session also shows that the backend is gone, and what may have been
//! missed meanwhile is looked up. That of a client's session is opened before its first call is sent, since what a
//! server asks in the middle of a call may come there.

use std::sync::{Arc, Weak};
use std::time::Duration;

use mcp_proxy_core::catalogue::Kind;
use mcp_proxy_core::{Error, ErrorKind, SessionKey};
use tokio::sync::oneshot;

use super::core::Core;
use super::events::Events;
use super::session::{Cell, Upstream};
use super::stream::{Opened, Place, follow, meanwhile, open};
use super::unasked::Unasked;
use super::voice::Voice;

/// Follows the stream of the catalogue's session until the backend offers none any more or is gone. `announced` are the
/// lists whose changes the backend has promised to announce; `first` is told when it has answered for the first time;
/// `healed` is called when the session had to be opened anew.
pub(super) async fn catalogue(
    core: &Arc<Core>,
    cell: &Arc<Cell>,
    events: &Events,
    announced: &[Kind],
    first: oneshot::Sender<()>,
    healed: impl Fn(),
) {
    let mut first = Some(first);
    let mut at: Option<Listening> = None;
    let mut worked = false;
    loop {
        let upstream = match cell.get(core, None).await {
            Ok(upstream) => upstream,
            Err(error) => return events.closed(&error),
        };
        let listening = match at.take().filter(|at| Arc::ptr_eq(&at.upstream, &upstream)) {
            Some(same) => at.insert(same),
            None => at.insert(Listening::new(core, &upstream)),
        };
        let request = core.get(&upstream, listening.place.last_id.as_ref());
        let opening = open(core, request, upstream.id.is_some());
        let opened = meanwhile(&mut listening.unasked, opening).await;
        if let Some(first) = first.take() {
            // Nobody waits any more when it took too long.
            let _ = first.send(());
        }
        match opened {
            Ok(Opened::Stream(flow)) => {
                if worked {
                    events.changed(announced);
                }
                worked = true;
                listening.live = true;
                upstream.voice.set_live(true);
                follow(&mut listening.unasked, &mut listening.place, flow, core.max_bytes).await;
            }
            // Without a stream that once worked, 404 is a way of saying that there is none.
            Ok(Opened::Unknown) if listening.live => {
                upstream.forget();
                match cell.get(core, Some(&upstream)).await {
                    Ok(_) => {
                        events.changed(&Kind::ALL);
                        healed();
                    }
                    Err(error) => return events.closed(&error),
                }
                continue;
            }
            Ok(Opened::Later) => {}
            Ok(Opened::Unknown | Opened::None { .. }) => {
                core.no_streams();
                if worked {
                    // It may have been replaced by a backend that is to be spoken to in another way.
                    let message = "the backend no longer offers the stream that it did";
                    events.closed(&Error::new(ErrorKind::ServerFault, message));
                }
                return;
            }
            Err(error) => return events.closed(&error),
        }
        let pause = listening.place.pause();
        meanwhile(&mut listening.unasked, tokio::time::sleep(pause)).await;
    }
}

/// Where the catalogue's task stands with one session.
struct Listening {
    upstream: Arc<Upstream>,
    unasked: Unasked,
    place: Place,
    live: bool,
}

impl Listening {
    fn new(core: &Arc<Core>, upstream: &Arc<Upstream>) -> Self {
        Self {
            upstream: upstream.clone(),
            unasked: Unasked::new(core, upstream, None),
            place: Place::default(),
            live: false,
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.upstream.voice.set_live(false);
    }
}

/// Waits until the stream of the catalogue's session is open, or will not be soon. Its lists are read next, and what
/// changes between that and the opening of the stream would be lost.
pub(super) async fn settled(core: &Core, answered: oneshot::Receiver<()>) {
    if core.waits_for_streams() && tokio::time::timeout(FIRST_ANSWER, answered).await.is_err() {
        core.streams_answer_late();
    }
}

/// Opens the stream of a session that has just been opened, and follows it until the session ends. Comes back when the
/// backend has answered, or after a second. `owner` is the client whose session it is.
pub(super) async fn session(core: &Arc<Core>, upstream: &Arc<Upstream>, owner: Option<SessionKey>) {
    // Where sessions have no name, their streams cannot be told apart either.
    if upstream.id.is_none() || !core.offers_streams() {
        return;
    }
    let Ok(permit) = core.streams.clone().try_acquire_owned() else {
        return;
    };
    let (first, answered) = oneshot::channel();
    let task = {
        let unasked = Unasked::new(core, upstream, owner);
        let (core, session) = (Arc::downgrade(core), Arc::downgrade(upstream));
        async move {
            let _permit = permit;
            attend(core, session, unasked, first).await;
        }
    };
    core.tasks.spawn(upstream.stop.clone().run_until_cancelled_owned(task));
    if !core.waits_for_streams() {
        return;
    }
    if tokio::time::timeout(FIRST_ANSWER, answered).await.is_err() {
        // Some servers begin to answer with the first event only. Nothing is gained by waiting for them again.
        core.streams_answer_late();
    }
}

/// Holds neither core nor session, so that both end when nobody else needs them.
async fn attend(core: Weak<Core>, session: Weak<Upstream>, mut unasked: Unasked, first: oneshot::Sender<()>) {
    let live = Live(unasked.voice().clone());
    let mut place = Place::default();
    let mut first = Some(first);
    loop {
        let Some(strong) = core.upgrade() else { return };
        let request = match session.upgrade() {
            Some(upstream) => strong.get(&upstream, place.last_id.as_ref()),
            None => return,
        };
        let opened = meanwhile(&mut unasked, open(&strong, request, true)).await;
        let max_bytes = strong.max_bytes;
        if matches!(opened, Ok(Opened::None { anywhere: true })) {
            strong.no_streams();
        }
        drop(strong);
        if matches!(opened, Ok(Opened::Stream(_))) {
            live.0.set_live(true);
        }
        if let Some(first) = first.take() {
            // Nobody waits any more when it took too long.
            let _ = first.send(());
        }
        match opened {
            Ok(Opened::Stream(flow)) => follow(&mut unasked, &mut place, flow, max_bytes).await,
            // The next call finds out by itself, and opens another session.
            Ok(Opened::Unknown | Opened::None { .. }) => return,
            Ok(Opened::Later) | Err(_) => {}
        }
        if place.failures() >= MAX_FAILURES {
            return;
        }
        meanwhile(&mut unasked, tokio::time::sleep(place.pause())).await;
    }
}

/// Says that calls of a session have to be entered, for as long as somebody follows its stream.
struct Live(Arc<Voice>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.set_live(false);
    }
}

/// How long the first call of a session waits for the answer to the GET.
const FIRST_ANSWER: Duration = Duration::from_secs(1);

/// A stream that cannot be opened any more is given up after this many attempts in a row; some ten minutes.
const MAX_FAILURES: u32 = 25;
