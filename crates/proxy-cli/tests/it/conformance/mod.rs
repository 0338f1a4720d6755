//! The published conformance suite, through the proxy: its server scenarios against the proxy's front, in front of our
//! fixture, and its client scenarios against the proxy's back.
//!
//! The suite knows two revisions, one for each era. The fixture speaks either era or both, over each transport that we
//! have: every pairing is run, and where the eras differ it is the proxy that translates. The suite uses the fixture's own
//! names, so the backend has no namespace.

mod clients;
mod servers;

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::support::Peers;

/// The suite runs in some seconds; a minute on a busy machine.
const SUITE_LIMIT: Duration = Duration::from_secs(180);

/// Runs the suite with these words, and returns what it said.
async fn suite(peers: &Peers, words: &[&str], env: &[(&str, String)]) -> String {
    let suite = peers.command("conformance", words);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = Command::new(&suite[0])
        .args(&suite[1..])
        .current_dir(folder.path())
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SUITE_LIMIT, run)
        .await
        .expect("the suite ends")
        .expect("the suite starts");
    [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat()
}

/// The scenarios that the summary of a run marks like this.
fn marked<'a>(said: &'a str, mark: &str) -> BTreeSet<&'a str> {
    let summary = said.split("=== SUMMARY ===").nth(1).unwrap_or_default();
    let lines = summary.lines().filter_map(|line| line.strip_prefix(mark));
    lines.filter_map(|line| Some(line.split_once(':')?.0.trim())).collect()
}
