//! [`Outbox`]: messages on their way to one event stream, bounded, filled from anywhere, emptied by the stream's body.
//!
//! No channel of tokio's: a call needs exactly one allocation for all that belongs to it, and most calls never send
//! anything, so the queue is a plain one behind a mutex and allocates at the first message.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use mcp_proxy_core::Method;
use mcp_proxy_core::json::{Notification, Params, RawJson};

use super::lock;

/// Most messages that wait for a slow reader.
pub(super) const MAX_MESSAGES: usize = 1000;
/// Most bytes of messages that wait for a slow reader; a single one may be larger.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// A bounded queue of messages, each one line of JSON, with one reader.
#[derive(Debug)]
pub(super) struct Outbox(Mutex<State>);

#[derive(Debug)]
struct State {
    queue: VecDeque<Bytes>,
    bytes: usize,
    open: bool,
    waker: Option<Waker>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Push {
    /// It waits for the reader.
    Taken,
    /// There is no room for it, and it is gone.
    Full,
    /// The reader is too slow and was cut off. Pushed again, the message waits for whoever resumes the stream.
    Slow,
    /// Nobody reads any more.
    Closed,
}

impl Outbox {
    pub(super) fn new(open: bool) -> Self {
        Self(Mutex::new(State {
            queue: VecDeque::new(),
            bytes: 0,
            open,
            waker: None,
        }))
    }

    pub(super) fn is_open(&self) -> bool {
        lock(&self.0).open
    }

    /// Appends a message. With `merge`, one that is waiting already is not added again.
    pub(super) fn push(&self, event: Bytes, merge: bool) -> Push {
        let waker = {
            let mut state = lock(&self.0);
            if !state.open {
                return Push::Closed;
            }
            if merge && state.queue.contains(&event) {
                return Push::Taken;
            }
            let too_large = !state.queue.is_empty() && state.bytes + event.len() > MAX_BYTES;
            if state.queue.len() >= MAX_MESSAGES || too_large {
                return Push::Full;
            }
            state.bytes += event.len();
            state.queue.push_back(event);
            state.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
        Push::Taken
    }

    /// The next message; `None` when the outbox is closed and empty. The task is woken for whatever comes next, also for
    /// [`wake`](Self::wake).
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = lock(&self.0);
        if let Some(event) = state.queue.pop_front() {
            state.bytes -= event.len();
            return Poll::Ready(Some(event));
        }
        state.register(cx);
        if state.open { Poll::Pending } else { Poll::Ready(None) }
    }

    /// The task is woken for whatever comes next.
    pub(super) fn register(&self, cx: &Context<'_>) {
        lock(&self.0).register(cx);
    }

    /// The next message, if one is waiting.
    pub(super) fn pop(&self) -> Option<Bytes> {
        let mut state = lock(&self.0);
        let event = state.queue.pop_front()?;
        state.bytes -= event.len();
        Some(event)
    }

    /// Takes no more messages; what waits can still be read.
    pub(super) fn close(&self) {
        lock(&self.0).open = false;
        self.wake();
    }

    /// Begins anew, for another reader: what the last one has not read is forgotten.
    pub(super) fn reopen(&self, open: bool) {
        let mut state = lock(&self.0);
        state.queue.clear();
        state.bytes = 0;
        state.open = open;
    }

    /// Makes the reader look again.
    pub(super) fn wake(&self) {
        let waker = lock(&self.0).waker.take();
        waker.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn register(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }
}

/// Writes a notification as one line of JSON.
pub(super) fn text(message: &Notification) -> Bytes {
    let method = message.method.as_str();
    let mut text = Vec::with_capacity(method.len() + message.params.len() + 48);
    text.extend_from_slice(br#"{"jsonrpc":"2.0","method":"#);
    finish(text, method, &message.params)
}

/// Writes a request of ours to the client as one line of JSON.
pub(super) fn question(id: u64, method: &Method, params: &Params) -> Bytes {
    let method = method.as_str();
    let mut text = Vec::with_capacity(method.len() + params.len() + 64);
    text.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    text.extend_from_slice(id.to_string().as_bytes());
    text.extend_from_slice(br#","method":"#);
    finish(text, method, params)
}

/// Writes that a request of ours needs no answer any more.
pub(super) fn withdrawal(id: u64, reason: &str) -> Bytes {
    let method = Method::Cancelled;
    let reason = RawJson::encode(reason);
    format!(
        r#"{{"jsonrpc":"2.0","method":"{method}","params":{{"requestId":{id},"reason":{}}}}}"#,
        reason.as_str()
    )
    .into()
}

fn finish(mut text: Vec<u8>, method: &str, params: &Params) -> Bytes {
    text.extend_from_slice(RawJson::encode(method).as_bytes());
    if !params.is_absent() {
        text.extend_from_slice(br#","params":"#);
        params.write(&mut text);
    }
    text.push(b'}');
    flatten(&mut text);
    text.into()
}

/// A line of JSON as one event.
pub(super) fn event(text: &[u8]) -> Bytes {
    [EVENT, text, b"\n\n"].concat().into()
}

/// How each event begins.
pub(super) const EVENT: &[u8] = b"event: message\ndata: ";

/// Replaces line breaks by spaces. In JSON they only stand between tokens, and in an event they would end the line.
pub(super) fn flatten(json: &mut [u8]) {
    let mut from = 0;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', &json[from..]) {
        json[from + at] = b' ';
        from += at + 1;
    }
}
