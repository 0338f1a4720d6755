//! Whose calls run on a connection, and so for whom a message without an address is meant.
//!
//! A request or a log message of a backend names no call. When all calls that run belong to one client, it can be about
//! that client's only. A call that was given up counts on for a while: the backend may not have heard of it yet, or goes
//! on all the same, and what it says then must not reach whoever calls next.

use std::time::Duration;

use hashbrown::HashMap;
use mcp_proxy_core::{Call, SessionKey};
use tokio::time::Instant;

/// Who made a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// The proxy itself, on nobody's behalf.
    Proxy,
    /// A client, in its session.
    Session(SessionKey),
    /// A client that has none. Nothing says whether two such calls come from one client.
    Request,
}

impl Caller {
    pub(super) fn of(call: &Call) -> Self {
        match &call.context.session {
            Some(session) => Self::Session(session.key),
            None if call.client.is_open() => Self::Request,
            None => Self::Proxy,
        }
    }
}

/// Whose calls run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Running {
    /// Nobody's.
    None,
    /// One client's.
    One(Caller),
    /// Those of several clients, or it cannot be told.
    Several,
}

/// Counts the calls that run on one connection, by their clients.
#[derive(Default)]
pub(super) struct Callers {
    sessions: HashMap<SessionKey, usize>,
    requests: usize,
    /// Calls that were given up after they had been sent.
    given_up: Vec<GivenUp>,
    /// Until when others count that found no room there.
    crowd: Option<Instant>,
}

struct GivenUp {
    id: u64,
    caller: Caller,
    until: Instant,
}

impl Callers {
    pub(super) fn enter(&mut self, caller: Caller) {
        match caller {
            Caller::Proxy => {}
            Caller::Session(key) => *self.sessions.entry(key).or_default() += 1,
            Caller::Request => self.requests += 1,
        }
    }

    pub(super) fn leave(&mut self, caller: Caller) {
        match caller {
            Caller::Proxy => {}
            Caller::Session(key) => {
                if let Some(count) = self.sessions.get_mut(&key) {
                    *count -= 1;
                    if *count == 0 {
                        self.sessions.remove(&key);
                    }
                }
            }
            Caller::Request => self.requests = self.requests.saturating_sub(1),
        }
    }

    /// A call that has left was sent, and not answered.
    pub(super) fn give_up(&mut self, id: u64, caller: Caller) {
        if caller == Caller::Proxy {
            return;
        }
        let now = Instant::now();
        let until = now + ECHO;
        self.given_up.retain(|call| call.until > now);
        if self.given_up.len() < MAX_GIVEN_UP {
            self.given_up.push(GivenUp { id, caller, until });
        } else {
            self.crowd = Some(until);
        }
    }

    /// A call that was given up has been answered after all: the backend is done with it.
    pub(super) fn settle(&mut self, id: u64) {
        self.given_up.retain(|call| call.id != id);
    }

    /// Whose calls run.
    pub(super) fn running(&self) -> Running {
        let one = match (self.sessions.len(), self.requests) {
            (0, 0) => return Running::None,
            (1, 0) => self.sessions.keys().next().map(|key| Caller::Session(*key)),
            (0, 1) => Some(Caller::Request),
            _ => None,
        };
        let Some(one) = one else { return Running::Several };
        let now = Instant::now();
        let echoes = |call: &GivenUp| call.until > now && (call.caller != one || one == Caller::Request);
        if self.crowd.is_some_and(|until| until > now) || self.given_up.iter().any(echoes) {
            return Running::Several;
        }
        Running::One(one)
    }
}

/// How long a backend may go on with a call that was given up.
const ECHO: Duration = Duration::from_secs(30);

/// Calls that were given up and are remembered one by one.
const MAX_GIVEN_UP: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Caller = Caller::Session(SessionKey(1));
    const TWO: Caller = Caller::Session(SessionKey(2));

    fn with(callers: &[Caller]) -> Callers {
        let mut all = Callers::default();
        callers.iter().for_each(|caller| all.enter(*caller));
        all
    }

    #[test]
    fn one_client_is_one_session_or_one_call() {
        for (callers, expected) in [
            (&[][..], Running::None),
            (&[Caller::Proxy], Running::None),
            (&[ONE, ONE, Caller::Proxy], Running::One(ONE)),
            (&[ONE, TWO], Running::Several),
            (&[Caller::Request], Running::One(Caller::Request)),
            (&[Caller::Request, Caller::Request], Running::Several),
            (&[Caller::Request, ONE], Running::Several),
        ] {
            assert_eq!(with(callers).running(), expected, "{callers:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_was_given_up_counts_for_a_while() {
        let mut all = with(&[ONE, TWO]);
        all.leave(ONE);
        all.give_up(1, ONE);
        assert_eq!(all.running(), Running::Several);
        tokio::time::advance(ECHO).await;
        assert_eq!(all.running(), Running::One(TWO));
        all.enter(ONE);
        all.leave(ONE);
        all.give_up(2, ONE);
        all.settle(2);
        assert_eq!(all.running(), Running::One(TWO), "answered after all");
        all.give_up(3, TWO);
        assert_eq!(all.running(), Running::One(TWO), "its own");
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_given_up_that_they_are_not_told_apart() {
        let mut all = with(&[TWO]);
        for id in 0..=MAX_GIVEN_UP as u64 {
            all.give_up(id, TWO);
        }
        assert_eq!(all.running(), Running::Several);
        tokio::time::advance(ECHO).await;
        assert_eq!(all.running(), Running::One(TWO));
    }
}
