//! What the tasks and calls of one connection share: which calls wait for what, and whether it is still open.

mod attribution;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use mcp_proxy_core::json::Notification;
use mcp_proxy_core::{Error, ErrorKind, Reply};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::asking::Open;
use super::behalf::Behalf;
use super::callers::Callers;
use super::level::Level;
use super::listening::Listening;
use super::waiting::{Outbound, Waiting};
use super::{DuplexOptions, wire};
use crate::client::sessionless::Manner;

/// The state of one connection. Its lock is held for a few instructions at a time.
pub(super) struct Link {
    pub(super) options: DuplexOptions,
    pub(super) behalf: Behalf,
    era: OnceLock<Era>,
    pub(super) level: Level,
    pub(super) listening: Listening,
    /// Messages in order; whoever sends waits for room.
    pub(super) requests: mpsc::Sender<Outbound>,
    /// Short messages nobody waits for: cancellations and answers to the backend.
    control: mpsc::Sender<Bytes>,
    state: Mutex<State>,
    pub(super) counters: Counters,
    /// Cancelled when the connection is closed; both tasks end then.
    pub(super) done: CancellationToken,
}

/// How a backend is spoken to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Era {
    /// After a handshake. `logs` says whether its log level can be set.
    Session { logs: bool },
    /// By requests that are complete in themselves.
    Sessionless(Manner),
}

struct State {
    closed: Option<Error>,
    waiting: HashMap<u64, Entry>,
    /// Whose they are, for messages that do not say it.
    callers: Callers,
    /// What clients are asked at the moment.
    questions: Open,
    last_used: Instant,
}

struct Entry {
    call: Arc<Waiting>,
    answer: oneshot::Sender<Result<Reply, Error>>,
}

/// What was dropped because it made no sense or belonged to nobody.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) junk: AtomicU64,
    pub(super) foreign: AtomicU64,
    pub(super) undeliverable: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl Link {
    pub(super) fn new(
        options: DuplexOptions,
        behalf: Behalf,
    ) -> (Arc<Self>, mpsc::Receiver<Outbound>, mpsc::Receiver<Bytes>) {
        let (requests, to_write) = mpsc::channel(QUEUED_MESSAGES);
        let (control, short) = mpsc::channel(QUEUED_CONTROLS);
        let link = Self {
            options,
            behalf,
            era: OnceLock::new(),
            level: Level::default(),
            listening: Listening::default(),
            requests,
            control,
            state: Mutex::new(State {
                closed: None,
                waiting: HashMap::new(),
                callers: Callers::default(),
                questions: Open::default(),
                last_used: Instant::now(),
            }),
            counters: Counters::default(),
            done: CancellationToken::new(),
        };
        (Arc::new(link), to_write, short)
    }

    /// How the backend is spoken to; `None` until the connection is open.
    pub(super) fn era(&self) -> Option<Era> {
        self.era.get().copied()
    }

    pub(super) fn speaks(&self, era: Era) {
        // A connection is opened once.
        let _ = self.era.set(era);
    }

    /// Notes a call that is about to be sent.
    pub(super) fn register(
        &self,
        id: u64,
        call: Arc<Waiting>,
    ) -> Result<oneshot::Receiver<Result<Reply, Error>>, Error> {
        let (answer, waiter) = oneshot::channel();
        let mut state = self.state();
        if state.closed.is_some() {
            return Err(not_open());
        }
        if state.waiting.len() >= MAX_WAITING {
            return Err(Error::new(
                ErrorKind::Overloaded,
                "too many calls wait for this backend",
            ));
        }
        state.last_used = Instant::now();
        state.callers.enter(call.caller);
        state.waiting.insert(id, Entry { call, answer });
        Ok(waiter)
    }

    /// Gives up a call; true when the backend may know of it and has not answered.
    pub(super) fn give_up(&self, id: u64) -> bool {
        let mut state = self.state();
        let Some(entry) = state.remove(id) else {
            return false;
        };
        let sent = !entry.call.withdraw();
        if sent {
            state.callers.give_up(id, entry.call.caller);
        }
        sent
    }

    /// Gives a call its answer; false when no such call has been sent.
    pub(super) fn answer(&self, id: u64, answer: Result<Reply, Error>) -> bool {
        let entry = {
            let mut state = self.state();
            // An id that has not left this process was guessed.
            match state.waiting.get(&id) {
                Some(entry) if entry.call.was_taken() => state.remove(id),
                Some(_) => None,
                None => {
                    state.callers.settle(id);
                    None
                }
            }
        };
        // The call may be dropped at this very moment; then nobody wants the answer.
        entry.is_some_and(|entry| entry.answer.send(answer).is_ok())
    }

    /// Gives the only call that was sent an answer that names none: a backend that could not read a request says so with
    /// `"id": null`. False when it could be meant for several calls, or for none.
    pub(super) fn answer_only(&self, answer: Result<Reply, Error>) -> bool {
        let only = {
            let state = self.state();
            let mut sent = state
                .waiting
                .iter()
                .filter(|(_, entry)| entry.call.was_taken() && !entry.call.lasts);
            match (sent.next(), sent.next()) {
                (Some((&id, _)), None) => Some(id),
                _ => None,
            }
        };
        only.is_some_and(|id| self.answer(id, answer))
    }

    /// The call that runs under an id.
    pub(super) fn call(&self, id: u64) -> Option<Arc<Waiting>> {
        self.state().waiting.get(&id).map(|entry| entry.call.clone())
    }

    /// Tells the backend something short, unless it has stopped reading.
    pub(super) fn tell(&self, text: Bytes) -> bool {
        self.control.try_send(text).is_ok()
    }

    /// Tells the backend that a call is no longer wanted.
    pub(super) fn cancel(&self, id: u64) {
        if !self.tell(wire::cancelled(id)) {
            tracing::debug!(backend = %self.options.name, id, "a cancellation could not be sent");
        }
    }

    pub(super) async fn notify(&self, notification: &Notification) -> Result<(), Error> {
        let text = wire::notification(&notification.method, &notification.params);
        let outbound = Outbound { text, call: None };
        match tokio::time::timeout(self.options.idle_timeout, self.requests.send(outbound)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(not_open()),
            Err(_) => Err(does_not_read()),
        }
    }

    /// Closes the connection for a reason. Every call that waits fails at once: with the reason when its request may
    /// have been read, as not sent otherwise. The first reason stays.
    pub(super) fn close(&self, reason: &Error) {
        let waiting = {
            let mut state = self.state();
            if state.closed.is_none() {
                state.closed = Some(reason.clone());
            }
            state.callers = Callers::default();
            state.questions = Open::default();
            std::mem::take(&mut state.waiting)
        };
        self.done.cancel();
        for entry in waiting.into_values() {
            let kind = match entry.call.withdraw() {
                true => ErrorKind::NotSent,
                false => reason.kind(),
            };
            // One for each, so that whoever made the call can add to it.
            let error = Error::new(kind, reason.to_string()).caused_by(reason.clone());
            // The call may be dropped at this very moment; then nobody wants to know.
            let _ = entry.answer.send(Err(error));
        }
    }

    /// Closes the connection when no call waits and none was made for `silence`; otherwise says when to look again.
    pub(super) fn close_if_idle(&self, silence: Duration, reason: &Error) -> Result<(), Instant> {
        {
            let mut state = self.state();
            let now = Instant::now();
            // A subscription is no use of the backend.
            if state.waiting.values().any(|entry| !entry.call.lasts) {
                return Err(now + silence);
            }
            let due = state.last_used + silence;
            if due > now {
                return Err(due);
            }
            // Under the same lock that `register` takes, so that no call can slip in between.
            state.closed.get_or_insert_with(|| reason.clone());
        }
        self.close(reason);
        Ok(())
    }

    pub(super) fn is_open(&self) -> bool {
        self.state().closed.is_none()
    }

    /// Why it was closed.
    pub(super) fn reason(&self) -> Option<Error> {
        self.state().closed.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.waiting.remove(&id)?;
        self.last_used = Instant::now();
        self.callers.leave(entry.call.caller);
        self.questions.call_ended(id);
        Some(entry)
    }
}

/// The connection was closed before the call could be sent on it.
pub(super) fn not_open() -> Error {
    Error::new(ErrorKind::NotSent, "the connection to the backend is closed")
}

/// The backend takes no more messages.
pub(super) fn does_not_read() -> Error {
    Error::new(
        ErrorKind::Timeout { sent: false },
        "the backend did not take the call in time",
    )
}

/// Messages that wait to be written; calls wait for room beyond that.
const QUEUED_MESSAGES: usize = 256;

/// Cancellations and answers that wait to be written. A backend that has stopped reading loses those beyond.
const QUEUED_CONTROLS: usize = 1024;

/// Calls that wait for an answer.
const MAX_WAITING: usize = 65_536;
