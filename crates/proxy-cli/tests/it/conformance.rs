//! The published conformance suite, through the proxy, in front of our fixture.
//!
//! The suite uses the fixture's own names, so the backend has no namespace. What is expected to fail stands in
//! `tests/conformance-2025-11-25.yml`, each with its reason; an entry that passes after all fails the test, so the list
//! only gets shorter.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::support::{Config, HttpServer, Part, Peers, ProxyUnderTest, fixture_command};

/// The suite runs in a few seconds; a minute on a busy machine.
const SUITE_LIMIT: Duration = Duration::from_secs(180);

#[tokio::test]
async fn the_session_era_passes_in_front_of_an_http_backend() {
    let Some(peers) = Peers::with(&[Part::Node]) else {
        return;
    };
    let server = HttpServer::fixture(0, &[]).await;
    let proxy = Config::new()
        .http("fixture", &server.url(), "namespace = \"\"")
        .start()
        .await;
    passes(&peers, &proxy).await;
}

#[tokio::test]
async fn the_session_era_passes_in_front_of_a_child_process() {
    let Some(peers) = Peers::with(&[Part::Node]) else {
        return;
    };
    let command = fixture_command("fixture").await;
    let proxy = Config::new()
        .stdio("fixture", &command, &[], "namespace = \"\"")
        .start()
        .await;
    passes(&peers, &proxy).await;
}

async fn passes(peers: &Peers, proxy: &ProxyUnderTest) {
    proxy.wait_for_tools_of(&["test_simple_text"]).await;
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance-2025-11-25.yml");
    let url = format!("http://localhost:{}/mcp", proxy.address.port());
    let suite = peers.command(
        "conformance",
        &[
            "server",
            "--url",
            &url,
            "--requirements",
            "2025-11-25",
            "--expected-failures",
            expected.to_str().expect("UTF-8"),
        ],
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = Command::new(&suite[0])
        .args(&suite[1..])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SUITE_LIMIT, run)
        .await
        .expect("the suite ends")
        .expect("the suite starts");
    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    assert!(output.status.success(), "the conformance suite says:\n{said}");
}
