//! The program `mcp-fixture`, over stdio and over HTTP.

use std::path::PathBuf;
use std::process::Stdio;

use mcp_proxy_test::{Event, Faults, Fixture, Ledger};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::client::within;

/// A fixture as a child process, gone when dropped.
struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mcp-fixture"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, input, output }
    }

    async fn send(&mut self, message: Value) {
        let line = format!("{message}\n");
        self.input.as_mut().unwrap().write_all(line.as_bytes()).await.unwrap();
    }

    async fn line(&mut self) -> Option<String> {
        within(self.output.next_line()).await.unwrap()
    }

    async fn message(&mut self) -> Value {
        serde_json::from_str(&self.line().await.expect("a line")).unwrap()
    }

    async fn initialize(&mut self) {
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": { "sampling": {} } });
        self.send(json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }))
            .await;
        // Sent without waiting: the order on the pipe is enough.
        self.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
            .await;
        assert_eq!(self.message().await["result"]["protocolVersion"], "2025-11-25");
    }

    async fn call(&mut self, id: u64, tool: &str, arguments: Value) {
        let params = json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": id } });
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }))
            .await;
    }
}

#[tokio::test]
async fn a_session_over_stdio() {
    let ledger = scratch("session-over-stdio");
    let mut program = Program::start(&["--ledger", ledger.to_str().unwrap()]);
    program.initialize().await;
    program.call(1, "progress", json!({ "steps": 1 })).await;
    assert_eq!(program.message().await["params"]["progressToken"], 1);
    assert_eq!(program.message().await["id"], 1);

    program.call(2, "test_sampling", json!({ "prompt": "x" })).await;
    let question = program.message().await;
    let answer = json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "y" } });
    program
        .send(json!({ "jsonrpc": "2.0", "id": question["id"], "result": answer }))
        .await;
    assert_eq!(
        program.message().await["result"]["content"][0]["text"],
        "LLM response: y"
    );

    // Cancelled in the same breath, and still found.
    program.call(3, "silent", json!({})).await;
    program
        .send(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 3 } }))
        .await;
    program
        .send(json!({ "jsonrpc": "2.0", "id": 4, "method": "ping" }))
        .await;
    assert_eq!(program.message().await["id"], 4);

    program.input = None;
    assert!(within(program.child.wait()).await.unwrap().success());
    let entries = Ledger::read(&ledger).unwrap();
    assert!(
        entries
            .iter()
            .any(|entry| entry.event == Event::Cancelled && entry.id == Some(json!(3)))
    );
    assert!(entries.iter().zip(1..).all(|(entry, seq)| entry.seq == seq));
    std::fs::remove_file(ledger).unwrap();
}

#[tokio::test]
async fn both_eras_over_stdio() {
    let mut program = Program::start(&["--era", "both"]);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}
    });
    program
        .send(json!({ "jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": { "_meta": meta } }))
        .await;
    assert_eq!(
        program.message().await["result"]["supportedVersions"],
        json!(["2026-07-28"])
    );
    program.initialize().await;
}

#[tokio::test]
async fn a_crash_ends_the_program_in_the_middle_of_the_call() {
    let mut program = Program::start(&[]);
    program.initialize().await;
    program.call(1, "crash", json!({})).await;
    assert_eq!(program.line().await, None);
    assert_eq!(within(program.child.wait()).await.unwrap().code(), Some(70));
}

#[tokio::test]
async fn grandchildren_outlive_a_careless_program() {
    let mut program = Program::start(&[]);
    program.initialize().await;
    program.call(1, "spawn_grandchild", json!({})).await;
    let pids = program.message().await["result"]["structuredContent"].clone();
    program.input = None;
    within(program.child.wait()).await.unwrap();
    for member in ["pid", "setsid_pid"] {
        let pid = pids[member].as_u64().unwrap();
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(command.contains("sleep"), "{member}: {command}");
        let ended = Command::new("kill").args(["-9", &pid.to_string()]).status();
        assert!(within(ended).await.unwrap().success());
    }
}

#[tokio::test]
async fn a_stubborn_program_ends_by_force_only() {
    let mut program = Program::start(&["--stubborn"]);
    program.initialize().await;
    let pid = program.child.id().unwrap().to_string();
    let told = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(within(told).await.unwrap().success());
    program
        .send(json!({ "jsonrpc": "2.0", "id": 4, "method": "ping" }))
        .await;
    assert_eq!(program.message().await["id"], 4);
    program.child.start_kill().unwrap();
    assert!(!within(program.child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn over_http_it_says_where_it_listens() {
    let mut program = Program::start(&["--transport", "http", "--path", "/here"]);
    let line = program.line().await.unwrap();
    assert!(
        line.starts_with("listening http://127.0.0.1:") && line.ends_with("/here"),
        "{line}"
    );
    let mut wrong = Program::start(&["--fault", "nonsense"]);
    assert_eq!(within(wrong.child.wait()).await.unwrap().code(), Some(1));
}

#[test]
fn tests_of_other_packages_find_the_program() {
    let program = mcp_proxy_test::fixture_program().unwrap();
    let version = std::process::Command::new(program).arg("--version").output().unwrap();
    assert!(version.stdout.starts_with(b"mcp-fixture "));
}

#[tokio::test]
async fn noise_comes_before_answers() {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (input, output) = tokio::io::split(theirs);
    let mut faults = Faults::default();
    faults.noise = true;
    let fixture = Fixture::http().faults(faults);
    let (read, mut write) = tokio::io::split(ours);
    let client = async {
        write
            .write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n")
            .await
            .unwrap();
        let mut lines = BufReader::new(read).lines();
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "this line is no JSON");
        assert_eq!(
            lines.next_line().await.unwrap().unwrap(),
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#
        );
    };
    tokio::select! {
        ended = fixture.serve_pipes(input, output) => panic!("{ended:?}"),
        () = within(client) => {}
    }
}

fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.jsonl", std::process::id()))
}
