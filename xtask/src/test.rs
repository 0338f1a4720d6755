//! `cargo xtask test`: the one command that runs every test.
//!
//! The peers are installed while the tests compile. What could not be installed does not stop the tests that need none of
//! it, but the verb says so at the end and does not end with success: 0 everything was tried and passed, 1 something
//! failed, 2 what was tried passed but some tests could not run.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::peers::{self, Inventory};
use crate::process::{cargo, run as start};
use crate::step::Steps;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// End with success when everything that could be tried passed, for work without a network.
    #[arg(long)]
    allow_missing: bool,
    /// Handed to `cargo test`, for example `-p mcp-proxy-core` or a test's name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let mut steps = Steps::new("test");
    let mut cargo_test = vec!["test", "--locked", "--no-fail-fast"];
    if !args
        .rest
        .iter()
        .any(|word| word == "-p" || word.starts_with("--package"))
    {
        cargo_test.push("--workspace");
    }

    // One waits for the network, the other for the processor.
    let (inventory, built) = std::thread::scope(|scope| {
        let installing = scope.spawn(|| peers::install(&workspace, false));
        let built = steps.step("compile", "cargo test --workspace --no-run", || {
            start(cargo(&cargo_test).arg("--no-run").args(before_dashes(&args.rest)))
        });
        (installing.join(), built)
    });
    let inventory = match inventory {
        Ok(inventory) => inventory?,
        Err(panic) => std::panic::resume_unwind(panic),
    };

    let skipped = workspace.target.join("peers").join("skipped.txt");
    let _ = fs::remove_file(&skipped); // it may not exist
    let mut passed = false;
    if built {
        passed = steps.step("run", "cargo xtask test -- NAME_OF_THE_FAILED_TEST", || {
            let mut command = cargo(&cargo_test);
            command.args(&args.rest).env("MCP_PROXY_PEERS_SKIPPED", &skipped);
            if !inventory.complete() {
                // Without it a test that misses its peer fails; with it, it notes its name in the file above.
                command.env("MCP_PROXY_PEERS_MISSING_OK", "1");
            }
            start(&mut command)
        });
    }
    let status = steps.finish();
    if inventory.complete() {
        return Ok(status);
    }
    report(&inventory, &skipped);
    Ok(match passed && !args.allow_missing {
        true => ExitCode::from(2),
        false => status,
    })
}

/// `cargo test` takes a filter for the run only, but the options before it matter to the build as well.
fn before_dashes(rest: &[String]) -> &[String] {
    let end = rest.iter().position(|word| word == "--").unwrap_or(rest.len());
    &rest[..end]
}

fn report(inventory: &Inventory, skipped: &Path) {
    eprintln!("\ntest: NOT everything was tried, for lack of:");
    for (program, why) in inventory.missing() {
        eprintln!("  {program}: {why}");
    }
    match fs::read_to_string(skipped) {
        Ok(text) => {
            let mut tests: Vec<_> = text.lines().collect();
            tests.sort_unstable();
            tests.dedup();
            eprintln!("test: {} tests did not run:", tests.len());
            for test in tests {
                eprintln!("  {test}");
            }
        }
        Err(_) => eprintln!("test: every test that needs one of them was left out"),
    }
    eprintln!("test: mend that and run `cargo xtask peers`, or accept it with `cargo xtask test --allow-missing`");
}
