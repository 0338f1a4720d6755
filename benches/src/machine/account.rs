//! What a process has cost so far, as the kernel keeps it: time on the processor, and memory.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

/// Time that all threads of the process have spent on a processor, in user and kernel mode.
///
/// From `schedstat` (nanoseconds) where the kernel keeps it, else from `stat` (hundredths of a second).
///
/// # Errors
/// When the process is gone or `/proc` is not mounted.
pub(crate) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let threads = format!("/proc/{pid}/task");
    let mut nanoseconds = 0_u64;
    for thread in fs::read_dir(&threads).with_context(|| format!("process {pid} is gone"))? {
        // A thread may end between the listing and the reading; what it used is then lost to us, not wrong.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };
        nanoseconds += text
            .split(' ')
            .next()
            .and_then(|word| word.parse::<u64>().ok())
            .unwrap_or(0);
    }
    if nanoseconds > 0 {
        return Ok(Duration::from_nanos(nanoseconds));
    }
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    // The second field is the program's name in brackets and may itself contain spaces and brackets.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12]
        .iter()
        .filter_map(|&field| fields.get(field)?.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// How much memory a process has, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Pages in memory, shared ones counted whole.
    pub(crate) resident: u64,
    /// Pages in memory, shared ones divided by their users.
    pub(crate) proportional: u64,
    /// Pages in memory that nobody else has.
    pub(crate) private: u64,
}

/// Reads a process's memory from `smaps_rollup`.
///
/// # Errors
/// When the process is gone or `/proc` is not mounted.
pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let text =
        fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).with_context(|| format!("process {pid} is gone"))?;
    let mut memory = Memory::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(Ok(kibibytes))) = (words.next(), words.next().map(str::parse::<u64>)) else {
            continue;
        };
        match name {
            "Rss:" => memory.resident = kibibytes << 10,
            "Pss:" => memory.proportional = kibibytes << 10,
            "Private_Clean:" | "Private_Dirty:" => memory.private += kibibytes << 10,
            _ => {}
        }
    }
    Ok(memory)
}

/// The direct children of a process.
///
/// # Errors
/// When `/proc` is not mounted.
pub(crate) fn children(pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc is not mounted; the bench needs Linux")? {
        let path = entry?.path();
        let Some(child) = path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()) else {
            continue;
        };
        if parent(&path) == Some(pid) {
            children.push(child);
        }
    }
    Ok(children)
}

fn parent(process: &Path) -> Option<u32> {
    let text = fs::read_to_string(process.join("stat")).ok()?;
    text.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
}
