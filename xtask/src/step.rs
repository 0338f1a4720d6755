//! Progress: one line when a step starts, one when it ends with how long it took, and at the end of the verb a list of what
//! failed with the command that mends each.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

/// The steps of one verb. A failed step does not stop the next one, so that one run shows everything there is to mend.
pub(crate) struct Steps {
    verb: &'static str,
    clock: Stopwatch,
    failed: Vec<Failed>,
}

struct Failed {
    step: String,
    why: String,
    repair: String,
}

impl Steps {
    pub(crate) fn new(verb: &'static str) -> Self {
        Self {
            verb,
            clock: Stopwatch::start(),
            failed: Vec::new(),
        }
    }

    /// Runs one step. `repair` is what to type when it fails. Returns whether it went well.
    pub(crate) fn step(&mut self, name: &str, repair: &str, work: impl FnOnce() -> Result<()>) -> bool {
        eprintln!("{}: {name} ...", self.verb);
        let clock = Stopwatch::start();
        let outcome = work();
        let spent = clock.spent();
        match outcome {
            Ok(()) => {
                eprintln!("{}: {name}: ok in {spent}", self.verb);
                true
            }
            Err(error) => {
                eprintln!("{}: {name}: FAILED after {spent}\n{error:#}", self.verb);
                self.failed.push(Failed {
                    step: name.to_owned(),
                    // Long reports have been printed above; the list at the end needs the first line only.
                    why: format!("{error:#}").lines().next().unwrap_or_default().to_owned(),
                    repair: repair.to_owned(),
                });
                false
            }
        }
    }

    /// Says how it all went.
    pub(crate) fn finish(self) -> ExitCode {
        if self.failed.is_empty() {
            eprintln!("{}: every step went well, {} in all", self.verb, self.clock.spent());
            return ExitCode::SUCCESS;
        }
        eprintln!(
            "\n{}: {} of the steps failed, {} in all",
            self.verb,
            self.failed.len(),
            self.clock.spent()
        );
        for failed in &self.failed {
            eprintln!("  {}: {}\n    to mend it: {}", failed.step, failed.why, failed.repair);
        }
        ExitCode::FAILURE
    }
}

/// Time since it was started, written for people.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "no runtime here whose clock a test could move")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    pub(crate) fn spent(&self) -> String {
        let seconds = self.elapsed().as_secs_f64();
        if seconds < 60.0 {
            format!("{seconds:.1} s")
        } else {
            format!("{} min {:.0} s", (seconds / 60.0).floor(), seconds % 60.0)
        }
    }
}
