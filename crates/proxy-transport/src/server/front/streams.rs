//! [`Streams`]: the streams of one session, by number: its own, and those of its calls as long as they can be resumed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::budget::{Budget, Total};
use super::lock;
use super::outbox::Push;
use super::state::CallState;
use super::stream::{Gap, Reader, Stream};

/// Most streams of the session's own; one more ends the one that was left first, else the oldest.
const MAX_OWN: usize = 8;
/// Most streams of calls that have ended which are kept for whoever resumes them.
const MAX_ENDED: usize = 64;

/// The streams of one session. Nothing is allocated before the first is opened.
#[derive(Default)]
pub(super) struct Streams(Mutex<State>);

#[derive(Default)]
struct State {
    ended: bool,
    open: Option<Box<Open>>,
}

struct Open {
    last: u64,
    budget: Arc<Budget>,
    /// The newest last.
    own: Vec<Arc<Stream>>,
    calls: BTreeMap<u64, Arc<Stream>>,
    /// Those of calls that have ended, and when.
    ended: VecDeque<(Instant, u64)>,
}

/// Who a message outside calls may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Whoever reads now, else whoever resumes.
    Anybody,
    /// Whoever reads now, or went not longer ago.
    Within(Duration),
}

impl Streams {
    /// Opens a stream of the session's own; `None` when the session has ended. `keep`: how long to keep events for whoever
    /// resumes.
    pub(super) fn open_own(&self, keep: Duration, total: &Arc<Total>) -> Option<Reader> {
        let (stream, surplus) = {
            let mut state = lock(&self.0);
            if state.ended {
                return None;
            }
            let open = state.open(keep, total);
            let stream = open.stream(Weak::new());
            let surplus = (open.own.len() >= MAX_OWN).then(|| {
                let left = open
                    .own
                    .iter()
                    .enumerate()
                    .filter_map(|(at, own)| Some((own.gone()?, at)));
                let at = left.min().map_or(0, |(_, at)| at);
                open.own.remove(at)
            });
            open.own.push(stream.clone());
            (stream, surplus)
        };
        surplus.into_iter().for_each(|stream| stream.close());
        Some(Reader::first(&stream))
    }

    /// Opens the stream of a call.
    pub(super) fn open_call(&self, call: Weak<CallState>, keep: Duration, total: &Arc<Total>) -> Arc<Stream> {
        let mut state = lock(&self.0);
        let ended = state.ended;
        let open = state.open(keep, total);
        let stream = open.stream(call);
        if !ended && open.budget.keeps() {
            open.calls.insert(stream.number, stream.clone());
        }
        stream
    }

    /// A new reader for a stream, from after one of its events.
    pub(super) fn resume(&self, number: u64, after: u64) -> Result<Reader, Gap> {
        let stream = {
            let state = lock(&self.0);
            let open = state.open.as_ref().ok_or(Gap)?;
            let own = open.own.iter().find(|own| own.number == number);
            own.or_else(|| open.calls.get(&number)).cloned().ok_or(Gap)?
        };
        if !stream.keeps() {
            return Err(Gap);
        }
        Reader::after(&stream, after)
    }

    /// Sends a message on one of the session's own streams: the newest that is read and takes it, else the newest that may
    /// be resumed. Gives that stream. With `merge`, a message that waits there already is not added again.
    pub(super) fn send(&self, text: &Bytes, merge: bool, reach: Reach) -> Option<Arc<Stream>> {
        let mut state = lock(&self.0);
        let open = state.open.as_mut()?;
        for at in (0..open.own.len()).rev() {
            let stream = open.own[at].clone();
            if !stream.is_live() {
                continue;
            }
            match stream.push(text.clone(), merge) {
                Push::Taken => return Some(stream),
                Push::Slow => {}
                Push::Full | Push::Closed => {
                    stream.close();
                    open.own.remove(at);
                }
            }
        }
        let is_near = |stream: &&Arc<Stream>| match (reach, stream.gone()) {
            (Reach::Within(limit), Some(gone)) => gone.elapsed() <= limit,
            _ => true,
        };
        let resumable = open.own.iter().rev().filter(|stream| stream.keeps()).find(is_near)?;
        (resumable.push(text.clone(), merge) == Push::Taken).then(|| resumable.clone())
    }

    /// Whether one of the session's own streams is read now.
    pub(super) fn is_live(&self) -> bool {
        let state = lock(&self.0);
        state
            .open
            .as_ref()
            .is_some_and(|open| open.own.iter().any(|own| own.is_live()))
    }

    /// The reader of a stream of the session's own has gone.
    pub(super) fn left(&self, stream: &Arc<Stream>) {
        if stream.keeps() {
            return;
        }
        let mut state = lock(&self.0);
        if let Some(open) = &mut state.open {
            open.own.retain(|own| !Arc::ptr_eq(own, stream));
        }
    }

    /// The call of a stream has ended. `keep` is how long its stream may still be resumed.
    pub(super) fn call_ended(&self, stream: &Stream, keep: Duration) {
        let mut state = lock(&self.0);
        if let Some(open) = &mut state.open
            && open.calls.contains_key(&stream.number)
        {
            open.ended.push_back((Instant::now() + keep, stream.number));
            open.expire(keep);
        }
    }

    /// Forgets the stream of a call that nobody came back for.
    pub(super) fn forget(&self, stream: &Stream) {
        if let Some(open) = &mut lock(&self.0).open {
            open.calls.remove(&stream.number);
        }
    }

    /// Lets go what can no longer be resumed.
    pub(super) fn sweep(&self, keep: Duration) {
        if let Some(open) = &mut lock(&self.0).open {
            open.expire(keep);
        }
    }

    /// Ends the session's own streams. `ended`: opens no more, and forgets those of calls too.
    pub(super) fn close(&self, ended: bool) {
        let (own, calls) = {
            let mut state = lock(&self.0);
            state.ended |= ended;
            match &mut state.open {
                None => return,
                Some(open) if !ended => (std::mem::take(&mut open.own), BTreeMap::new()),
                Some(open) => {
                    open.ended.clear();
                    (std::mem::take(&mut open.own), std::mem::take(&mut open.calls))
                }
            }
        };
        own.iter().for_each(|stream| stream.close());
        drop(calls);
    }
}

impl State {
    fn open(&mut self, keep: Duration, total: &Arc<Total>) -> &mut Open {
        self.open.get_or_insert_with(|| {
            Box::new(Open {
                last: 0,
                budget: Arc::new(Budget::new(!keep.is_zero(), total.clone())),
                own: Vec::new(),
                calls: BTreeMap::new(),
                ended: VecDeque::new(),
            })
        })
    }
}

impl Open {
    fn stream(&mut self, call: Weak<CallState>) -> Arc<Stream> {
        self.last += 1;
        Arc::new(Stream::new(self.last, call, self.budget.clone()))
    }

    fn expire(&mut self, keep: Duration) {
        let now = Instant::now();
        // Looks at each once: those that are still being read go to the back.
        for _ in 0..self.ended.len() {
            let surplus = self.ended.len() > MAX_ENDED;
            match self.ended.front() {
                Some((until, _)) if surplus || *until <= now => {}
                _ => return,
            }
            let Some((_, number)) = self.ended.pop_front() else {
                return;
            };
            let read = self.calls.get(&number).is_some_and(|stream| stream.gone().is_none());
            if read && !surplus {
                self.ended.push_back((now + keep, number));
            } else {
                self.calls.remove(&number);
            }
        }
    }
}
