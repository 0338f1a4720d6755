//! Which processes belong to a test: those that carry its mark in their environment, however they were started.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

/// A mark that one test puts on its children. Dropping it ends whatever still carries it, so that a failed test leaves
/// nothing behind.
pub(crate) struct Mark(String);

impl Mark {
    pub(crate) fn new(test: &str) -> Self {
        Self(format!("{test}-{}", std::process::id()))
    }

    /// The name of the variable.
    pub(crate) const NAME: &str = "MCP_PROXY_TEST_MARK";

    pub(crate) fn value(&self) -> &str {
        &self.0
    }

    /// All living processes with this mark. A zombie has ended and has no environment.
    pub(crate) fn alive(&self) -> Vec<i32> {
        let wanted = format!("{}={}", Self::NAME, self.0);
        let entries = std::fs::read_dir("/proc").unwrap();
        let pids = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        pids.filter(|pid| {
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|word| word == wanted.as_bytes()))
        })
        .collect()
    }

    /// Those whose command line contains `word`.
    pub(crate) fn running(&self, word: &str) -> Vec<i32> {
        let mut pids = self.alive();
        pids.retain(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(word)
        });
        pids
    }

    /// Waits until `count` processes carry the mark.
    pub(crate) async fn until(&self, count: usize) {
        eventually(&format!("{count} processes"), || self.alive().len() == count).await;
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        for pid in self.alive() {
            kill(pid);
        }
    }
}

/// Kills one process.
pub(crate) fn kill(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Looks again and again until something outside of this process is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
    assert!(waited.is_ok(), "never came to be: {what}");
}

/// The example `stdio`, which is also a supervisor. Cargo builds it before it runs all tests of this package; it is built
/// here when only some are run.
pub(crate) fn example() -> PathBuf {
    static BUILD: Mutex<()> = Mutex::new(());
    let _one = BUILD.lock().unwrap();
    let test = std::env::current_exe().unwrap();
    let mut folders = test.ancestors();
    let folder = folders.find(|folder| folder.join(".fingerprint").is_dir()).unwrap();
    let program = folder.join("examples").join("stdio");
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = newest(&package.join("src")).max(newest(&package.join("examples")));
    if program
        .metadata()
        .and_then(|about| about.modified())
        .is_ok_and(|built| built > sources)
    {
        return program;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = std::process::Command::new(cargo);
    build.args([
        "build",
        "--quiet",
        "--package",
        "mcp-proxy-transport",
        "--example",
        "stdio",
    ]);
    if folder.file_name().is_some_and(|name| name == "release") {
        build.arg("--release");
    }
    assert!(build.current_dir(package).status().unwrap().success());
    program
}

fn newest(folder: &Path) -> SystemTime {
    let times = folder.read_dir().unwrap().map(|entry| {
        let entry = entry.unwrap();
        let about = entry.metadata().unwrap();
        if about.is_dir() {
            newest(&entry.path())
        } else {
            about.modified().unwrap()
        }
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}
