//! How long to wait before trying again: exponential with jitter, pure.

use std::time::Duration;

/// Waiting times between attempts: the first attempt after a working connection is immediate, then `first`, doubling up
/// to `max`, each varied by ±10 % so that many backends behind one failed host do not come back in step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
}

impl Backoff {
    /// For servers reached over a network: a vain attempt costs little, and one that is back should serve within two
    /// seconds.
    pub const NETWORK: Self = Self {
        first: Duration::from_millis(100),
        max: Duration::from_millis(1500),
    };

    /// For child processes: at most eight starts in the first minute of a crash loop, then two a minute.
    pub const PROCESS: Self = Self {
        first: Duration::from_millis(500),
        max: Duration::from_secs(30),
    };

    /// `first` is raised to a millisecond and `max` to `first`, so that no combination can spin.
    pub fn new(first: Duration, max: Duration) -> Self {
        let first = first.max(Duration::from_millis(1));
        Self {
            first,
            max: max.max(first),
        }
    }

    /// The wait after `failures` failed attempts in a row. `random` is uniform over its range.
    pub(super) fn delay(self, failures: u32, random: u8) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else {
            return Duration::ZERO;
        };
        let base = self
            .first
            .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
            .min(self.max);
        base.mul_f64(0.9 + 0.2 * f64::from(random) / 255.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loop_starts_at_most_eight_times_in_its_first_minute() {
        for random in [0, 255] {
            let mut at = Duration::ZERO;
            let starts = (0..100)
                .map(|failures| {
                    at += Backoff::PROCESS.delay(failures, random);
                    at
                })
                .take_while(|at| *at < Duration::from_secs(60))
                .count();
            assert!(starts <= 8, "{starts}");
        }
    }

    #[test]
    fn waits_are_bounded_and_never_spin() {
        let backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        assert!(backoff.delay(1, 0) > Duration::ZERO);
        assert!(Backoff::NETWORK.delay(u32::MAX, 255) <= Duration::from_millis(1650));
    }
}
