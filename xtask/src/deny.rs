//! `cargo xtask deny`: what `deny.toml` says about the licences, sources and duplicates of all dependencies.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::process::{cargo, find, run as start};
use crate::step::Steps;

const INSTALL: &str = "cargo install cargo-deny --locked";

pub(crate) fn run() -> Result<ExitCode> {
    if find("cargo-deny").is_none() {
        bail!("cargo-deny is not installed; get it with `{INSTALL}` and run this again");
    }
    let mut steps = Steps::new("deny");
    // Advisories are left out: they need the network, and change without a change of ours.
    for check in ["bans", "licenses", "sources"] {
        steps.step(check, "change the dependency, or give deny.toml a reason", || {
            start(&mut cargo([
                "deny",
                "--locked",
                "check",
                "--hide-inclusion-graph",
                check,
            ]))
        });
    }
    Ok(steps.finish())
}
