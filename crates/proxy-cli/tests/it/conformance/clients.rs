//! The client scenarios: the suite plays the backend, the proxy is the client under test, and a real SDK in front of it
//! (`drivers/conformance_client.mjs`) does what each scenario needs done.

use std::collections::BTreeSet;
use std::path::Path;

use tokio::task::JoinSet;

use super::super::support::{Part, Peers};
use super::suite;

/// Scenarios of both revisions that look at how a client gets and renews its token. They wait for the day when the proxy
/// signs in to its backends by itself; until then a backend's credential stands in its configuration.
const SIGN_IN: [&str; 14] = [
    "auth/metadata-default",
    "auth/metadata-var1",
    "auth/metadata-var2",
    "auth/metadata-var3",
    "auth/basic-cimd",
    "auth/scope-from-www-authenticate",
    "auth/scope-from-scopes-supported",
    "auth/scope-omitted-when-undefined",
    "auth/scope-step-up",
    "auth/scope-retry-limit",
    "auth/token-endpoint-auth-basic",
    "auth/token-endpoint-auth-post",
    "auth/token-endpoint-auth-none",
    "auth/pre-registration",
];

/// The same, of revision 2026-07-28 alone.
const SIGN_IN_SESSIONLESS: [&str; 11] = [
    "auth/resource-mismatch",
    "auth/offline-access-scope",
    "auth/offline-access-not-supported",
    "auth/authorization-server-migration",
    "auth/iss-supported",
    "auth/iss-not-advertised",
    "auth/iss-supported-missing",
    "auth/iss-wrong-issuer",
    "auth/iss-unexpected",
    "auth/iss-normalized",
    "auth/metadata-issuer-mismatch",
];

/// Extensions of the same kind, which no revision scores.
const SIGN_IN_EXTENSIONS: [&str; 6] = [
    "auth/client-credentials-jwt",
    "auth/client-credentials-basic",
    "auth/enterprise-managed-authorization",
    "auth/dpop",
    "auth/dpop-nonce",
    "auth/wif-jwt-bearer",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_is_a_client_of_the_session_era() {
    let scenarios = [
        "initialize",
        "tools_call",
        "elicitation-sep1034-client-defaults",
        "sse-retry",
        "json-schema-2020-12-preservation",
    ];
    let left_out = [&SIGN_IN[..], &SIGN_IN_EXTENSIONS].concat();
    passes("2025-11-25", &scenarios, &left_out).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_proxy_is_a_client_of_the_sessionless_era() {
    let scenarios = [
        "tools_call",
        "request-metadata",
        "sep-2322-client-request-state",
        "http-standard-headers",
        "http-custom-headers",
        "http-invalid-tool-headers",
        "json-schema-ref-no-deref",
        "json-schema-2020-12-preservation",
    ];
    let left_out = [&SIGN_IN[..], &SIGN_IN_SESSIONLESS, &SIGN_IN_EXTENSIONS].concat();
    passes("2026-07-28", &scenarios, &left_out).await;
}

async fn passes(revision: &'static str, scenarios: &[&'static str], left_out: &[&str]) {
    let Some(peers) = Peers::with(&[Part::Node]) else {
        return;
    };
    // Nothing of the suite is left out in silence.
    let listed = suite(&peers, &["list", "--requirements", revision], &[]).await;
    let known: BTreeSet<&str> = scenarios.iter().chain(left_out).copied().collect();
    assert_eq!(client_scenarios(&listed), known, "{listed}");

    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers/conformance_client.mjs");
    let node = peers.interpreter(Part::Node);
    let command = format!("{} {}", node.display(), driver.display());
    let mut runs = JoinSet::new();
    for scenario in scenarios.iter().copied() {
        let (peers, command) = (peers.clone(), command.clone());
        runs.spawn(async move {
            let env = [
                ("MCP_PROXY_BINARY", env!("CARGO_BIN_EXE_mcp-proxy").to_owned()),
                ("MCP_PROXY_PEERS_NODE", peers.node_folder().display().to_string()),
            ];
            let words = [
                "client",
                "--command",
                &command,
                "--scenario",
                scenario,
                "--spec-version",
                revision,
            ];
            (scenario, suite(&peers, &words, &env).await)
        });
    }
    let mut faults = String::new();
    while let Some(done) = runs.join_next().await {
        let (scenario, said) = done.expect("a run does not panic");
        if !said.contains("OVERALL: PASSED") {
            faults.push_str(&format!("--- {revision} {scenario}\n{said}\n"));
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// The client scenarios in the suite's list: those of a section of their own, and those that a later section marks.
fn client_scenarios(listed: &str) -> BTreeSet<&str> {
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in listed.lines() {
        match line.trim_start().strip_prefix("- ") {
            None => section = line,
            Some(name) if section.starts_with("Client scenarios") => {
                found.insert(name);
            }
            Some(name) => found.extend(name.strip_suffix(" [client]")),
        }
    }
    found
}
