//! `cargo xtask tidy`: the rules of this repository that neither the compiler nor clippy knows.
//!
//! Each check is a function from texts to findings in a file of its own, and each finding says what to do about it. They
//! look at every file that git tracks or would track, so a mistake shows before it is committed.

mod examples;
mod layers;
mod manifests;
mod sources;
mod words;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::process::output;
use crate::step::Steps;
use crate::workspace::Workspace;

/// A text file of the repository.
pub(crate) struct Text {
    /// From the root, with `/` between the parts.
    path: String,
    body: String,
}

/// Something to mend.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The file, and the line where that says more.
    at: String,
    what: String,
    mend: &'static str,
}

pub(crate) fn run() -> Result<ExitCode> {
    let workspace = Workspace::load()?;
    let mut steps = Steps::new("tidy");
    steps.step("rules", "as said below each finding", || check(&workspace));
    Ok(steps.finish())
}

/// Runs every check.
///
/// # Errors
/// With all findings, when there are any.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let files = files(&workspace.root)?;
    let texts = read(&workspace.root, &files)?;
    let mut findings = layers::check(&workspace.packages);
    findings.extend(manifests::check(&texts));
    findings.extend(sources::check(&texts));
    findings.extend(words::check(&texts, &files));
    findings.extend(examples::check(&texts));
    if findings.is_empty() {
        return Ok(());
    }
    let mut report = format!("{} rules of the repository are broken", findings.len());
    for Finding { at, what, mend } in &findings {
        write!(report, "\n  {at}: {what}\n      {mend}")?;
    }
    bail!(report)
}

/// Every file that git tracks, or would after `git add`.
fn files(root: &Path) -> Result<Vec<String>> {
    let list = output(
        Command::new("git")
            // A clone may belong to somebody else, as in a container; reading its file names does no harm.
            .args(["-c", "safe.directory=*", "-c", "core.quotePath=off"])
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(root),
    )
    .context("tidy asks git for the files of the repository, and needs a clone for that")?;
    Ok(list.lines().map(str::to_owned).collect())
}

/// Those of the files that are text and (in a work tree under way) still there.
fn read(root: &Path, files: &[String]) -> Result<Vec<Text>> {
    let mut texts = Vec::new();
    for path in files {
        let bytes = match std::fs::read(root.join(path)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
        };
        if let Ok(body) = String::from_utf8(bytes) {
            texts.push(Text {
                path: path.clone(),
                body,
            });
        }
    }
    Ok(texts)
}

impl Text {
    /// The lines with their numbers.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.body.lines())
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// A finding in one line of this file.
    fn finding(&self, line: usize, what: String, mend: &'static str) -> Finding {
        Finding {
            at: format!("{}:{line}", self.path),
            what,
            mend,
        }
    }
}

#[cfg(test)]
fn text(path: &str, body: &str) -> Text {
    Text {
        path: path.into(),
        body: body.into(),
    }
}
