//! `cargo xtask bench`: builds the proxy and the bench with the `profiling` profile, which is the release profile with
//! symbols, and runs the bench with the remaining arguments. The bench finds the proxy beside itself.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::process::{cargo, find, run as start};
use crate::step::Steps;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Handed to the bench as they are; `cargo xtask bench -- --help` lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

const PROFILE: &str = "profiling";

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let name = workspace
        .package("mcp-proxy-benches")?
        .binaries
        .first()
        .context("package mcp-proxy-benches has no binary")?;
    let program = workspace
        .target
        .join(PROFILE)
        .join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if find("nginx").is_none() {
        eprintln!(
            "bench: nginx, the floor of every figure, is not on PATH; \
             `apt-get install -y nginx-light` or `brew install nginx` gets it (its service need not run)"
        );
    }
    let mut steps = Steps::new("bench");
    let built = steps.step("build", "cargo build -p mcp-proxy-cli -p mcp-proxy-benches", || {
        start(&mut cargo([
            "build",
            "--locked",
            "--profile",
            PROFILE,
            "--package",
            "mcp-proxy-cli",
            "--package",
            "mcp-proxy-benches",
        ]))
    });
    if built {
        steps.step("measure", "cargo xtask bench -- --help", || {
            start(Command::new(&program).args(&args.rest).current_dir(&workspace.root))
        });
    }
    Ok(steps.finish())
}
