//! The chores of this repository, as `cargo xtask VERB`.
//!
//! One file (or folder) per verb. A verb says what it is about to do and how long it took, on stderr; stdout is kept for
//! what a program may want to read. Whatever fails ends with the command that mends it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its terminal"
)]

mod bench;
mod ci;
mod deny;
mod features;
mod peers;
mod process;
mod schema;
mod step;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

/// Chores of the mcp-proxy repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Verb {
    /// Every check short of the tests: format, clippy, tidy, documentation, schema.
    Ci,
    /// Install the peers, run every test, and say what could not be tried.
    Test(test::Args),
    /// The rules of this repository that no compiler knows.
    Tidy,
    /// Install the real MCP programs that the tests talk to, pinned, below target/peers.
    Peers(peers::Args),
    /// Build the proxy and the bench as they are released, and measure.
    Bench(bench::Args),
    /// Licences, sources and bans of all dependencies (needs cargo-deny).
    Deny,
    /// Check every package with no feature, with each feature alone, and with all.
    Features(features::Args),
    /// Write docs/proxy.schema.json from the configuration types.
    Schema(schema::Args),
}

fn main() -> ExitCode {
    let outcome = match Verb::parse() {
        Verb::Ci => ci::run(),
        Verb::Test(args) => test::run(&args),
        Verb::Tidy => tidy::run(),
        Verb::Peers(args) => peers::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Deny => deny::run(),
        Verb::Features(args) => features::run(&args),
        Verb::Schema(args) => schema::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
