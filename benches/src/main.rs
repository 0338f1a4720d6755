//! What does one `tools/call` cost through `mcp-proxy`, as a ratio to a plain nginx reverse proxy in the same run?
//!
//! The binary plays every part of that question: `run` (the default) starts nginx, the proxy and a lean backend, loads
//! them in turn and prints a table; `backend` is that backend; `launch` is how the other programs are started, so that
//! they are pinned to a core and never outlive the bench. `docs/benchmarks.md` says what the figures mean.
#![expect(clippy::print_stdout, reason = "the table is what the program is for")]
#![expect(clippy::print_stderr, reason = "progress goes where the table does not")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod backend;
mod client;
mod machine;
mod run;

/// What one call costs through mcp-proxy, next to nginx in the same run.
#[derive(Debug, Parser)]
#[command(name = "mcp-proxy-bench", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    run: run::RunArguments,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Measure (the default).
    Run(run::RunArguments),
    /// Be the lean MCP server behind the proxy.
    Backend(backend::BackendArguments),
    /// Start another program on chosen cores, and have it end when this one's parent does.
    Launch(machine::launch::LaunchArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.part.unwrap_or(Part::Run(arguments.run)) {
        Part::Run(arguments) => run::main(&arguments),
        Part::Backend(arguments) => backend::main(&arguments),
        Part::Launch(arguments) => machine::launch::main(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
