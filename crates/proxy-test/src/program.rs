//! Finds the program `mcp-fixture` for tests of other packages, which Cargo does not build it for.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::SystemTime;

/// The path of `mcp-fixture`. Builds it when it is missing or older than its sources, which blocks: call it before the
/// clock of a test starts.
///
/// # Errors
/// When the build fails, or the caller is no test that Cargo runs.
pub fn fixture_program() -> io::Result<PathBuf> {
    // One build at a time; a test that failed in here leaves nothing half done.
    static BUILD: Mutex<()> = Mutex::new(());
    let _one = BUILD.lock().unwrap_or_else(std::sync::PoisonError::into_inner);

    let test = std::env::current_exe()?;
    let folder = test.ancestors().find(|folder| folder.join(".fingerprint").is_dir());
    let folder = folder.ok_or_else(|| io::Error::other("not within a target folder of Cargo"))?;
    let program = folder.join(format!("mcp-fixture{}", std::env::consts::EXE_SUFFIX));
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    if is_newer(&program, &package.join("src"))? {
        return Ok(program);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args([
            "build",
            "--quiet",
            "--package",
            "mcp-proxy-test",
            "--bin",
            "mcp-fixture",
        ])
        .current_dir(package);
    if folder.file_name().is_some_and(|name| name == "release") {
        build.arg("--release");
    }
    if build.status()?.success() {
        Ok(program)
    } else {
        Err(io::Error::other(
            "cannot build the fixture: see `cargo build -p mcp-proxy-test --bin mcp-fixture`",
        ))
    }
}

/// Whether a file is newer than everything in a folder.
fn is_newer(file: &Path, folder: &Path) -> io::Result<bool> {
    let Ok(built) = file.metadata().and_then(|about| about.modified()) else {
        return Ok(false);
    };
    Ok(built > newest(folder)?)
}

fn newest(folder: &Path) -> io::Result<SystemTime> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for entry in folder.read_dir()? {
        let entry = entry?;
        let about = entry.metadata()?;
        newest = newest.max(if about.is_dir() {
            self::newest(&entry.path())?
        } else {
            about.modified()?
        });
    }
    Ok(newest)
}
