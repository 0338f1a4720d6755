//! The supervisor: a small process between the proxy and one child, so that the child and all it started are gone when
//! the proxy is, however the proxy went.
//!
//! ```text
//!   proxy ──stdin──► ┌────────────┐ stdin, stdout, stderr straight through
//!    (its death      │ supervisor │─────► command ──► its own children,
//!     is a hang-up)  └────────────┘        (own process group)   daemons too
//! ```
//!
//! A process that is killed cannot clean up, so somebody else must. The supervisor shares the child's standard input and
//! watches it for one thing: that nobody holds its other end any more. That is so when the proxy closes it, and also when
//! the proxy dies, without any further pipe. Then the child gets a moment to end by itself, then SIGTERM, then SIGKILL.
//! On Linux the supervisor is also the *subreaper* of everything below it: what a daemon orphans becomes its child, so
//! double forks and new sessions do not escape. And if the supervisor itself is killed, the kernel kills the command
//! (its parent-death signal).
//!
//! It is the hidden mode `__supervise` of the `mcp-proxy` binary: [`main`]. It copies nothing, has one thread and no
//! runtime. The idea is that of `tini` and `docker-init`.

#[cfg(target_os = "linux")]
mod descendants;
#[cfg(unix)]
mod stop;
#[cfg(unix)]
mod unix;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

/// The argument that selects this mode of a binary.
pub const ARGUMENT: &str = "__supervise";

/// What a complaint of the supervisor begins with; everything else on standard error is the command's own.
pub const COMPLAINT: &str = "mcp-proxy supervisor:";

/// The longest that stopping a child takes, from the closing of its input on.
pub const LONGEST_STOP: Duration = Duration::from_secs(5);

/// Runs `-- COMMAND ARGUMENTS…` and returns when nothing of it is left: with its exit status, 128 + n when signal n ended
/// it, 127 when there is no such command, 126 when it cannot be run. To be called before anything else has been done:
/// before threads, runtimes and open files.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let mut stage = None;
    for argument in arguments.by_ref().take_while(|argument| argument != "--") {
        if let Some(parent) = argument.to_str().and_then(|text| text.strip_prefix(SECOND_STAGE)) {
            stage = parent.parse().ok();
        }
    }
    let Some(command) = arguments.next() else {
        return complain(2, "no command is given: it stands after `--`");
    };
    let rest: Vec<OsString> = arguments.collect();
    start(stage, &command, &rest)
}

#[cfg(unix)]
fn start(stage: Option<u32>, command: &OsString, arguments: &[OsString]) -> ExitCode {
    match stage {
        Some(parent) => unix::become_command(parent, command, arguments),
        None => unix::supervise(command, arguments),
    }
}

#[cfg(not(unix))]
fn start(_: Option<u32>, _: &OsString, _: &[OsString]) -> ExitCode {
    complain(2, "there are no supervised processes on this system")
}

#[expect(
    clippy::print_stderr,
    reason = "the only way to tell the proxy, which reads standard error"
)]
fn complain(code: u8, message: &str) -> ExitCode {
    eprintln!("{COMPLAINT} {message}");
    ExitCode::from(code)
}

/// Says that the command is to be started by this very process; followed by the process id of the supervisor.
const SECOND_STAGE: &str = "--below=";
