//! Which processes belong to a test: those that carry its mark in their environment.
//!
//! Each proxy under test gets a mark of its own and hands it to its stdio backends by their `env` table, so a process that
//! outlives its test is found by reading `/proc`, and ended by its own id, never by name.

use std::fs;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// The variable that carries the mark.
pub(super) const MARK: &str = "MCP_PROXY_TEST_MARK";

/// Ids of all living processes that carry `mark`. A zombie has ended, whoever forgot to collect it.
pub(crate) fn with_mark(mark: &str) -> Vec<u32> {
    let wanted = format!("{MARK}={mark}");
    let Ok(folder) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    folder
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|word| word == wanted.as_bytes()))
        })
        .collect()
}

/// The command line of a process, its words joined by blanks; empty when it has ended.
pub(crate) fn command_line(pid: u32) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ").trim_end().to_owned()
}

/// Ends one process at once, as the kernel does when memory runs out.
pub(crate) fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended by itself between the look and the signal; then there is nothing left to do.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Ends the group that a process of ours leads.
pub(super) fn kill_group(leader: u32) {
    if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        // As above.
        let _ = kill_process_group(group, Signal::KILL);
    }
}
