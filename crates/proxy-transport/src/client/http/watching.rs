//! The resources of whose updates the proxy wants to hear: subscribed to on the catalogue's session, and again on
//! whichever session takes its place. Updates come on that session's own stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hashbrown::HashSet;
use mcp_proxy_core::json::{Params, RawJson};
use mcp_proxy_core::{ClientHandle, Method, Reply};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::core::Core;
use super::exchange::{Fault, Outgoing, exchange};
use super::session::Upstream;

/// What is wanted, and what the backend has been told of it.
pub(super) struct Watching {
    state: Mutex<State>,
    /// One at a time compares the two and tells the backend.
    turn: Semaphore,
    renewed: Notify,
}

#[derive(Default)]
struct State {
    wanted: Arc<[Box<str>]>,
    /// The session that `told` was said on.
    session: Weak<Upstream>,
    told: HashSet<Box<str>>,
}

/// A resource, and whether it is to be watched from now on.
type Change = (Box<str>, bool);

impl Watching {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            turn: Semaphore::new(1),
            renewed: Notify::new(),
        }
    }

    /// Sets what is wanted, in place of what was.
    pub(super) fn want(&self, uris: Arc<[Box<str>]>) {
        self.state().wanted = uris;
    }

    /// Notes that the catalogue's session is another one.
    pub(super) fn renew(&self) {
        self.renewed.notify_one();
    }

    /// Waits for such a note.
    pub(super) async fn renewed(&self) {
        self.renewed.notified().await;
    }

    /// Tells the backend the difference. What it refuses one by one is logged and not said again.
    ///
    /// # Errors
    /// Why it could not be told. What it was not told is left for the next time.
    pub(super) async fn tell(&self, core: &Arc<Core>, upstream: &Arc<Upstream>) -> Result<(), Fault> {
        let Ok(_turn) = self.turn.acquire().await else {
            return Ok(());
        };
        let mut left = self.difference(upstream).into_iter();
        let mut telling = JoinSet::new();
        loop {
            while telling.len() < AT_ONCE
                && let Some(change) = left.next()
            {
                telling.spawn(one(core.clone(), upstream.clone(), change));
            }
            let Some(told) = telling.join_next().await else {
                return Ok(());
            };
            let Ok(((uri, watch), outcome)) = told else {
                continue;
            };
            if let Reply::Error(error) = outcome? {
                let code = error.code();
                tracing::warn!(code, watch, "the backend refused to be asked for updates of a resource");
            }
            let mut state = self.state();
            if watch {
                state.told.insert(uri);
            } else {
                state.told.remove(&uri);
            }
        }
    }

    fn difference(&self, upstream: &Arc<Upstream>) -> Vec<Change> {
        let mut state = self.state();
        if !std::ptr::eq(state.session.as_ptr(), Arc::as_ptr(upstream)) {
            state.session = Arc::downgrade(upstream);
            state.told.clear();
        }
        let wanted: HashSet<&str> = state.wanted.iter().map(AsRef::as_ref).collect();
        let more = wanted.iter().filter(|uri| !state.told.contains(**uri));
        let less = state.told.iter().filter(|uri| !wanted.contains(uri.as_ref()));
        more.map(|uri| (Box::from(*uri), true))
            .chain(less.map(|uri| (uri.clone(), false)))
            .collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn one(core: Arc<Core>, upstream: Arc<Upstream>, change: Change) -> (Change, Result<Reply, Fault>) {
    let params = RawJson::encode(&serde_json::json!({ "uri": change.0 }));
    let method = match change.1 {
        true => Method::ResourcesSubscribe,
        false => Method::ResourcesUnsubscribe,
    };
    let outgoing = Outgoing {
        method: &method,
        params: &Params::parse(params.as_bytes().clone()).unwrap_or_default(),
        upstream: Some(&upstream),
        client: &ClientHandle::none(),
    };
    let outcome = exchange(&core, outgoing).await.map(|answer| answer.reply);
    (change, outcome)
}

/// Subscriptions that are told at the same time.
const AT_ONCE: usize = 16;
