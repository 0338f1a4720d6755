//! Signals to a child's process group, where there are such things.

/// Asks the group of `leader` to end.
#[cfg(unix)]
pub(super) fn end_group(leader: Option<u32>) {
    if let Some(leader) = leader {
        send(leader, rustix::process::Signal::TERM);
    }
}

/// Kills the group of `leader`.
#[cfg(unix)]
pub(super) fn kill_group(leader: u32) {
    send(leader, rustix::process::Signal::KILL);
}

#[cfg(unix)]
fn send(leader: u32, signal: rustix::process::Signal) {
    let group = i32::try_from(leader).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // It fails when nobody is left in the group, which is what we want.
        let _ = rustix::process::kill_process_group(group, signal);
    }
}

/// Elsewhere a child cannot be asked.
#[cfg(not(unix))]
pub(super) fn end_group(_: Option<u32>) {}

/// Elsewhere only the child itself is killed, by whoever holds its handle.
#[cfg(not(unix))]
pub(super) fn kill_group(_: u32) {}
