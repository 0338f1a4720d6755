//! The parts, and how one is brought up: hash its lock, look at its stamp, install, start every program once, stamp.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::program::{PROGRAMS, Program};
use super::store::Store;
use super::{node, probe, python};
use crate::step::Stopwatch;

/// What is installed together from one lock.
pub(crate) struct Part {
    /// Its folder below `target/peers`.
    pub(crate) name: &'static str,
    kind: Kind,
    /// The files below `xtask/peers` that pin it.
    locks: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Node,
    Python,
}

/// All of them. The two Python SDKs share a module name and so cannot share an environment.
pub(crate) const PARTS: &[Part] = &[
    Part {
        name: "node",
        kind: Kind::Node,
        locks: &["node/package.json", "node/package-lock.json"],
    },
    Part {
        name: "py",
        kind: Kind::Python,
        locks: &["py.txt"],
    },
    Part {
        name: "py-v1",
        kind: Kind::Python,
        locks: &["py-v1.txt"],
    },
];

/// Longest wait for one installer: a slow line, not a dead one.
const INSTALL: Duration = Duration::from_secs(15 * 60);

/// What became of a part.
pub(crate) struct Found {
    pub(crate) name: &'static str,
    pub(crate) folder: PathBuf,
    pub(crate) hash: String,
    pub(crate) programs: Vec<Tried>,
}

/// What became of one of its programs.
pub(crate) struct Tried {
    pub(crate) name: &'static str,
    pub(crate) package: &'static str,
    /// How to start it, or why that is not possible.
    pub(crate) command: Result<Vec<PathBuf>, String>,
}

impl Part {
    /// Installs the part unless its stamp says that it is there.
    ///
    /// # Errors
    /// When its lock cannot be read. A failed installation is no error here but the reason of every program in it.
    pub(crate) fn bring_up(&self, store: &Store, verify: bool) -> Result<Found> {
        let hash = self.hash(&store.locks)?;
        let folder = store.folder(self.name, &hash)?;
        let stamped = self.is_stamped(&folder, &hash);
        let mut found = Found {
            name: self.name,
            folder,
            hash,
            programs: Vec::new(),
        };
        if !stamped && let Err(error) = self.install(store, &found.folder) {
            eprintln!("peers: {}: FAILED: {error:#}", self.name);
            // All of it has been said once; each program repeats the heading.
            let why = error.to_string();
            found.programs = self.programs().map(|program| Tried::failed(program, &why)).collect();
            return Ok(found);
        }
        if !stamped {
            stamp(&found.folder, STAMP, &found.hash)?;
        }
        let try_all = verify || !has_stamp(&found.folder, TRIED, &found.hash);
        let clock = Stopwatch::start();
        found.programs = self
            .programs()
            .map(|program| Tried {
                name: program.name,
                package: program.package,
                command: self
                    .command(program, &found.folder)
                    .and_then(|command| {
                        if try_all {
                            probe::probe(program, &command, &found.folder, store)?;
                        }
                        Ok(command)
                    })
                    .map_err(|error| format!("{error:#}")),
            })
            .collect();
        if try_all {
            eprintln!("peers: {}: every program tried in {}", self.name, clock.spent());
            if found.programs.iter().all(|program| program.command.is_ok()) {
                // A folder for reading only has its stamp already, or is tried each time.
                let _ = stamp(&found.folder, TRIED, &found.hash);
            } else if verify {
                // Whoever asks twice wants it mended: the next run installs afresh.
                let _ = fs::remove_file(found.folder.join(STAMP));
            }
        }
        Ok(found)
    }

    fn install(&self, store: &Store, folder: &Path) -> Result<()> {
        eprintln!("peers: {}: installing into {} ...", self.name, folder.display());
        let clock = Stopwatch::start();
        let log = store.log(self.name);
        fs::write(&log, "").with_context(|| format!("cannot write {}", log.display()))?;
        for name in [STAMP, TRIED] {
            let _ = fs::remove_file(folder.join(name)); // it may not exist
        }
        let locks: Vec<_> = self.locks.iter().map(|lock| store.locks.join(lock)).collect();
        match self.kind {
            Kind::Node => node::install(&locks, folder, &log, INSTALL),
            Kind::Python => python::install(&locks[0], folder, &log, INSTALL),
        }?;
        eprintln!("peers: {}: installed in {}", self.name, clock.spent());
        Ok(())
    }

    /// How to start a program of this part.
    fn command(&self, program: &Program, folder: &Path) -> Result<Vec<PathBuf>> {
        match self.kind {
            Kind::Node => node::command(program, folder),
            Kind::Python => python::command(program, folder),
        }
    }

    fn programs(&self) -> impl Iterator<Item = &'static Program> {
        PROGRAMS.iter().filter(|program| program.part == self.name)
    }

    fn is_stamped(&self, folder: &Path, hash: &str) -> bool {
        has_stamp(folder, STAMP, hash)
            // The interpreter that an environment points to may have been removed since.
            && self.programs().all(|program| {
                self.command(program, folder)
                    .is_ok_and(|command| command.iter().all(|path| path.exists()))
            })
    }

    fn hash(&self, locks: &Path) -> Result<String> {
        let mut all = Vec::new();
        for lock in self.locks {
            let path = locks.join(lock);
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            // Line by line: a checkout with other line ends holds the same lock.
            for line in text.lines() {
                all.extend_from_slice(line.as_bytes());
                all.push(b'\n');
            }
        }
        Ok(format!("{:016x}", fnv1a(&all)))
    }
}

impl Tried {
    fn failed(program: &Program, why: &str) -> Self {
        Self {
            name: program.name,
            package: program.package,
            command: Err(why.to_owned()),
        }
    }
}

/// Written after the installation, so that half of one has none.
const STAMP: &str = ".stamp";

/// Written when every program has started. A part without it is not installed again: what is missing may be git.
const TRIED: &str = ".tried";

fn has_stamp(folder: &Path, name: &str, hash: &str) -> bool {
    fs::read_to_string(folder.join(name)).is_ok_and(|stamp| stamp == hash)
}

fn stamp(folder: &Path, name: &str, hash: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, hash).with_context(|| format!("cannot write {}", path.display()))
}

/// FNV-1a, 64 bits. It tells one lock from the next and guards nothing; npm checks the digests in its lock itself.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn every_program_belongs_to_a_part() {
        for program in PROGRAMS {
            assert!(PARTS.iter().any(|part| part.name == program.part), "{}", program.name);
        }
    }
}
