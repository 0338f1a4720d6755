//! How a child is started: under the supervisor where there is one, in a process group of its own either way.

use std::process::Stdio;

use mcp_proxy_core::{Error, ErrorKind};
use tokio::process::{Child, Command};

use super::environment;
use crate::client::options::StdioOptions;

/// Starts the backend's command with three pipes.
pub(super) fn start(options: &StdioOptions) -> Result<Child, Error> {
    if let Some(folder) = options.cwd.as_ref().filter(|folder| !folder.is_dir()) {
        let message = "the backend's working directory (`cwd`) does not exist";
        return Err(Error::new(ErrorKind::NotSent, message).caused_by(folder.display().to_string()));
    }
    let mut command = match supervisor(options) {
        Some(supervisor) => {
            let mut command = Command::new(supervisor);
            command.args([crate::supervise::ARGUMENT, "--"]).arg(&options.command);
            command
        }
        None => Command::new(&options.command),
    };
    command
        .args(&options.args)
        .env_clear()
        .envs(environment::of(options, std::env::vars_os()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // The supervisor ends by itself, and takes everything below it along, when it reads the end of its input.
        .kill_on_drop(supervisor(options).is_none());
    if let Some(folder) = &options.cwd {
        command.current_dir(folder);
    }
    #[cfg(unix)]
    command.process_group(0);
    command.spawn().map_err(|error| {
        let message = match (error.kind(), supervisor(options)) {
            (std::io::ErrorKind::NotFound, None) => not_found(options),
            (_, Some(_)) => "the supervisor of child processes could not be started".to_owned(),
            _ => format!("the command `{}` could not be started", options.command),
        };
        Error::new(ErrorKind::NotSent, message).caused_by(error)
    })
}

/// Whether a supervisor stands between us and the command.
pub(super) fn supervisor(options: &StdioOptions) -> Option<&std::path::Path> {
    options.supervisor.as_deref().filter(|_| cfg!(unix))
}

/// What is said of a command that does not exist.
pub(super) fn not_found(options: &StdioOptions) -> String {
    format!(
        "the command `{}` was not found; install it, or write its full path",
        options.command
    )
}
