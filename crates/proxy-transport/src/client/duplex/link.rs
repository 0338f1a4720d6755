//! What the tasks and calls of one connection share: which calls wait for what, and whether it is still open.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use mcp_proxy_core::json::{Notification, RawJson};
use mcp_proxy_core::{ClientHandle, Error, ErrorKind, Reply, SessionKey};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{DuplexOptions, wire};

/// The state of one connection. Its lock is held for a few instructions at a time.
pub(super) struct Link {
    pub(super) options: DuplexOptions,
    /// Messages in order; whoever sends waits for room.
    pub(super) requests: mpsc::Sender<Outbound>,
    /// Short messages nobody waits for: cancellations and answers to the backend.
    control: mpsc::Sender<Bytes>,
    state: Mutex<State>,
    pub(super) counters: Counters,
    /// Cancelled when the connection is closed; both tasks end then.
    pub(super) done: CancellationToken,
}

struct State {
    closed: Option<Error>,
    waiting: HashMap<u64, Entry>,
    /// How many calls of each session wait, for log messages that do not say whose they are.
    sessions: HashMap<Option<SessionKey>, usize>,
    last_used: Instant,
}

struct Entry {
    call: Arc<Waiting>,
    answer: oneshot::Sender<Result<Reply, Error>>,
}

/// A call that waits for its answer.
pub(super) struct Waiting {
    pub(super) client: ClientHandle,
    pub(super) token: Option<RawJson>,
    session: Option<SessionKey>,
    stage: Stage,
    heard: Mutex<Instant>,
}

/// A message on its way to the writer.
pub(super) struct Outbound {
    pub(super) text: Bytes,
    /// The call it belongs to; `None` for notifications.
    pub(super) call: Option<Arc<Waiting>>,
}

/// How far a request has come. The writer takes it or the call withdraws it, whoever is first.
struct Stage(AtomicU8);

const QUEUED: u8 = 0;
const TAKEN: u8 = 1;
const WITHDRAWN: u8 = 2;

/// What was dropped because it made no sense or belonged to nobody.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) junk: AtomicU64,
    pub(super) foreign: AtomicU64,
    pub(super) undeliverable: AtomicU64,
    pub(super) refused: AtomicU64,
}

impl Link {
    pub(super) fn new(options: DuplexOptions) -> (Arc<Self>, mpsc::Receiver<Outbound>, mpsc::Receiver<Bytes>) {
        let (requests, to_write) = mpsc::channel(QUEUED_MESSAGES);
        let (control, short) = mpsc::channel(QUEUED_CONTROLS);
        let link = Self {
            options,
            requests,
            control,
            state: Mutex::new(State {
                closed: None,
                waiting: HashMap::new(),
                sessions: HashMap::new(),
                last_used: Instant::now(),
            }),
            counters: Counters::default(),
            done: CancellationToken::new(),
        };
        (Arc::new(link), to_write, short)
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
        *state.sessions.entry(call.session).or_default() += 1;
        state.waiting.insert(id, Entry { call, answer });
        Ok(waiter)
    }

    /// Forgets a call; false when it was answered already.
    pub(super) fn forget(&self, id: u64) -> bool {
        self.state().remove(id).is_some()
    }

    /// Gives a call its answer; false when no such call has been sent.
    pub(super) fn answer(&self, id: u64, answer: Result<Reply, Error>) -> bool {
        let entry = {
            let mut state = self.state();
            // An id that has not left this process was guessed.
            match state.waiting.get(&id) {
                Some(entry) if entry.call.was_taken() => state.remove(id),
                _ => None,
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
            let mut sent = state.waiting.iter().filter(|(_, entry)| entry.call.was_taken());
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

    /// A call of the one client that a message without address can be meant for; `None` when it could be several.
    pub(super) fn only_client(&self) -> Option<Arc<Waiting>> {
        let state = self.state();
        let one_session = state.sessions.len() == 1 && state.sessions.keys().all(Option::is_some);
        if !one_session && state.waiting.len() != 1 {
            return None;
        }
        state.waiting.values().next().map(|entry| entry.call.clone())
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
            state.sessions.clear();
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
            if !state.waiting.is_empty() {
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
        if let Some(count) = self.sessions.get_mut(&entry.call.session) {
            *count -= 1;
            if *count == 0 {
                self.sessions.remove(&entry.call.session);
            }
        }
        Some(entry)
    }
}

impl Waiting {
    pub(super) fn new(client: ClientHandle, session: Option<SessionKey>, token: Option<RawJson>) -> Arc<Self> {
        Arc::new(Self {
            client,
            token,
            session,
            stage: Stage(AtomicU8::new(QUEUED)),
            heard: Mutex::new(Instant::now()),
        })
    }

    /// The writer takes the request; false when it was withdrawn.
    pub(super) fn take(&self) -> bool {
        self.stage.step(QUEUED, TAKEN)
    }

    /// The writer gives back a request of which no byte has left.
    pub(super) fn give_back(&self) {
        self.stage.step(TAKEN, QUEUED);
    }

    /// Withdraws the request; false when the backend may know of it.
    pub(super) fn withdraw(&self) -> bool {
        self.stage.step(QUEUED, WITHDRAWN)
    }

    pub(super) fn was_taken(&self) -> bool {
        self.stage.0.load(Ordering::Acquire) == TAKEN
    }

    /// The backend said something about this call.
    pub(super) fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// When the backend last said something about this call.
    pub(super) fn last_heard(&self) -> Instant {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stage {
    fn step(&self, from: u8, to: u8) -> bool {
        self.0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
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
