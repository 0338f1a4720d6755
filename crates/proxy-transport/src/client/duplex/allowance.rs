//! How much of something unbounded is let through: a burst, then a steady rate. For log lines a backend causes.

use tokio::time::Instant;

/// A token bucket that counts what it held back.
#[derive(Debug)]
pub(crate) struct Allowance {
    burst: u32,
    per_second: u32,
    left: f64,
    filled: Instant,
    suppressed: u64,
}

impl Allowance {
    /// Lets `burst` through at once and `per_second` from then on.
    pub(crate) fn new(burst: u32, per_second: u32) -> Self {
        Self {
            burst,
            per_second,
            left: f64::from(burst),
            filled: Instant::now(),
            suppressed: 0,
        }
    }

    /// Whether the next one may pass. `Some(n)` says yes, and that `n` were held back since the last that passed.
    pub(crate) fn take(&mut self) -> Option<u64> {
        let now = Instant::now();
        let gained = (now - self.filled).as_secs_f64() * f64::from(self.per_second);
        self.left = (self.left + gained).min(f64::from(self.burst));
        self.filled = now;
        if self.left < 1.0 {
            self.suppressed += 1;
            return None;
        }
        self.left -= 1.0;
        Some(std::mem::take(&mut self.suppressed))
    }

    /// How many were held back since the last that passed; counting starts anew.
    pub(crate) fn take_suppressed(&mut self) -> u64 {
        std::mem::take(&mut self.suppressed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_then_a_rate_and_the_rest_is_counted() {
        let mut allowance = Allowance::new(2, 10);
        let taken: Vec<_> = (0..4).map(|_| allowance.take()).collect();
        assert_eq!(taken, [Some(0), Some(0), None, None]);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(allowance.take(), Some(2));
        assert_eq!(allowance.take(), None);
        assert_eq!(allowance.take_suppressed(), 1);
    }
}
