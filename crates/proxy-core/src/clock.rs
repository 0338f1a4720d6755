//! Wall time, as an argument. Monotonic time is `tokio::time`, which tests pause; this is for what ends at a date.

use std::time::SystemTime;

/// Tells the date.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> SystemTime;
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
