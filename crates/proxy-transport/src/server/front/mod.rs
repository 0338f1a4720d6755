//! [`Front`]: the MCP endpoint. HTTP requests in, JSON-RPC calls to the [`App`], JSON or event streams out.
//!
//! ```text
//!   Front::handle ─► guard (Host, Origin) ─► route
//!        POST    intake (body) ─► Message::scan ─► caller (session) ─► running (the call) ─► answer | body (events)
//!        GET     the session's own event stream
//!        DELETE  ends the session
//! ```
//!
//! That is the session era; a request of the sessionless one takes the way that `sessionless` shows.
//!
//! Generic over the request body, so that the same code serves our own listener and a foreign router.

mod answer;
mod ask;
mod body;
mod budget;
mod caller;
mod calls;
mod conversation;
mod drain;
mod events;
mod guard;
mod health;
mod intake;
mod job;
mod open;
mod orphan;
mod outbox;
mod post;
mod questions;
mod respond;
mod resume;
mod running;
mod session;
mod sessionless;
mod sse;
mod state;
mod stdio;
mod stream;
mod streams;
#[cfg(test)]
mod tests;
#[cfg(feature = "websocket")]
mod websocket;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use mcp_proxy_core::json::{Notification, Params};
use mcp_proxy_core::{Asked, Session, SessionKey, codes};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use body::FrontBody;
use caller::Caller;
use calls::CallTable;
use guard::Guard;
use respond::Refusal;
use session::{Entry, Sessions};
use state::Cause;
use streams::Reach;

use super::App;
use super::options::FrontOptions;

/// The MCP endpoint. Cloning copies a pointer.
///
/// Under overload it refuses instead of queueing: sessions, calls of a session, streams, messages that wait for a slow
/// reader and request bodies are all bounded.
#[derive(Clone)]
pub struct Front(Arc<Inner>);

struct Inner {
    options: FrontOptions,
    guard: Guard,
    app: Arc<dyn App>,
    sessions: Sessions,
    /// Calls that belong to no session.
    strays: CallTable,
    about: sessionless::About,
    listeners: sessionless::Listeners,
    suspensions: sessionless::Suspensions,
    tasks: TaskTracker,
    stop: CancellationToken,
    sweeping: AtomicBool,
    draining: AtomicBool,
    running: AtomicUsize,
    orphans: AtomicUsize,
    conversations: AtomicUsize,
    sse: sse::Streams,
    dropped: AtomicU64,
    /// What the event logs of all sessions hold.
    logs: Arc<budget::Total>,
    /// Answers of clients that nobody waits for.
    unwanted: AtomicU64,
    /// Told when the last running call has ended.
    idle: Notify,
}

/// A front that lives no longer for being held like this.
#[derive(Clone)]
pub struct WeakFront(Weak<Inner>);

impl WeakFront {
    /// The front; `None` when everybody else has dropped it.
    pub fn upgrade(&self) -> Option<Front> {
        self.0.upgrade().map(Front)
    }
}

impl std::fmt::Debug for WeakFront {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WeakFront")
    }
}

impl Front {
    /// A front for `app`. Needs a tokio runtime only once it serves.
    pub fn new(options: FrontOptions, app: Arc<dyn App>) -> Self {
        Self(Arc::new(Inner {
            guard: Guard::new(&options.allowed_hosts, &options.allowed_origins),
            sessions: Sessions::new(options.session.clone()),
            options,
            app,
            strays: CallTable::default(),
            about: sessionless::About::default(),
            listeners: sessionless::Listeners::default(),
            suspensions: sessionless::Suspensions::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            sweeping: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            running: AtomicUsize::new(0),
            orphans: AtomicUsize::new(0),
            conversations: AtomicUsize::new(0),
            sse: sse::Streams::default(),
            dropped: AtomicU64::new(0),
            logs: Arc::default(),
            unwanted: AtomicU64::new(0),
            idle: Notify::new(),
        }))
    }

    /// The same, without keeping it alive.
    pub fn downgrade(&self) -> WeakFront {
        WeakFront(Arc::downgrade(&self.0))
    }

    /// Whether `path` is answered with anything but 404.
    pub fn serves(&self, path: &str) -> bool {
        self.is_endpoint(path) || self.sse_place(path).is_some() || health::Page::of(path).is_some()
    }

    /// Serves one HTTP request.
    ///
    /// # Cancel safety
    /// Dropping the future before the answer means that the client has disconnected: a call that is running goes on for
    /// `session.resume` and is then cancelled.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<FrontBody>
    where
        B: Body<Data = Bytes>,
    {
        let path = request.uri().path();
        let is_endpoint = self.is_endpoint(path);
        let place = if is_endpoint { None } else { self.sse_place(path) };
        if !is_endpoint && place.is_none() {
            return match health::Page::of(path) {
                Some(page) => page.answer(&self.0, request.method()),
                None => Refusal::new(
                    StatusCode::NOT_FOUND,
                    codes::INVALID_REQUEST,
                    "nothing is served on this path",
                )
                .response(None),
            };
        }
        if let Err((status, message)) = self.0.guard.check(request.uri(), request.headers()) {
            return Refusal::new(status, codes::INVALID_REQUEST, message).response(None);
        }
        if let Some(place) = place {
            // Boxed, so that all other requests do not each reserve the room for it.
            return Box::pin(sse::serve(self, place, request)).await;
        }
        match *request.method() {
            Method::POST => post::post(&self.0, request).await,
            #[cfg(feature = "websocket")]
            Method::GET if self.0.options.websocket && websocket::is_wanted(request.headers()) => {
                websocket::open(self, request)
            }
            Method::GET | Method::DELETE if self.0.without_session(request.headers()) => sessionless::only_post(),
            Method::GET => resume::listen(&self.0, request.headers()),
            Method::DELETE => self.0.delete(request.headers()),
            _ => respond::method_not_allowed("GET, POST, DELETE", "this method is not part of MCP"),
        }
    }

    /// Tells every session, as [`tell`](Self::tell) does, and every stream of `subscriptions/listen` that asked for such
    /// messages.
    pub fn broadcast(&self, message: &Notification) {
        let text = outbox::text(message);
        for entry in self.0.sessions.all() {
            entry.tell(message, &text);
        }
        self.0.listeners.broadcast(message);
    }

    /// Tells one session, on exactly one of its own streams: one that is read, else one whose client may come back for it.
    /// False when there is none, or the client does not want it, as a log message below its level. A stream whose reader
    /// is too slow ends. That a list or resource changed is not said twice while it waits. The key may be that of a stream
    /// of `subscriptions/listen`.
    pub fn tell(&self, to: SessionKey, message: &Notification) -> bool {
        if let Some(taken) = self.0.listeners.tell(to, message) {
            return taken;
        }
        let found = self.0.sessions.by_key(to);
        found.is_some_and(|entry| entry.tell(message, &outbox::text(message)))
    }

    /// Asks one session's client outside any of its calls, on one of its open streams. As
    /// [`ClientPort::ask`](mcp_proxy_core::ClientPort::ask) otherwise: what was not declared is refused by a reply, a
    /// client that is gone or has no open stream by an error, and dropping the future withdraws the question.
    pub fn ask(&self, client: SessionKey, method: &mcp_proxy_core::Method, params: &Params) -> Asked {
        match self.0.sessions.by_key(client) {
            Some(entry) => {
                let reach = Reach::Within(self.0.options.session.resume);
                ask::outside(&entry, reach, method, params)
            }
            None => ask::unasked(ask::gone("the client's session has ended")),
        }
    }

    /// The sessions of this moment, in no order.
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.0
            .sessions
            .all()
            .iter()
            .map(|entry| entry.session.clone())
            .collect()
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> usize {
        self.0.sessions.len()
    }

    /// How many calls are running.
    pub fn running_calls(&self) -> usize {
        self.0.running.load(Ordering::Relaxed)
    }

    /// How many calls have been suspended by a question to a client without a session, and have not ended since.
    pub fn suspended_calls(&self) -> usize {
        self.0.suspensions.len()
    }

    /// How many interim messages were dropped because their client reads too slowly.
    pub fn dropped_messages(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed) + self.0.logs.lost.load(Ordering::Relaxed)
    }

    /// How many answers of clients were dropped, because they came late, twice, or from a session that was not asked.
    pub fn unwanted_answers(&self) -> u64 {
        self.0.unwanted.load(Ordering::Relaxed)
    }

    /// Ends everything that goes on without a request at once, and without a word: conversations, and the front's own
    /// tasks. [`drain`](Self::drain) is the polite way.
    pub fn abandon(&self) {
        self.0.stop.cancel();
    }

    /// Ends a session; false when there is none of that key. Its calls are cancelled, its streams end.
    pub fn terminate(&self, key: SessionKey) -> bool {
        let found = self.0.sessions.by_key(key);
        found.is_some_and(|entry| self.0.remove(&entry, Cause::SessionEnded)) || self.0.listeners.terminate(key)
    }

    fn sse_place(&self, path: &str) -> Option<sse::Place> {
        self.0.options.sse.then(|| sse::Place::of(path)).flatten()
    }

    fn is_endpoint(&self, path: &str) -> bool {
        path == self.0.options.path || path == "/"
    }
}

impl std::fmt::Debug for Front {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Front")
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// Whether a request comes from a client that has no session: there is nothing for it but POST.
    fn without_session(&self, headers: &HeaderMap) -> bool {
        sessionless::is_named(headers) || !headers.contains_key(respond::SESSION_ID)
    }

    /// DELETE: ends the session.
    fn delete(&self, headers: &HeaderMap) -> Response<FrontBody> {
        match Caller::session(self, headers) {
            Ok(session) if self.remove(&session, Cause::SessionEnded) => respond::empty(StatusCode::NO_CONTENT),
            Ok(_) => caller::unknown_session().response(None),
            Err(refusal) => refusal.response(None),
        }
    }

    /// Removes a session and ends it; false when somebody else did.
    fn remove(&self, entry: &Entry, cause: Cause) -> bool {
        let removed = self.sessions.remove(entry);
        if removed {
            self.end(entry, cause);
        }
        removed
    }

    /// Ends a session that was removed from the table.
    fn end(&self, entry: &Entry, cause: Cause) {
        entry.asking.close();
        entry.calls.close(cause);
        entry.streams.close(true);
        self.app.session_closed(entry.session.key);
    }

    /// Starts the task that removes idle sessions, at the first session.
    fn start_sweeping(self: &Arc<Self>) {
        if self.sweeping.swap(true, Ordering::Relaxed) {
            return;
        }
        // Weak: a front that everybody has dropped ends, and its task with it.
        let (front, stop) = (Arc::downgrade(self), self.stop.clone());
        let mut interval = tokio::time::interval(self.sessions.sweep_interval());
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = interval.tick() => {}
                }
                let Some(front) = front.upgrade() else { return };
                for entry in front.sessions.all() {
                    entry.streams.sweep(front.options.session.resume);
                }
                for entry in front.sessions.sweep() {
                    front.end(&entry, Cause::SessionEnded);
                }
            }
        });
    }
}

/// Locks a mutex whose data no panic can leave half changed.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
