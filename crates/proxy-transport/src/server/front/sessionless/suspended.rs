//! [`Suspended`]: a call whose backend has asked something, between the response that asks and the request that answers.
//!
//! From its first question on such a call is driven by a task of the front, whether a client waits for it or not; the
//! response in progress, if there is one, only watches. So nobody but that task polls the call, and handing it from one
//! request to the next is a change of a flag. A call that nobody comes back to ends when its state expires.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;

use hashbrown::HashMap;
use mcp_proxy_core::{Error, Principal, Reply, RpcError, codes};
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::state::{CallState, Cause};
use super::super::{Inner, lock};
use super::seal::{Seal, Ticket};

/// Most calls of one principal that are suspended at a time. The anonymous one is everybody, so it has no such bound.
const MAX_EACH: usize = 16;

/// How a call ended, or why it was ended.
pub(in super::super) type Outcome = Result<Result<Reply, Error>, Cause>;

/// One call that has been suspended at least once.
pub(in super::super) struct Suspended {
    number: u64,
    call: Arc<CallState>,
    state: Mutex<State>,
    /// Until when its task waits.
    due: watch::Sender<Due>,
}

struct State {
    /// How often it has been suspended.
    round: u32,
    /// A response is watching.
    attached: bool,
    over: bool,
    outcome: Option<Outcome>,
}

#[derive(Clone, Copy)]
enum Due {
    /// As long as the call takes.
    Attached,
    /// Until then.
    At(Instant),
    /// No longer.
    Over,
}

impl Suspended {
    /// What has become of the call, for the response that watches.
    pub(in super::super) fn poll_outcome(&self) -> Poll<Outcome> {
        if let Some(outcome) = lock(&self.state).outcome.take() {
            return Poll::Ready(outcome);
        }
        match self.call.cause() {
            Some(cause) => Poll::Ready(Err(cause)),
            None => Poll::Pending,
        }
    }

    /// Ends it; a second time does nothing.
    pub(in super::super) fn end(&self, cause: Cause) {
        if !std::mem::replace(&mut lock(&self.state).over, true) {
            self.bury(cause);
        }
    }

    /// Ends it, unless a client has come back to it; false then.
    fn abandon(&self, cause: Cause) -> bool {
        {
            let mut state = lock(&self.state);
            if state.attached {
                return false;
            }
            if std::mem::replace(&mut state.over, true) {
                return true;
            }
        }
        self.bury(cause);
        true
    }

    fn bury(&self, cause: Cause) {
        self.due.send_replace(Due::Over);
        self.call.cancel(cause);
        self.call.part();
        self.call.front().suspensions.remove(self);
    }

    pub(in super::super) fn call(&self) -> &Arc<CallState> {
        &self.call
    }

    /// Begins the next wait for a client; which round it is.
    fn suspend(&self, until: Instant) -> u32 {
        let round = {
            let mut state = lock(&self.state);
            state.round += 1;
            state.attached = false;
            state.round
        };
        self.due.send_replace(Due::At(until));
        round
    }

    /// Takes the call for the request that answers `round`, after `ready` has had its say; `None` when it is no longer, or
    /// not yet, there for that.
    pub(super) fn attach<E>(&self, round: u32, ready: impl FnOnce() -> Result<(), E>) -> Option<Result<(), E>> {
        let mut state = lock(&self.state);
        if state.over || state.attached || state.round != round {
            return None;
        }
        let ready = ready();
        if ready.is_ok() {
            state.attached = true;
            self.due.send_replace(Due::Attached);
        }
        Some(ready)
    }

    async fn drive(self: Arc<Self>) {
        let mut due = self.due.subscribe();
        let mut running = true;
        loop {
            let due_now = *due.borrow_and_update();
            let expiry = async {
                match due_now {
                    Due::At(until) => tokio::time::sleep_until(until).await,
                    Due::Attached | Due::Over => std::future::pending().await,
                }
            };
            if let Due::Over = due_now {
                return;
            }
            tokio::select! {
                outcome = poll_fn(|cx| self.call.poll_reply(cx, false)), if running => {
                    running = false;
                    lock(&self.state).outcome = Some(outcome);
                    self.call.outbox().wake();
                }
                _ = due.changed() => {}
                () = expiry => {
                    if self.abandon(Cause::Client) {
                        tracing::debug!("a call ended because its client never answered");
                    }
                }
            }
        }
    }
}

/// All suspended calls.
pub(in super::super) struct Suspensions {
    table: Mutex<Table>,
    last: AtomicU64,
    seal: OnceLock<Option<Seal>>,
    epoch: Instant,
}

#[derive(Default)]
struct Table {
    calls: HashMap<u64, Arc<Suspended>>,
    /// How many of them are of each principal with a name.
    each: HashMap<Arc<str>, usize>,
    closed: bool,
}

impl Default for Suspensions {
    fn default() -> Self {
        Self {
            table: Mutex::default(),
            last: AtomicU64::new(0),
            seal: OnceLock::new(),
            epoch: Instant::now(),
        }
    }
}

impl Suspensions {
    /// How many there are.
    pub(in super::super) fn len(&self) -> usize {
        lock(&self.table).calls.len()
    }

    /// Ends all, and admits no more.
    pub(in super::super) fn close(&self) {
        let all: Vec<_> = {
            let mut table = lock(&self.table);
            table.closed = true;
            table.calls.values().cloned().collect()
        };
        for call in all {
            // One that a client waits for may still end by itself.
            call.abandon(Cause::Shutdown);
        }
    }

    /// Suspends a call, for the first time or again, and gives the state by which a client comes back.
    ///
    /// # Errors
    /// When there are too many. The call is to be ended.
    pub(super) fn suspend(
        &self,
        front: &Arc<Inner>,
        call: &Arc<CallState>,
        held: &mut Option<Arc<Suspended>>,
        principal: &Principal,
        bound: &[u8],
    ) -> Result<String, RpcError> {
        let wait = front.options.session.suspend;
        let (Some(seal), Ok(runtime)) = (self.seal(), tokio::runtime::Handle::try_current()) else {
            let message = "the proxy failed inside; its log says more";
            return Err(RpcError::new(codes::INTERNAL_ERROR, message));
        };
        let call = match held {
            Some(_) if lock(&self.table).closed => return Err(too_many()),
            Some(call) => call,
            None => {
                let call = self.admit(call, principal, front.options.session.max_suspended)?;
                front.tasks.spawn_on(call.clone().drive(), &runtime);
                held.insert(call)
            }
        };
        let until = Instant::now() + wait;
        let (number, round) = (call.number, call.suspend(until));
        Ok(seal.seal(Ticket::Call { number, round }, self.millis(until), bound))
    }

    /// A state that keeps nothing here.
    pub(super) fn again(&self, front: &Inner, bound: &[u8]) -> Option<String> {
        let until = Instant::now() + front.options.session.suspend;
        Some(self.seal()?.seal(Ticket::Again, self.millis(until), bound))
    }

    /// Reads a state.
    pub(super) fn open(&self, state: &str, bound: &[u8]) -> Option<Ticket> {
        self.seal()?.open(state, self.millis(Instant::now()), bound)
    }

    /// The call of that number.
    pub(super) fn find(&self, number: u64) -> Option<Arc<Suspended>> {
        lock(&self.table).calls.get(&number).cloned()
    }

    fn admit(&self, call: &Arc<CallState>, principal: &Principal, max: usize) -> Result<Arc<Suspended>, RpcError> {
        let mut table = lock(&self.table);
        let is_named = *principal != *Principal::anonymous();
        let own = table.each.get(&principal.subject).copied().unwrap_or(0);
        if table.closed || table.calls.len() >= max || (is_named && own >= MAX_EACH) {
            return Err(too_many());
        }
        // From 1: no ticket of a call looks like one of none.
        let number = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let suspended = Arc::new(Suspended {
            number,
            call: call.clone(),
            state: Mutex::new(State {
                round: 0,
                attached: true,
                over: false,
                outcome: None,
            }),
            due: watch::Sender::new(Due::Attached),
        });
        table.calls.insert(number, suspended.clone());
        if is_named {
            table.each.insert(principal.subject.clone(), own + 1);
        }
        Ok(suspended)
    }

    fn remove(&self, suspended: &Suspended) {
        let mut table = lock(&self.table);
        if table.calls.remove(&suspended.number).is_none() {
            return;
        }
        if let Some(subject) = suspended
            .call
            .questions()
            .map(|questions| questions.subject.principal())
            && let Some(count) = table.each.get_mut(subject)
        {
            *count -= 1;
            if *count == 0 {
                table.each.remove(subject);
            }
        }
    }

    fn seal(&self) -> Option<&Seal> {
        let seal = self.seal.get_or_init(|| match Seal::new() {
            Ok(seal) => Some(seal),
            Err(error) => {
                tracing::error!(%error, "no call can be suspended without randomness from the system");
                None
            }
        });
        seal.as_ref()
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

fn too_many() -> RpcError {
    let message = "too many calls are waiting for answers of their clients";
    let data = serde_json::json!({ "reason": "overloaded" });
    RpcError::with_data(codes::OVERLOADED, message, &data)
}
