//! `cargo xtask schema`: asks the proxy for the JSON Schema of its configuration and keeps it in `docs/`, where editors can
//! find it. With `--check` it only compares.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::process::{cargo, output};
use crate::step::Steps;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing, fail when the file is not what would be written.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let mut steps = Steps::new("schema");
    if args.check {
        steps.step("compare", "cargo xtask schema", || check(&workspace));
    } else {
        steps.step("write", "cargo run -p mcp-proxy-cli -- schema", || write(&workspace));
    }
    Ok(steps.finish())
}

/// Where the schema is kept.
pub(crate) fn file(workspace: &Workspace) -> PathBuf {
    workspace.root.join("docs").join("proxy.schema.json")
}

/// Compares the kept schema with the one the proxy prints.
///
/// # Errors
/// When they differ, naming the first line that does.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let path = file(workspace);
    let kept = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let printed = print()?;
    match first_difference(&kept, &printed) {
        None => Ok(()),
        Some(line) => bail!("docs/proxy.schema.json is not what the proxy prints, from line {line} on"),
    }
}

fn write(workspace: &Workspace) -> Result<()> {
    let path = file(workspace);
    fs::write(&path, print()?).with_context(|| format!("cannot write {}", path.display()))
}

fn print() -> Result<String> {
    let text = output(&mut cargo([
        "run",
        "--quiet",
        "--locked",
        "--package",
        "mcp-proxy-cli",
        "--",
        "schema",
    ]))?;
    // A schema that does not parse would be kept, and break every editor that reads it.
    serde_json::from_str::<serde_json::Value>(&text).context("`mcp-proxy schema` wrote something else than JSON")?;
    Ok(format!("{}\n", text.trim_end()))
}

/// The first line, counted from 1, in which two texts differ. Line ends do not count: git may change them.
fn first_difference(left: &str, right: &str) -> Option<usize> {
    let (mut left, mut right) = (left.lines(), right.lines());
    (1..).find_map(|number| match (left.next(), right.next()) {
        (None, None) => Some(None),
        (left, right) if left == right => None,
        _ => Some(Some(number)),
    })?
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn the_first_line_that_differs_is_named() {
        assert_eq!(first_difference("a\nb\n", "a\r\nb"), None);
        assert_eq!(first_difference("a\nb", "a\nc"), Some(2));
        assert_eq!(first_difference("a", "a\nb"), Some(2));
        assert_eq!(first_difference("", ""), None);
    }
}
