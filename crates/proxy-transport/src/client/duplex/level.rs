//! How much a session-era backend logs, when callers without a session say so for each call.
//!
//! Such a backend has one level for all. It is set to the most that any of them has wanted so far, and never taken back
//! on their account; what a client did not ask for is kept from it where its messages leave the proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use mcp_proxy_core::json::{Params, Slot};
use mcp_proxy_core::{Call, LogLevel, Method};
use tokio::time::timeout;

use super::call;
use super::link::Link;

/// The level of one connection, as far as it is known.
pub(super) struct Level {
    /// What the backend was told.
    now: AtomicU8,
    /// The most that callers without a session have wanted.
    floor: AtomicU8,
}

/// Above every level: nothing was said.
const UNSAID: u8 = LogLevel::ALL.len() as u8;

impl Default for Level {
    fn default() -> Self {
        Self {
            now: AtomicU8::new(UNSAID),
            floor: AtomicU8::new(UNSAID),
        }
    }
}

impl Level {
    /// The level to set so that a call hears `wanted`; `None` when it hears that already.
    fn needed(&self, wanted: LogLevel) -> Option<LogLevel> {
        let wanted = match self.now.load(Ordering::Relaxed) {
            // Others may rely on what the backend logs by itself, which is `info` mostly.
            UNSAID => wanted.min(LogLevel::Info),
            _ => wanted,
        };
        ((wanted as u8) < self.now.load(Ordering::Relaxed)).then_some(wanted)
    }

    /// Notes a level that the sessions want; what the backend is to be told instead, if that is more.
    pub(super) fn set(&self, wanted: LogLevel) -> Option<LogLevel> {
        let floor = self.floor.load(Ordering::Relaxed);
        self.now.store(floor.min(wanted as u8), Ordering::Relaxed);
        LogLevel::ALL
            .get(usize::from(floor))
            .copied()
            .filter(|floor| *floor < wanted)
    }
}

/// Has the backend log at least what a call wants to hear. Failing that, the call hears less.
pub(super) async fn raise(link: &Arc<Link>, wanted: LogLevel) {
    let Some(level) = link.level.needed(wanted) else { return };
    link.level.floor.fetch_min(level as u8, Ordering::Relaxed);
    link.level.now.fetch_min(level as u8, Ordering::Relaxed);
    let mut params = Params::absent();
    params.set_string(Slot::Level, level.as_str());
    let set = call::send(link, Call::new(Method::SetLevel).with_params(params));
    if !matches!(timeout(PATIENCE, set).await, Ok(Ok(_))) {
        tracing::debug!(backend = %link.options.name, "the backend's log level could not be set");
    }
}

/// How long a call waits for that.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_anybody_wants_is_set() {
        let level = Level::default();
        assert_eq!(
            level.needed(LogLevel::Error),
            Some(LogLevel::Info),
            "nobody hears less than before"
        );
        assert_eq!(level.needed(LogLevel::Debug), Some(LogLevel::Debug));
        assert_eq!(level.set(LogLevel::Warning), None);
        assert_eq!(level.needed(LogLevel::Error), None);
        assert_eq!(level.needed(LogLevel::Notice), Some(LogLevel::Notice));
        level.floor.store(LogLevel::Notice as u8, Ordering::Relaxed);
        assert_eq!(level.set(LogLevel::Error), Some(LogLevel::Notice));
        assert_eq!(level.set(LogLevel::Debug), None);
        assert_eq!(level.needed(LogLevel::Debug), None);
    }
}
