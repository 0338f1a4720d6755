//! `launch`: starts a program in this process's place, pinned, with room for many sockets, and tied to its parent.
//!
//! The settings must be made between fork and exec; a small program of our own that then turns into the other one is
//! the way to do that without unsafe code.

use std::ffi::OsString;

use clap::Args;

/// What to start, and how.
#[derive(Debug, Args)]
pub(crate) struct LaunchArguments {
    /// Cores to run on, as in `--cores 0,1`; without it, any.
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes the other program. Returns only when that fails.
///
/// # Errors
/// When the cores are not there or the program cannot be started.
#[cfg(unix)]
pub(crate) fn main(arguments: &LaunchArguments) -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt;

    super::place::pin(&arguments.cores)?;
    raise_file_limit();
    // If the bench is killed, what it started gets the signal to end as well.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    let Some((program, rest)) = arguments.command.split_first() else {
        anyhow::bail!("name a program after --");
    };
    let error = std::process::Command::new(program).args(rest).exec();
    Err(anyhow::Error::new(error).context(format!("cannot start {}", program.display())))
}

#[cfg(not(unix))]
pub(crate) fn main(_: &LaunchArguments) -> anyhow::Result<()> {
    anyhow::bail!("the bench measures on Linux only")
}

/// Lets this process, and what it becomes or starts, have as many open files as it may.
#[cfg(unix)]
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refused means that the old limit stays, which is enough for all but the rows with thousands of streams.
    let _ = setrlimit(Resource::Nofile, limit);
}

#[cfg(not(unix))]
pub(crate) fn raise_file_limit() {}
