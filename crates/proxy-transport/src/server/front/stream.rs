//! [`Stream`]: the numbered events of one stream of a session. The queue for its reader is its log at the same time, so
//! that a client whose connection broke reads on where it broke off (MCP, Transports, "Resumability and Redelivery").
//!
//! ```text
//!      first           next            end
//!        │ read: the log │ yet to be read │
//!        └───────────────┴────────────────┘   what is over the budget goes at `first`
//! ```
//!
//! One reader at a time: a second takes the stream over, and the first ends. A reader that is too slow is cut off: it
//! gets what had come until then, and may resume. What goes unread leaves a gap, and a gap is never passed over in
//! silence: whoever would have to read across it is refused.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::time::Instant;

use super::answer::Answer;
use super::budget::Budget;
use super::lock;
use super::outbox::{MAX_BYTES, MAX_MESSAGES, Push};
use super::running::CallState;

/// A stream of a session: of one of its calls, or its own.
pub(super) struct Stream {
    /// Its number within the session.
    pub(super) number: u64,
    /// The call it belongs to. Weak: the call holds its stream.
    pub(super) call: Weak<CallState>,
    budget: Arc<Budget>,
    state: Mutex<State>,
}

struct State {
    events: VecDeque<Event>,
    /// The number of the first of `events`; numbers begin at 1.
    first: u64,
    /// The number of the next to be read.
    next: u64,
    /// Bytes yet to be read.
    waiting: usize,
    /// Which of its readers, in order, reads now. 0: there was none yet.
    reader: u32,
    /// Since when there is none; `None` while there is one.
    gone: Option<Instant>,
    /// The reader reads up to here and then ends.
    cut: Option<u64>,
    /// The reader is at what came before it: the bounds for slow readers are for what comes after.
    catching_up: bool,
    /// Nothing comes any more.
    over: bool,
    waker: Option<Waker>,
    /// Told when the reader goes.
    watcher: Option<Waker>,
}

/// What a stream carries.
#[derive(Clone)]
pub(super) enum Event {
    /// A message, as one line of JSON.
    Message(Bytes),
    /// The answer of the call, with which its stream ends.
    Answer(Box<Answer>),
    /// The end of a call that its client has cancelled.
    Cancelled,
}

impl Event {
    fn len(&self) -> usize {
        match self {
            Self::Message(text) => text.len(),
            Self::Answer(answer) => answer.len(),
            Self::Cancelled => 0,
        }
    }
}

/// What was asked for is no longer there, or never was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap;

impl Stream {
    pub(super) fn new(number: u64, call: Weak<CallState>, budget: Arc<Budget>) -> Self {
        Self {
            number,
            call,
            budget,
            state: Mutex::new(State {
                events: VecDeque::new(),
                first: 1,
                next: 1,
                waiting: 0,
                reader: 0,
                gone: Some(Instant::now()),
                cut: None,
                catching_up: false,
                over: false,
                waker: None,
                watcher: None,
            }),
        }
    }

    /// Whether its events are kept, and so have ids.
    pub(super) fn keeps(&self) -> bool {
        self.budget.keeps()
    }

    /// Appends a message. With `merge`, one that waits already is not added again. One that the reader is too slow for is
    /// not added; where events are kept, the reader is then cut off, and the next push is for whoever resumes.
    pub(super) fn push(&self, text: Bytes, merge: bool) -> Push {
        let waker = {
            let mut state = lock(&self.state);
            if state.over {
                return Push::Closed;
            }
            if merge && state.holds(&text) {
                return Push::Taken;
            }
            let first_reader_comes = state.reader == 0;
            let reads = (state.gone.is_none() || first_reader_comes) && state.cut.is_none() && !state.catching_up;
            if reads && state.is_full(text.len()) {
                state.cut = self.keeps().then(|| state.end());
                return Push::Full;
            }
            self.append(&mut state, Event::Message(text));
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
        Push::Taken
    }

    /// Ends the stream; `None` when its client expects no answer.
    pub(super) fn finish(&self, answer: Option<Answer>) {
        let event = answer.map_or(Event::Cancelled, |answer| Event::Answer(Box::new(answer)));
        let waker = {
            let mut state = lock(&self.state);
            if !state.over {
                self.append(&mut state, event);
                state.over = true;
            }
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// Ends the stream with what it holds.
    pub(super) fn close(&self) {
        let waker = {
            let mut state = lock(&self.state);
            state.over = true;
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    /// A new reader begins: where the last one stopped, or after the event of that number. Gives the reader's number.
    pub(super) fn attach(&self, after: Option<u64>) -> Result<u32, Gap> {
        let (reader, waker) = {
            let mut state = lock(&self.state);
            if let Some(after) = after {
                let next = after.checked_add(1).ok_or(Gap)?;
                if next < state.first || next > state.end() {
                    return Err(Gap);
                }
                state.rewind(next);
                // What a first reader was too slow for, the second comes for.
                state.cut = None;
                state.catching_up = state.next < state.end();
            }
            state.reader = state.reader.wrapping_add(1);
            state.gone = None;
            (state.reader, state.waker.take())
        };
        waker.into_iter().for_each(Waker::wake);
        Ok(reader)
    }

    /// That reader is gone.
    pub(super) fn detach(&self, reader: u32) {
        let watcher = {
            let mut state = lock(&self.state);
            if state.reader != reader || state.gone.is_some() {
                return;
            }
            state.gone = Some(Instant::now());
            state.waker = None;
            state.catching_up = false;
            self.trim(&mut state);
            state.watcher.take()
        };
        watcher.into_iter().for_each(Waker::wake);
    }

    /// The next event for that reader, with its number; `None` when there is nothing more for it.
    pub(super) fn read(&self, reader: u32, cx: &mut Context<'_>) -> Poll<Option<(u64, Event)>> {
        let mut state = lock(&self.state);
        if state.reader != reader || state.next < state.first || state.cut == Some(state.next) {
            return Poll::Ready(None);
        }
        if let Some(event) = state.unread().next().cloned() {
            let number = state.next;
            state.next += 1;
            state.waiting -= event.len();
            state.catching_up &= state.next < state.end();
            self.trim(&mut state);
            return Poll::Ready(Some((number, event)));
        }
        if state.over {
            return Poll::Ready(None);
        }
        if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Whether somebody reads what comes now.
    pub(super) fn is_live(&self) -> bool {
        let state = lock(&self.state);
        state.gone.is_none() && state.cut.is_none() && !state.over
    }

    /// Since when nobody reads.
    pub(super) fn gone(&self) -> Option<Instant> {
        lock(&self.state).gone
    }

    /// The same, and the task is woken when a reader goes.
    pub(super) fn watch(&self, cx: &Context<'_>) -> Option<Instant> {
        let mut state = lock(&self.state);
        state.watcher = Some(cx.waker().clone());
        state.gone
    }

    fn append(&self, state: &mut State, event: Event) {
        state.waiting += event.len();
        self.budget.add(event.len());
        state.events.push_back(event);
        self.trim(state);
    }

    /// Lets the oldest go while the budget is exceeded. What a reader is about to read has bounds of its own.
    fn trim(&self, state: &mut State) {
        let waits_for_reader = state.reader == 0 || state.gone.is_none();
        let spares_unread = waits_for_reader && state.cut.is_none() && !state.catching_up;
        while self.budget.is_exceeded() && (state.first < state.next || !spares_unread) {
            let Some(event) = state.events.pop_front() else { return };
            self.budget.remove(event.len());
            if state.first >= state.next {
                state.waiting -= event.len();
                self.budget.total.lost.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            state.first += 1;
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.events.iter().for_each(|event| self.budget.remove(event.len()));
    }
}

impl State {
    /// The number that the next event will have.
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn unread(&self) -> impl Iterator<Item = &Event> {
        let read = usize::try_from(self.next.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.events.range(read.min(self.events.len())..)
    }

    fn holds(&self, text: &Bytes) -> bool {
        self.unread()
            .any(|event| matches!(event, Event::Message(waiting) if waiting == text))
    }

    fn is_full(&self, more: usize) -> bool {
        self.end() - self.next >= MAX_MESSAGES as u64 || self.waiting + more > MAX_BYTES
    }

    /// Makes `next` the next to be read.
    fn rewind(&mut self, next: u64) {
        self.next = next;
        self.waiting = self.unread().map(Event::len).sum();
    }
}
