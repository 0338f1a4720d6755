//! How everything below the supervisor is brought to its end: wait, ask, kill.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Where the stop has got to. Each state ends at its instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Running,
    /// The command's input is closed; it may end by itself.
    Waiting,
    /// Everybody was sent SIGTERM.
    Asked,
    /// Everybody is being sent SIGKILL, again and again: somebody may be forking.
    Killing,
}

/// The stop of one command and all it started.
pub(super) struct Stop {
    command: Pid,
    state: State,
    until: Instant,
    hurried: bool,
}

impl Stop {
    pub(super) fn new(command: Pid) -> Self {
        Self {
            command,
            state: State::Running,
            until: now(),
            hurried: false,
        }
    }

    /// The command's input is closed: it should end by itself.
    pub(super) fn wait(&mut self) {
        self.advance(State::Waiting);
    }

    /// Everybody should end now.
    pub(super) fn ask(&mut self) {
        self.advance(State::Asked);
    }

    /// Whether nobody waits for the end any more, so that it should come soon.
    pub(super) fn hurry(&mut self, hurry: bool) {
        if hurry && !self.hurried {
            self.hurried = true;
            self.until = self.until.min(now() + self.patience());
        }
    }

    /// Does what is due, and says how long to sleep; `None` when nothing more can be done.
    pub(super) fn step(&mut self) -> Option<Duration> {
        if self.state != State::Running && now() >= self.until {
            match self.state {
                State::Running | State::Waiting => self.advance(State::Asked),
                State::Asked => self.advance(State::Killing),
                State::Killing => return None,
            }
        }
        match self.state {
            State::Running => Some(IDLE),
            State::Killing => {
                self.send(Signal::KILL);
                Some(RETRY)
            }
            // Awake often enough to notice that the proxy is gone.
            State::Waiting | State::Asked => Some(self.until.saturating_duration_since(now()).min(LOOK)),
        }
    }

    fn advance(&mut self, state: State) {
        if state <= self.state {
            return;
        }
        self.state = state;
        self.until = now() + self.patience();
        if state == State::Asked {
            self.send(Signal::TERM);
        }
    }

    fn patience(&self) -> Duration {
        match self.state {
            State::Running => IDLE,
            State::Waiting | State::Asked if self.hurried => HURRIED_PATIENCE,
            State::Waiting | State::Asked => PATIENCE,
            State::Killing => KILLING,
        }
    }

    /// To the command's group, and to everybody who left it. It fails for those who are gone already.
    fn send(&self, signal: Signal) {
        let _ = kill_process_group(self.command, signal);
        #[cfg(target_os = "linux")]
        for pid in super::descendants::of(rustix::process::getpid()) {
            let _ = kill_process(pid, signal);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = kill_process(self.command, signal);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this process has no runtime whose clock could be moved"
)]
fn now() -> Instant {
    Instant::now()
}

/// How long each of waiting and asking lasts, and how long when the proxy is gone.
const PATIENCE: Duration = Duration::from_secs(2);
const HURRIED_PATIENCE: Duration = Duration::from_secs(1);

/// How long killing is tried. With the above: less than `LONGEST_STOP`.
const KILLING: Duration = Duration::from_millis(500);

/// How often those that are being killed are looked for again.
const RETRY: Duration = Duration::from_millis(10);

/// How often the proxy is looked for during a stop.
const LOOK: Duration = Duration::from_millis(100);

/// How long to sleep while there is nothing to do; signals and hang-ups wake earlier.
const IDLE: Duration = Duration::from_secs(3600);
