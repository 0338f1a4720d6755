//! Who lives below a process, from `/proc`.

use std::collections::HashMap;

use rustix::process::Pid;

/// Everybody below `ancestor`: children, their children, and so on. Empty where there is no `/proc`.
///
/// All processes are read rather than `/proc/PID/task/TID/children`, which not every kernel has.
pub(super) fn of(ancestor: Pid) -> Vec<Pid> {
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in entries {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        // Whoever ended meanwhile has no file any more.
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(parent) = parent(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut next) = (Vec::new(), vec![ancestor]);
    while let Some(pid) = next.pop() {
        // Removed, so that no circle of reused ids can be walked twice.
        let below = children.remove(&pid).unwrap_or_default();
        found.extend_from_slice(&below);
        next.extend(below);
    }
    found
}

/// The parent in a line of `/proc/PID/stat`. The program's name in it may hold anything, parentheses too.
fn parent(stat: &str) -> Option<Pid> {
    let (_, after) = stat.rsplit_once(')')?;
    Pid::from_raw(after.split_ascii_whitespace().nth(1)?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(
            parent("7 (a) b) 9) S 42 7 7 0").map(|pid| pid.as_raw_nonzero().get()),
            Some(42)
        );
        assert_eq!(parent("7 (init) S 0 1"), None);
        assert_eq!(parent(""), None);
    }

    #[test]
    fn we_are_below_our_parent() {
        let parent = rustix::process::getppid().unwrap();
        assert!(of(parent).contains(&rustix::process::getpid()));
    }
}
