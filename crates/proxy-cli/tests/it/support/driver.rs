//! Runs one of the real clients in `tests/drivers` and reads its answers, one JSON line a step.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use super::peers::{Part, Peers};
use super::same::Fidelity;

/// Longest time for a whole script.
const SCRIPT_LIMIT: Duration = Duration::from_secs(180);

/// A client program that users run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Client {
    TypeScriptV1,
    TypeScriptV2,
    PythonV1,
    PythonV2,
    Inspector,
}

/// The answer to one step of a script.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) result: Option<Value>,
    pub(crate) error: Option<Value>,
    pub(crate) progress: Vec<Value>,
    pub(crate) logs: Vec<Value>,
}

impl Client {
    pub(crate) const ALL: [Self; 5] = [
        Self::TypeScriptV1,
        Self::TypeScriptV2,
        Self::PythonV1,
        Self::PythonV2,
        Self::Inspector,
    ];

    /// What the client drops of what it receives.
    pub(crate) fn fidelity(self) -> Fidelity {
        match self {
            // Its models forget every member that their version of the protocol does not name.
            Self::PythonV2 => Fidelity::KnownMembers,
            _ => Fidelity::Exact,
        }
    }

    fn script(self) -> (Part, &'static str) {
        match self {
            Self::TypeScriptV1 => (Part::Node, "ts_v1.mjs"),
            Self::TypeScriptV2 => (Part::Node, "ts_v2.mjs"),
            Self::PythonV1 => (Part::PythonV1, "py_v1.py"),
            Self::PythonV2 => (Part::Python, "py_v2.py"),
            Self::Inspector => (Part::Node, "inspector.mjs"),
        }
    }
}

impl Step {
    /// The result.
    ///
    /// # Panics
    /// When the step failed.
    pub(crate) fn ok(&self) -> &Value {
        self.result
            .as_ref()
            .unwrap_or_else(|| panic!("the step has a result: {self:?}"))
    }

    /// Whether the client program has no such function.
    pub(crate) fn unsupported(&self) -> bool {
        self.result.as_ref().is_some_and(|result| result["unsupported"] == true)
    }
}

/// Lets a client perform `script` against `target`; one answer for each step, in order.
///
/// # Errors
/// What the client printed instead, when answers are missing.
pub(crate) async fn drive(peers: &Peers, client: Client, target: &str, script: &Value) -> Result<Vec<Step>, String> {
    drive_with(peers, client, target, script, &[]).await
}

/// As [`drive`], with more variables in the client's environment.
///
/// # Errors
/// As [`drive`].
pub(crate) async fn drive_with(
    peers: &Peers,
    client: Client,
    target: &str,
    script: &Value,
    env: &[(&str, &str)],
) -> Result<Vec<Step>, String> {
    let (part, file) = client.script();
    let home = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(peers.interpreter(part))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers").join(file))
        .arg(target)
        .arg(script.to_string())
        // What is compared here is the session era, which not every client would choose.
        .arg("session")
        .env("MCP_PROXY_PEERS_NODE", peers.node_folder())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // The Inspector keeps state in the home folder, and nobody's own is to be touched.
        .env("HOME", home.path())
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(SCRIPT_LIMIT, output)
        .await
        .map_err(|_| format!("{client:?} did not end within {SCRIPT_LIMIT:?}"))?
        .map_err(|error| format!("{client:?} does not start: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let steps: Vec<Step> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter_map(step)
        .collect();
    // The exit code is no judge: one of the SDKs fails in taking its pipes down after all is done.
    if Some(steps.len()) == script.as_array().map(Vec::len) {
        return Ok(steps);
    }
    Err(format!(
        "{client:?} stopped early ({}):\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn step(mut line: Value) -> Option<Step> {
    line.get("step")?;
    let mut list = |name: &str| {
        line.get_mut(name)
            .and_then(Value::as_array_mut)
            .map(std::mem::take)
            .unwrap_or_default()
    };
    let (progress, logs) = (list("progress"), list("logs"));
    Some(Step {
        result: line.get_mut("result").map(Value::take),
        error: line.get_mut("error").map(Value::take),
        progress,
        logs,
    })
}
