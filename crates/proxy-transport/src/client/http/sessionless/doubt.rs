//! Doubts about a backend's era: a refusal may mean that it was replaced by one of the other.
//!
//! Nothing was run then, and connecting anew will find the right way to speak to it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mcp_proxy_core::{Error, ErrorKind, Reply, codes};
use tokio::time::Instant;

use super::super::core::Core;
use super::probe;
use crate::client::sessionless::discover::Verdict;

/// When the era of a backend was last in doubt.
#[derive(Default)]
pub(in crate::client::http) struct Doubt(Mutex<Option<Instant>>);

impl Doubt {
    /// Asks again, if `outcome` gives reason to: what a peer of the era without sessions (`sessionless`), or of the one
    /// with, has got. The error that says that the backend has changed, if so.
    pub(in crate::client::http) async fn settle(
        &self,
        core: &Arc<Core>,
        sessionless: bool,
        outcome: &Result<Reply, Error>,
    ) -> Option<Error> {
        if !is_reason(sessionless, outcome) || !self.is_due() {
            return None;
        }
        let changed = match probe(core).await.ok()? {
            Verdict::Session => sessionless,
            Verdict::Sessionless(_) => !sessionless,
        };
        let message = "the backend was replaced by one of another protocol era";
        changed.then(|| Error::new(ErrorKind::NotSent, message))
    }

    /// Now and then only, so that a backend that refuses a lot is not asked as often.
    fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= PAUSE);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

/// Whether servers of the other era would have answered so, as those of the SDKs in use do.
pub(in crate::client::http) fn is_reason(sessionless: bool, outcome: &Result<Reply, Error>) -> bool {
    match outcome {
        Ok(Reply::Result(_)) => false,
        // They miss a session.
        Ok(Reply::Error(error)) if sessionless => matches!(
            error.code(),
            -32000 | -32001 | codes::INVALID_REQUEST | codes::SESSION_NOT_FOUND | codes::UNSUPPORTED_PROTOCOL_VERSION
        ),
        // They miss what a request says of itself.
        Ok(Reply::Error(error)) => match error.code() {
            codes::HEADER_MISMATCH | codes::MISSING_CLIENT_CAPABILITY | codes::UNSUPPORTED_PROTOCOL_VERSION => true,
            codes::INVALID_PARAMS => error.message().contains("_meta"),
            _ => false,
        },
        Err(error) => error.kind() == ErrorKind::Refused,
    }
}

/// How often a backend may be asked again.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_other_era_would_say_gives_reason() {
        let refused = || Err(Error::new(ErrorKind::Refused, "no"));
        for (outcome, of_sessionless, of_session) in [
            (Ok(Reply::error(-32000, "no session")), true, false),
            (Ok(Reply::error(-32022, "no such version")), true, true),
            (Ok(Reply::error(-32602, "`_meta` lacks a version")), false, true),
            (Ok(Reply::error(-32602, "no such tool")), false, false),
            (Ok(Reply::error(-32603, "failed")), false, false),
            (refused(), true, true),
        ] {
            assert_eq!(is_reason(true, &outcome), of_sessionless, "{outcome:?}");
            assert_eq!(is_reason(false, &outcome), of_session, "{outcome:?}");
        }
    }
}
