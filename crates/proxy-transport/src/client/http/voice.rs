//! What the running calls of one upstream session share with the session's own event stream.
//!
//! Servers put on that stream what belongs to no request, and many put there what does: progress, and questions in the
//! middle of a call. So the calls of a session that has such a stream are entered here, for the stream's reader to find.
//! A backend without streams costs its calls one look at a flag.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use mcp_proxy_core::ClientHandle;
use mcp_proxy_core::json::{Notification, RawJson};
use tokio::time::Instant;

use super::interim::with_token;

/// The calls of one session.
#[derive(Default)]
pub(super) struct Voice {
    /// The session's stream is there, or will be again.
    live: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By the id that the backend knows.
    calls: HashMap<u64, Running>,
    /// Questions of the stream that some client is thinking about.
    open: usize,
    /// When the last of them ended.
    closed: Option<Instant>,
}

struct Running {
    client: ClientHandle,
    /// The client's own progress token.
    token: Option<RawJson>,
    /// When something of this call last came on the stream.
    heard: Option<Instant>,
}

/// Whose call a message without a name can be about.
pub(super) enum About {
    /// No call is running.
    Nobody,
    /// Exactly one is.
    One(ClientHandle),
    /// Several are.
    Several,
}

impl Voice {
    /// Notes whether calls have to be entered.
    pub(super) fn set_live(&self, live: bool) {
        self.live.store(live, Ordering::Release);
    }

    /// Enters a call, if the session has a stream. It leaves when what is returned is dropped.
    pub(super) fn enter(self: &Arc<Self>, id: u64, client: &ClientHandle, token: Option<&RawJson>) -> Option<Present> {
        // The proxy's own calls have nobody to tell or ask.
        if !self.live.load(Ordering::Acquire) || !client.is_open() {
            return None;
        }
        let running = Running {
            client: client.clone(),
            token: token.cloned(),
            heard: None,
        };
        self.state().calls.insert(id, running);
        Some(Present {
            voice: self.clone(),
            id,
        })
    }

    /// The call that began last.
    pub(super) fn newest(&self) -> Option<ClientHandle> {
        let state = self.state();
        let newest = state.calls.iter().max_by_key(|(id, _)| **id);
        newest.map(|(_, running)| running.client.clone())
    }

    /// The call that is running, if it is one.
    pub(super) fn only(&self) -> About {
        let state = self.state();
        match (state.calls.values().next(), state.calls.len()) {
            (None, _) => About::Nobody,
            (Some(running), 1) => About::One(running.client.clone()),
            _ => About::Several,
        }
    }

    /// Progress under its client's own token, and that client. `None` when it is about no call that wants it.
    pub(super) fn progress(&self, notification: &Notification) -> Option<(ClientHandle, Notification)> {
        let id = notification
            .params
            .to_raw()?
            .get("progressToken")?
            .as_str()
            .parse()
            .ok()?;
        let (client, token) = {
            let mut state = self.state();
            let running = state.calls.get_mut(&id)?;
            running.heard = Some(Instant::now());
            (running.client.clone(), running.token.clone()?)
        };
        let params = with_token(&notification.params, id, &token)?;
        let method = notification.method.clone();
        Some((client, Notification { method, params }))
    }

    /// Says that a client is asked something, until what is returned is dropped: meanwhile no call of the session is
    /// silent for too long, for any of them may be waiting for the answer.
    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        self.state().open += 1;
        Hold(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is entered.
pub(super) struct Present {
    voice: Arc<Voice>,
    id: u64,
}

impl Present {
    /// When something last happened for this call beside its own response.
    pub(super) fn heard(&self) -> Option<Instant> {
        let state = self.voice.state();
        if state.open > 0 {
            return Some(Instant::now());
        }
        let heard = state.calls.get(&self.id).and_then(|running| running.heard);
        heard.max(state.closed)
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let left = self.voice.state().calls.remove(&self.id);
        // The handle may be the last thing that keeps the client's side of the call: not under the lock.
        drop(left);
    }
}

/// A question that is open.
pub(super) struct Hold(Arc<Voice>);

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.open -= 1;
        state.closed = Some(Instant::now());
    }
}
