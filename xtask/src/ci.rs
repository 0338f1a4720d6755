//! `cargo xtask ci`: every check short of the tests, each run even when an earlier one failed.

use std::process::ExitCode;

use anyhow::Result;

use crate::process::{cargo, run as start};
use crate::step::Steps;
use crate::workspace::Workspace;
use crate::{schema, tidy};

pub(crate) fn run() -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let mut steps = Steps::new("ci");
    steps.step("format", "cargo fmt --all", || {
        start(&mut cargo(["fmt", "--all", "--check"]))
    });
    steps.step("tidy", "read the report, then cargo xtask tidy", || {
        tidy::check(&workspace)
    });
    // First of the three that compile: documentation and schema find most of its work done.
    steps.step(
        "clippy",
        "cargo clippy --workspace --all-targets --fix --allow-dirty, the rest by hand",
        || {
            start(&mut cargo([
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--quiet",
                "--",
                "-D",
                "warnings",
            ]))
        },
    );
    steps.step(
        "documentation",
        "RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps",
        || start(cargo(["doc", "--workspace", "--no-deps", "--locked", "--quiet"]).env("RUSTDOCFLAGS", "-D warnings")),
    );
    if schema::file(&workspace).exists() {
        steps.step("schema", "cargo xtask schema", || schema::check(&workspace));
    }
    Ok(steps.finish())
}
