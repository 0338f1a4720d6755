//! The parts from Python: one virtual environment each, filled by pip from a list that names every version.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::program::{Form, Program};
use crate::process::{find, run_logged};

/// Makes the environment in `folder` and lets pip fill it.
pub(crate) fn install(lock: &Path, folder: &Path, log: &Path, limit: Duration) -> Result<()> {
    let python = base()?;
    let _ = fs::remove_dir_all(folder); // half of an earlier try
    run_logged(Command::new(&python).args(["-m", "venv"]).arg(folder), log, limit).with_context(|| {
        format!(
            "{} could not make a virtual environment (on Debian and Ubuntu: apt-get install -y python3-venv)",
            python.display()
        )
    })?;
    let mut pip = Command::new(interpreter(folder));
    pip.args([
        "-m",
        "pip",
        "install",
        "--no-input",
        "--disable-pip-version-check",
        "--quiet",
    ])
    // A wheel installs without running its author's build script, and in a tenth of the time.
    .args(["--prefer-binary", "--requirement"])
    .arg(lock);
    run_logged(&mut pip, log, limit).context("pip could not install the packages (no network, or no such version?)")
}

/// How to start a program: a script in the environment names its interpreter by absolute path.
pub(crate) fn command(program: &Program, folder: &Path) -> Result<Vec<PathBuf>> {
    let path = match program.form {
        Form::Interpreter | Form::Module => interpreter(folder),
        Form::Command => scripts(folder).join(format!("{}{}", program.name, std::env::consts::EXE_SUFFIX)),
    };
    if !path.is_file() {
        bail!("{} is not there", path.display());
    }
    Ok(vec![path])
}

/// Arguments that make Python import modules and end.
pub(crate) fn import(modules: &[&str]) -> Vec<OsString> {
    vec!["-c".into(), format!("import {}", modules.join(", ")).into()]
}

/// The Python that makes the environments: the newest that is on `PATH` under a usual name, unless `MCP_PROXY_PYTHON` names
/// another.
fn base() -> Result<PathBuf> {
    let chosen = std::env::var("MCP_PROXY_PYTHON").ok();
    let names: Vec<&str> = match &chosen {
        Some(name) => vec![name],
        None => vec![
            "python3",
            "python3.14",
            "python3.13",
            "python3.12",
            "python3.11",
            "python",
        ],
    };
    for name in &names {
        let path = if Path::new(name).is_absolute() {
            Some(PathBuf::from(name))
        } else {
            find(name)
        };
        if let Some(path) = path
            && is_new_enough(&path)
        {
            return Ok(path);
        }
    }
    bail!(
        "no Python 3.11 or newer as {}; install one (on Debian and Ubuntu: apt-get install -y python3 python3-venv)",
        names.join(", ")
    )
}

/// Asked of the program itself: names lie, and some are only shims that fail.
fn is_new_enough(python: &Path) -> bool {
    Command::new(python)
        .args(["-c", "import sys; sys.exit(sys.version_info < (3, 11))"])
        .output()
        .is_ok_and(|output| output.status.success())
}

fn interpreter(folder: &Path) -> PathBuf {
    scripts(folder).join(format!("python{}", std::env::consts::EXE_SUFFIX))
}

fn scripts(folder: &Path) -> PathBuf {
    folder.join(if cfg!(windows) { "Scripts" } else { "bin" })
}
