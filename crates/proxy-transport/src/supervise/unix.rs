//! Starting the command and waiting for whichever comes first: its end, the proxy's, or a signal.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, WaitOptions, WaitStatus, getpid, getppid, wait};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use super::complain;
use super::stop::Stop;

/// The supervisor itself.
pub(super) fn supervise(command: &OsString, arguments: &[OsString]) -> ExitCode {
    match Supervisor::start(command, arguments) {
        Ok(supervisor) => supervisor.run(),
        Err(error) => complain(code_of(&error), &format!("cannot start {command:?}: {error}")),
    }
}

/// The second stage, in the process that will be the command: asks the kernel to kill it when the supervisor dies, which
/// only the process itself can do, and becomes the command. The request outlives the change of program.
pub(super) fn become_command(parent: u32, command: &OsString, arguments: &[OsString]) -> ExitCode {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, set_parent_process_death_signal};
        if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
            return complain(126, &format!("cannot tie {command:?} to its supervisor: {error}"));
        }
    }
    // Had the supervisor died before the request, nobody would be told.
    let current = getppid().map(|pid| pid.as_raw_nonzero().get());
    if current != i32::try_from(parent).ok() {
        return complain(126, "the supervisor is gone");
    }
    let error = Command::new(command).args(arguments).exec();
    complain(code_of(&error), &format!("cannot start {command:?}: {error}"))
}

struct Supervisor {
    command: Pid,
    /// The proxy, as long as we are its child.
    proxy: Option<Pid>,
    /// Wakes `poll` when a signal arrives.
    wake: UnixStream,
    asked: Arc<AtomicBool>,
}

impl Supervisor {
    fn start(command: &OsString, arguments: &[OsString]) -> std::io::Result<Self> {
        let proxy = getppid();
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let asked = Arc::new(AtomicBool::new(false));
        // Before the start, so that not even a command that ends at once is missed.
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            signal_hook::flag::register(signal, asked.clone())?;
            signal_hook::low_level::pipe::register(signal, waker.try_clone()?)?;
        }
        signal_hook::low_level::pipe::register(SIGCHLD, waker)?;
        let child = below(command, arguments)?.process_group(0).spawn()?;
        let command = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        // What we hold of the command's output would hide its end from the proxy.
        if let Ok(null) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
            let _ = rustix::stdio::dup2_stdout(null);
        }
        Ok(Self {
            command: command.ok_or(std::io::ErrorKind::InvalidData)?,
            proxy,
            wake,
            asked,
        })
    }

    fn run(mut self) -> ExitCode {
        let mut stop = Stop::new(self.command);
        let (mut status, mut hung_up) = (None, false);
        loop {
            if self.reap(&mut status) {
                return exit_code(status);
            }
            if self.asked.load(Ordering::Relaxed) || status.is_some() {
                stop.ask();
            } else if hung_up {
                stop.wait();
            }
            // A proxy that was killed has nobody who waits for a child's last words.
            stop.hurry(getppid() != self.proxy);
            let Some(pause) = stop.step() else {
                // Not even SIGKILL ends a process inside some system calls; init inherits it.
                return exit_code(status);
            };
            hung_up |= self.sleep(pause, !hung_up);
        }
    }

    /// Reaps whoever has ended; true when there is nobody left.
    fn reap(&self, command: &mut Option<WaitStatus>) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.command => *command = Some(status),
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
    }

    /// Waits for a signal, for `pause`, or for the other end of the standard input to be closed (true).
    fn sleep(&mut self, pause: Duration, watch_input: bool) -> bool {
        let stdin = std::io::stdin();
        let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
        if watch_input {
            // No events asked for: what there is to read is the command's; a hang-up is reported all the same.
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::empty()));
        }
        let pause = Timespec {
            tv_sec: i64::try_from(pause.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: pause.subsec_nanos().into(),
        };
        let polled = poll(&mut fds, Some(&pause));
        let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        let hung_up = polled.is_ok() && fds.get(1).is_some_and(|stdin| stdin.revents().intersects(gone));
        drop(fds);
        let _ = self.wake.read(&mut [0; 64]);
        hung_up
    }
}

/// How the command is started: by way of a second stage of this binary, where the kernel can tie it to us.
#[cfg(target_os = "linux")]
fn below(command: &OsString, arguments: &[OsString]) -> std::io::Result<Command> {
    use rustix::process::set_child_subreaper;
    set_child_subreaper(Some(getpid()))?;
    // Not by its path: that may name another version by now.
    let mut stage = Command::new("/proc/self/exe");
    stage
        .arg(super::ARGUMENT)
        .arg(format!("{}{}", super::SECOND_STAGE, getpid().as_raw_nonzero()))
        .arg("--")
        .arg(command)
        .args(arguments);
    Ok(stage)
}

#[cfg(not(target_os = "linux"))]
fn below(command: &OsString, arguments: &[OsString]) -> std::io::Result<Command> {
    let mut direct = Command::new(command);
    direct.args(arguments);
    Ok(direct)
}

fn code_of(error: &std::io::Error) -> u8 {
    match error.kind() {
        std::io::ErrorKind::NotFound => 127,
        _ => 126,
    }
}

fn exit_code(status: Option<WaitStatus>) -> ExitCode {
    let code = status.and_then(|status| {
        let signal = status.terminating_signal().map(|signal| 128 + signal);
        u8::try_from(status.exit_status().or(signal)?).ok()
    });
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
