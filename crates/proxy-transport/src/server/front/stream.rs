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
use super::state::CallState;

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

    /// Appends a message. With `merge`, one that waits already is not added again.
    pub(super) fn push(&self, text: Bytes, merge: bool) -> Push {
        let waker = {
            let mut state = lock(&self.state);
            if state.over {
                return Push::Closed;
            }
            if merge && state.holds(&text) {
                return Push::Taken;
            }
            let full = state.is_full(text.len());
            if state.reader == 0 || !self.keeps() {
                // Nobody is slow yet, or nobody could resume: the newest is what has to go.
                let no_room = if self.keeps() { self.budget.is_exceeded() } else { full };
                if no_room {
                    return Push::Full;
                }
            } else if full && state.is_read() && !state.catching_up {
                state.cut = Some(state.end());
                return Push::Slow;
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

    fn attach(&self) -> u32 {
        let mut state = lock(&self.state);
        state.catching_up = self.keeps() && state.next < state.end();
        let (reader, waker) = state.admit();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        reader
    }

    fn attach_after(&self, event: u64) -> Result<u32, Gap> {
        let mut state = lock(&self.state);
        let next = event.checked_add(1).ok_or(Gap)?;
        if next < state.first || next > state.end() {
            return Err(Gap);
        }
        state.next = next;
        state.waiting = state.unread().map(Event::len).sum();
        state.cut = None;
        state.catching_up = next < state.end();
        let (reader, waker) = state.admit();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Ok(reader)
    }

    fn detach(&self, reader: u32) {
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

    fn read(&self, reader: u32, cx: &mut Context<'_>) -> Poll<Option<(u64, Event)>> {
        let mut state = lock(&self.state);
        if state.reader != reader || state.next < state.first || state.cut == Some(state.next) {
            return Poll::Ready(None);
        }
        let event = state.unread().next().cloned();
        if let Some(event) = event {
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
        state.is_read() && !state.over
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
        while self.budget.is_exceeded() && (state.first < state.next || !state.spares_unread()) {
            let Some(event) = state.events.pop_front() else { return };
            self.budget.remove(event.len());
            if state.first >= state.next {
                state.waiting -= event.len();
                self.budget
                    .total
                    .lost
                    .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            state.first += 1;
        }
    }
}

/// One connection's claim on a stream. Dropping it leaves the stream to whoever resumes it.
pub(super) struct Reader {
    stream: Arc<Stream>,
    number: u32,
}

impl Reader {
    /// The first reader of a new stream.
    pub(super) fn first(stream: &Arc<Stream>) -> Self {
        Self {
            number: stream.attach(),
            stream: stream.clone(),
        }
    }

    /// The reader of what came after an event; whoever read before is done.
    pub(super) fn after(stream: &Arc<Stream>, event: u64) -> Result<Self, Gap> {
        Ok(Self {
            number: stream.attach_after(event)?,
            stream: stream.clone(),
        })
    }

    pub(super) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The next event, with its number; `None` when there is nothing more for this reader.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<(u64, Event)>> {
        self.stream.read(self.number, cx)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stream.detach(self.number);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.events.iter().for_each(|event| self.budget.remove(event.len()));
    }
}

impl State {
    /// Whether somebody reads what comes next, or is about to: the first reader.
    fn is_read(&self) -> bool {
        (self.gone.is_none() || self.reader == 0) && self.cut.is_none()
    }

    /// Whether what is yet to be read has bounds of its own.
    fn spares_unread(&self) -> bool {
        self.is_read() && !(self.catching_up && self.is_full(0))
    }

    /// The number that the next event will have.
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn unread(&self) -> impl DoubleEndedIterator<Item = &Event> {
        let read = usize::try_from(self.next.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.events.range(read.min(self.events.len())..)
    }

    /// Whether that message is among the last that wait.
    fn holds(&self, text: &Bytes) -> bool {
        self.unread()
            .rev()
            .take(MAX_MESSAGES)
            .any(|event| matches!(event, Event::Message(waiting) if waiting == text))
    }

    /// Whether no more may wait. Where nothing waits, even a large message may.
    fn is_full(&self, more: usize) -> bool {
        let messages = self.end() - self.next;
        messages >= MAX_MESSAGES as u64 || (messages > 0 && self.waiting + more > MAX_BYTES)
    }

    /// Another reader begins; the last one, woken, will find that it is done.
    fn admit(&mut self) -> (u32, Option<Waker>) {
        self.reader = self.reader.wrapping_add(1);
        self.gone = None;
        (self.reader, self.waker.take())
    }
}
