//! `cargo xtask features`: clippy for every package with no feature, with each feature alone, and with all of them.
//!
//! Features must add up: a build that only works with its neighbour's feature on is found here and nowhere else. What
//! cargo-hack would do in general is a short loop over `cargo metadata` for us, so that nothing has to be installed.

use std::process::ExitCode;

use anyhow::Result;

use crate::process::{cargo, run as start};
use crate::step::Steps;
use crate::workspace::{Package, Workspace};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these packages (all of the workspace when none is named).
    #[arg(long, short)]
    package: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    for name in &args.package {
        workspace.package(name)?;
    }
    let mut steps = Steps::new("features");
    for package in &workspace.packages {
        if !args.package.is_empty() && !args.package.contains(&package.name) {
            continue;
        }
        for choice in choices(package) {
            let command = format!("clippy --locked --quiet -p {} {}", package.name, choice.join(" "));
            let what = format!("{} {}", package.name, choice.join(" "));
            steps.step(what.trim_end(), &format!("cargo {command}"), || {
                start(
                    // --no-deps: each package is blamed for its own warnings only.
                    cargo(["clippy", "--locked", "--quiet", "--no-deps", "-p", &package.name])
                        .args(&choice)
                        .args(["--", "-D", "warnings"]),
                )
            });
        }
    }
    Ok(steps.finish())
}

/// The sets of feature flags to try; a package without features has one way to be built.
fn choices(package: &Package) -> Vec<Vec<&str>> {
    let mut choices = Vec::new();
    if package.features.is_empty() {
        choices.push(vec![]);
        return choices;
    }
    choices.push(vec!["--no-default-features"]);
    for feature in &package.features {
        choices.push(vec!["--no-default-features", "--features", feature]);
    }
    choices.push(vec!["--all-features"]);
    choices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_each_and_all() {
        let mut package = Package {
            name: "p".into(),
            folder: "crates/p".into(),
            features: vec![],
            binaries: vec![],
            internal: vec![],
        };
        assert_eq!(choices(&package), [Vec::<&str>::new()]);
        package.features = vec!["a".into(), "b".into()];
        let shown: Vec<_> = choices(&package).iter().map(|choice| choice.join(" ")).collect();
        assert_eq!(
            shown,
            [
                "--no-default-features",
                "--no-default-features --features a",
                "--no-default-features --features b",
                "--all-features",
            ]
        );
    }
}
