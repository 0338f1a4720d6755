//! One started program: on chosen cores, its words kept in a file, ended for certain.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// A running program. `stop` ends it in order; dropping it, as errors do, ends it too.
#[derive(Debug)]
pub(crate) struct Program {
    name: &'static str,
    /// Whether it must be asked, not killed, because it has children of its own that only it can end.
    ask: bool,
    child: Child,
    /// Where its stderr goes.
    log: PathBuf,
}

impl Program {
    /// Starts `command` on `cores` (none: any), with stdin kept open, stdout dropped and stderr in `folder`. A program
    /// with worker processes wants `ask`.
    ///
    /// # Errors
    /// When our own program or the log file cannot be opened.
    pub(crate) fn start<I, S>(
        name: &'static str,
        ask: bool,
        folder: &Path,
        cores: &[usize],
        environment: &[(&str, &str)],
        command: I,
    ) -> anyhow::Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let log = folder.join(format!("{name}.stderr"));
        let file = std::fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut launch = launcher(cores)?;
        launch.args(command).envs(environment.iter().copied());
        launch
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(file)
            .kill_on_drop(!ask);
        let child = launch.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, ask, child, log })
    }

    /// Its process id.
    ///
    /// # Errors
    /// When it has ended, with the last lines it wrote.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child
            .id()
            .with_context(|| format!("{} has ended; it wrote:\n{}", self.name, self.last_words()))
    }

    /// Tries `probe` until it gives something.
    ///
    /// # Errors
    /// When the program ends, or nothing comes within `limit`; both with the last lines it wrote.
    pub(crate) async fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut probe: impl AsyncFnMut() -> Option<T>,
    ) -> anyhow::Result<T> {
        let end = Instant::now() + limit;
        loop {
            // The probe may hang where the program does.
            if let Ok(Some(found)) = timeout(end.saturating_duration_since(Instant::now()), probe()).await {
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!(
                    "{} ended ({status}) before {what}; it wrote:\n{}",
                    self.name,
                    self.last_words()
                );
            }
            if Instant::now() >= end {
                anyhow::bail!(
                    "{}: no {what} within {limit:?}; it wrote:\n{}",
                    self.name,
                    self.last_words()
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// All that it wrote to stderr so far.
    pub(crate) fn words(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The end of what it wrote to stderr.
    pub(crate) fn last_words(&self) -> String {
        let words = self.words();
        let lines: Vec<&str> = words.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Asks it to end, and kills it if it has not within a few seconds.
    pub(crate) async fn stop(mut self) {
        drop(self.child.stdin.take());
        self.terminate();
        if timeout(Duration::from_secs(5), self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }

    fn terminate(&self) {
        #[cfg(unix)]
        if let Some(pid) = self
            .child
            .id()
            .and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()))
        {
            // It may have ended by itself a moment ago.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.ask {
            self.terminate();
        }
    }
}

/// The start of a command line that runs what follows it on `cores`.
///
/// # Errors
/// When the system does not tell where our own program is.
pub(crate) fn launcher(cores: &[usize]) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("cannot find the bench's own program")?);
    command.args(launch_arguments(cores));
    Ok(command)
}

/// The arguments of our own program that run what follows them on `cores`.
pub(crate) fn launch_arguments(cores: &[usize]) -> Vec<String> {
    let mut arguments = vec!["launch".to_owned()];
    if !cores.is_empty() {
        let list: Vec<String> = cores.iter().map(usize::to_string).collect();
        arguments.extend(["--cores".to_owned(), list.join(",")]);
    }
    arguments.push("--".to_owned());
    arguments
}
