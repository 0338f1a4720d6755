//! The `mcp-proxy` command: runs the proxy, checks its configuration, and speaks to MCP servers from a shell.
//!
//! Exit codes: 0 all is well, 1 something failed, 2 the command line is wrong. What was asked for goes to standard output,
//! everything else (log, progress, errors) to standard error.

mod args;
mod call;
mod check;
mod connect;
mod init;
mod list;
mod logs;
mod output;
mod port;
mod report;
mod serve;
mod signals;
mod source;
mod start;
mod stdio;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use mcp_proxy::transport::supervise;

use crate::args::{Cli, Command};
use crate::output::Failure;

fn main() -> ExitCode {
    // Before anything else: the supervisor of a child process is this same program, and must stay small.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|first| first == supervise::ARGUMENT) {
        return supervise::main(words);
    }
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let source = &cli.source;
    match cli.command {
        None if cli.check => check::run(source, &args::Check::default()),
        None | Some(Command::Serve) => serve::run(source),
        Some(Command::Stdio) => stdio::run(source),
        Some(Command::Check(check)) => check::run(source, &check),
        Some(Command::List(list)) => list::run(source, &list),
        Some(Command::Call(call)) => call::run(source, &call),
        Some(Command::Init(init)) => init::run(&init),
        Some(Command::Schema) => {
            let schema = serde_json::to_string_pretty(&mcp_proxy::config::schema());
            output::print(&format!("{}\n", schema.unwrap_or_default()))
        }
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "mcp-proxy", &mut script);
            output::print(&String::from_utf8_lossy(&script))
        }
    }
}
