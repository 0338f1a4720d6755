//! The `mcp-proxy` command.

mod logging;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// A reverse proxy for the Model Context Protocol: many MCP servers behind one endpoint.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, default_value = "proxy.toml")]
    config: PathBuf,
}

fn main() -> ExitCode {
    // Before anything else: the supervisor of a child process is this program too, and must stay small.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == "__supervise") {
        return mcp_proxy::transport::supervise::main(words);
    }
    serve::main(&Arguments::parse().config)
}
