//! Upstream sessions for callers that have none: those of the sessionless era.
//!
//! Each of their requests is complete in itself, and the backend wants a session, whose capabilities are fixed when it is
//! opened. So there is a small shelf of sessions for each set of capabilities and each principal. A call takes an idle
//! session where there is one: what the backend then asks outside the call's own stream can only be about this call.
//!
//! ```text
//!   lease:  idle one ─► else a new one, up to 8 ─► else the least busy
//!   idle for five minutes, or the longest idle when there are too many: ended
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use mcp_proxy_core::json::RawJson;
use mcp_proxy_core::{Context, Error, ErrorKind};
use tokio::time::Instant;

use super::session::{Cell, Owner};

/// All shelves of a backend.
#[derive(Default)]
pub(super) struct Pooled {
    shelves: Mutex<HashMap<Caller, Vec<Arc<Seat>>>>,
}

/// Whose calls may share sessions.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Caller {
    declared: RawJson,
    subject: Arc<str>,
}

/// One session and who uses it.
struct Seat {
    cell: Arc<Cell>,
    usage: Mutex<Usage>,
}

struct Usage {
    running: usize,
    since: Instant,
}

/// A session in use by one call.
pub(super) struct Lease(Arc<Seat>);

impl Pooled {
    /// A session for a call.
    ///
    /// # Errors
    /// `Overloaded` when all sessions there may be are in use by others.
    pub(super) fn lease(&self, context: &Context) -> Result<(Arc<Cell>, Lease), Error> {
        let caller = Caller {
            declared: context.declared.upward(),
            subject: context.principal.subject.clone(),
        };
        let mut shelves = self.shelves();
        let shelf = shelves.get(&caller).map(Vec::as_slice).unwrap_or_default();
        // The one used last of those that are idle, so that the others become old.
        let idle = shelf
            .iter()
            .filter(|seat| seat.usage().running == 0)
            .max_by_key(|seat| seat.usage().since);
        if let Some(seat) = idle {
            return Ok(Lease::take(seat));
        }
        let least = shelf.iter().min_by_key(|seat| seat.usage().running).cloned();
        if shelf.len() >= MAX_SHARING
            && let Some(seat) = &least
        {
            return Ok(Lease::take(seat));
        }
        let total: usize = shelves.values().map(Vec::len).sum();
        if total >= MAX_SESSIONS && !evict(&mut shelves) {
            return least
                .map(|seat| Lease::take(&seat))
                .ok_or_else(|| Error::new(ErrorKind::Overloaded, "too many sessions with the backend are in use"));
        }
        let seat = Arc::new(Seat {
            cell: Cell::empty(caller.declared.clone(), Owner::Callers),
            usage: Mutex::new(Usage {
                running: 0,
                since: Instant::now(),
            }),
        });
        shelves.entry(caller).or_default().push(seat.clone());
        Ok(Lease::take(&seat))
    }

    /// Ends the sessions that nobody has used for a while.
    pub(super) fn sweep(&self) {
        let is_old = |seat: &Seat| {
            let usage = seat.usage();
            usage.running == 0 && usage.since.elapsed() >= IDLE
        };
        let mut old = Vec::new();
        self.shelves().retain(|_, shelf| {
            old.extend(shelf.extract_if(.., |seat| is_old(seat)));
            !shelf.is_empty()
        });
        // Outside the lock: closing one may end it at the backend.
        for seat in old {
            drop(seat.cell.close());
        }
    }

    /// Takes out all.
    pub(super) fn clear(&self) -> Vec<Arc<Cell>> {
        let shelves = std::mem::take(&mut *self.shelves());
        shelves.into_values().flatten().map(|seat| seat.cell.clone()).collect()
    }

    fn shelves(&self) -> MutexGuard<'_, HashMap<Caller, Vec<Arc<Seat>>>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room by ending the session that has been idle for longest; false when none is idle.
fn evict(shelves: &mut HashMap<Caller, Vec<Arc<Seat>>>) -> bool {
    let all = shelves.values().flatten();
    let idle = all.filter(|seat| seat.usage().running == 0);
    let Some(oldest) = idle.min_by_key(|seat| seat.usage().since).cloned() else {
        return false;
    };
    shelves.retain(|_, shelf| {
        shelf.retain(|seat| !Arc::ptr_eq(seat, &oldest));
        !shelf.is_empty()
    });
    drop(oldest.cell.close());
    true
}

impl Seat {
    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    fn take(seat: &Arc<Seat>) -> (Arc<Cell>, Self) {
        seat.usage().running += 1;
        (seat.cell.clone(), Self(seat.clone()))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut usage = self.0.usage();
        usage.running -= 1;
        usage.since = Instant::now();
    }
}

/// Sessions for callers that may share them.
const MAX_SHARING: usize = 8;

/// Sessions for all callers together.
const MAX_SESSIONS: usize = 1024;

/// How long one is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests {
    use mcp_proxy_core::{Declared, Principal, ProtocolVersion};

    use super::*;

    fn context(capabilities: &'static str, subject: &str) -> Context {
        Context {
            version: ProtocolVersion::LATEST_SESSIONLESS,
            declared: Arc::new(Declared::new(RawJson::from_static(capabilities), None)),
            principal: Arc::new(Principal {
                subject: subject.into(),
            }),
            ..Context::default()
        }
    }

    fn total(pooled: &Pooled) -> usize {
        pooled.shelves().values().map(Vec::len).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_session_is_used_again_and_a_busy_one_is_not() {
        let pooled = Pooled::default();
        let plain = context("{}", "a");
        let (first, lease) = pooled.lease(&plain).unwrap();
        let (second, _busy) = pooled.lease(&plain).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        drop(lease);
        let (again, _lease) = pooled.lease(&plain).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(total(&pooled), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_ninth_call_shares_with_the_least_busy() {
        let pooled = Pooled::default();
        let plain = context("{}", "a");
        let leases: Vec<_> = (0..20).map(|_| pooled.lease(&plain).unwrap()).collect();
        assert_eq!(total(&pooled), MAX_SHARING);
        let most = leases.iter().map(|(_, lease)| lease.0.usage().running).max();
        assert_eq!(most, Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn principals_and_capabilities_share_nothing() {
        let pooled = Pooled::default();
        for context in [context("{}", "a"), context("{}", "b"), context(r#"{"roots":{}}"#, "a")] {
            pooled.lease(&context).unwrap();
            pooled.lease(&context).unwrap();
        }
        assert_eq!(total(&pooled), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_sessions_end_after_a_while() {
        let pooled = Pooled::default();
        let (_, _busy) = pooled.lease(&context("{}", "a")).unwrap();
        pooled.lease(&context("{}", "b")).unwrap();
        pooled.sweep();
        assert_eq!(total(&pooled), 2);
        tokio::time::advance(IDLE).await;
        pooled.sweep();
        assert_eq!(total(&pooled), 1, "the one in use stays");
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_bound_the_longest_idle_makes_room() {
        let pooled = Pooled::default();
        let mut leases = Vec::new();
        for n in 0..MAX_SESSIONS {
            leases.push(pooled.lease(&context("{}", &n.to_string())).unwrap());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        let refused = pooled.lease(&context("{}", "one more")).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Overloaded);
        drop(leases.remove(7));
        pooled.lease(&context("{}", "one more")).unwrap();
        assert_eq!(total(&pooled), MAX_SESSIONS);
        assert!(!pooled.shelves().keys().any(|caller| &*caller.subject == "7"));
    }
}
