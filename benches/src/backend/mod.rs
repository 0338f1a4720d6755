//! The lean MCP server behind the proxy: it must cost so little that the proxy is what a figure shows.
//!
//! One tool, `echo`, answers with a text of the asked length that starts with the caller's marker, so that a client can
//! tell its own answer from everybody else's. More tools can be listed (they all behave like `echo`). The same answers
//! are served over HTTP (`http.rs`) and over stdin and stdout (`stdio.rs`).
//!
//! It has an end of its own: the bench holds the other end of its stdin, and end of file there stops it.

use std::path::PathBuf;

use clap::Args;

mod answer;
mod body;
mod http;
mod stdio;

/// How the backend is served.
#[derive(Debug, Args)]
pub(crate) struct BackendArguments {
    /// Speak over stdin and stdout instead of HTTP.
    #[arg(long)]
    stdio: bool,
    /// Port on 127.0.0.1; 0 picks a free one, which is printed.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Threads that serve HTTP.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Issue an `Mcp-Session-Id`, and insist on it.
    #[arg(long)]
    sessions: bool,
    /// Speak 2026-07-28, the revision without sessions, and nothing else.
    #[arg(long, conflicts_with = "sessions")]
    sessionless: bool,
    /// How many tools to list, `echo` included.
    #[arg(long, default_value_t = 1)]
    tools: usize,
    /// Keep running when stdin ends (for use by hand, HTTP only).
    #[arg(long)]
    detached: bool,
    /// Write the address here too, once bound.
    #[arg(long, value_name = "FILE")]
    address_file: Option<PathBuf>,
}

/// Serves until stdin ends.
///
/// # Errors
/// When the port cannot be bound, or stdout is gone.
pub(crate) fn main(arguments: &BackendArguments) -> anyhow::Result<()> {
    let answers = answer::Answers::new(arguments.tools, arguments.sessions, arguments.sessionless);
    if arguments.stdio {
        stdio::serve(&answers)
    } else {
        http::serve(arguments, answers)
    }
}
