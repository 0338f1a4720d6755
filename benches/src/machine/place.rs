//! Which cores the parts run on.
//!
//! What is measured gets one core for itself, the client and the backend share the others; otherwise they would take
//! turns on one core and a figure would show the scheduler. The measurement "as a user would run it" lets the proxy
//! have every core instead.

use anyhow::Context as _;
use clap::ValueEnum;

/// Whether to keep the measured program and its load apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pinning {
    /// Keep them apart when there are two cores or more.
    Auto,
    /// Keep them apart.
    On,
    /// Let the scheduler decide.
    Off,
}

/// The cores of each part, as core numbers; empty means any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// For what is measured.
    pub(crate) subject: Vec<usize>,
    /// For the client and the backend.
    pub(crate) load: Vec<usize>,
}

impl Places {
    /// Divides the cores that this process may use.
    ///
    /// # Errors
    /// When pinning is asked for and there is one core only.
    pub(crate) fn new(pinning: Pinning) -> anyhow::Result<Self> {
        let cores = usable()?;
        match (pinning, cores.split_first()) {
            (Pinning::Off, _) => Ok(Self::default()),
            (_, Some((&first, rest))) if !rest.is_empty() => Ok(Self {
                subject: vec![first],
                load: rest.to_vec(),
            }),
            (Pinning::Auto, _) => Ok(Self::default()),
            (Pinning::On, _) => anyhow::bail!("--pin on needs two cores, and this process may use one; use --pin off"),
        }
    }

    /// The cores of both together. A program started from a pinned one is pinned as well, unless it is given these.
    pub(crate) fn all(&self) -> Vec<usize> {
        [self.subject.as_slice(), &self.load].concat()
    }
}

#[cfg(target_os = "linux")]
fn usable() -> anyhow::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None).context("cannot ask which cores this process may use")?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|&core| set.is_set(core))
        .collect())
}

/// Pins the calling thread, and what it starts from now on, to `cores`; no cores means no change.
///
/// # Errors
/// When the kernel refuses, for instance because a core is not there.
#[cfg(target_os = "linux")]
pub(crate) fn pin(cores: &[usize]) -> anyhow::Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut set = rustix::thread::CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    rustix::thread::sched_setaffinity(None, &set).with_context(|| format!("cannot run on cores {cores:?}"))
}

#[cfg(not(target_os = "linux"))]
fn usable() -> anyhow::Result<Vec<usize>> {
    Ok(Vec::new())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(_: &[usize]) -> anyhow::Result<()> {
    Ok(())
}
