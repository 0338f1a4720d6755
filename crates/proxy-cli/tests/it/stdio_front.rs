//! `mcp-proxy stdio`: the program as a desktop application starts it.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::support::{Client, Config, Part, Peers, binary, drive, eventually, fixture_command, with_mark};

/// Longest wait for anything that must happen.
const LIMIT: Duration = Duration::from_secs(60);

/// A running `mcp-proxy stdio` and the pipes to it.
struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    mark: String,
    _folder: TempDir,
}

impl Program {
    fn start(config: &Config) -> Self {
        let (folder, words) = words(config);
        let mut child = binary()
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mcp-proxy starts");
        let output = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        Self {
            input: child.stdin.take(),
            output,
            child,
            mark: config.mark(),
            _folder: folder,
        }
    }

    async fn say(&mut self, message: &Value) {
        let input = self.input.as_mut().expect("stdin is open");
        input
            .write_all(format!("{message}\n").as_bytes())
            .await
            .expect("mcp-proxy reads");
    }

    /// The next line; every line must be a message.
    async fn next(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(LIMIT, self.output.next_line()).await;
        let line = line.expect("mcp-proxy answers in time").expect("lines are UTF-8")?;
        Some(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    async fn ask(&mut self, message: Value) -> Value {
        self.say(&message).await;
        self.next().await.expect("an answer")
    }

    async fn initialize(&mut self) -> Value {
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "it", "version": "1" } });
        self.ask(json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params }))
            .await
    }

    async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(LIMIT, self.child.wait()).await;
        ended.expect("mcp-proxy ends").expect("it is our child")
    }

    async fn log(&mut self) -> String {
        let mut log = String::new();
        let mut stderr = self.child.stderr.take().expect("stderr is piped");
        stderr.read_to_string(&mut log).await.expect("the log is UTF-8");
        log
    }
}

/// The command of the proxy with this configuration.
fn words(config: &Config) -> (TempDir, Vec<String>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("proxy.toml");
    std::fs::write(&file, config.text()).expect("proxy.toml is written");
    let program = env!("CARGO_BIN_EXE_mcp-proxy").to_owned();
    let file = file.to_str().expect("a path in UTF-8").to_owned();
    (folder, vec![program, "stdio".to_owned(), "--config".to_owned(), file])
}

async fn fixture() -> Config {
    let command = fixture_command("stdio-front").await;
    Config::new().stdio("fixture", &command, &[], "")
}

fn call(id: u64, tool: &str, arguments: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "arguments": arguments } })
}

#[tokio::test]
async fn the_first_answers_know_every_backend_and_stdout_holds_nothing_else() {
    let mut program = Program::start(&fixture().await);
    let welcome = program.initialize().await;
    assert_eq!(welcome["result"]["protocolVersion"], "2025-11-25");
    assert!(welcome["result"]["capabilities"]["tools"].is_object(), "{welcome}");
    let tools = program
        .ask(json!({ "jsonrpc": "2.0", "id": "t", "method": "tools/list" }))
        .await;
    let names: Vec<&str> = tools["result"]["tools"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect();
    assert!(names.contains(&"fixture__echo"), "{names:?}");
    let echo = program
        .ask(call(1, "fixture__echo", json!({ "text": "hé\nllo" })))
        .await;
    assert_eq!(echo["id"], 1);
    assert!(echo.to_string().contains("hé"), "{echo}");
    program.input = None;
    assert!(program.ended().await.success());
    assert!(program.next().await.is_none());
    let log = program.log().await;
    assert!(log.contains("backend ready"), "the log goes to stderr: {log}");
}

#[tokio::test]
async fn the_end_of_stdin_ends_the_program_and_its_children() {
    let mut program = Program::start(&fixture().await);
    program.initialize().await;
    program.say(&call(1, "fixture__silent", json!({}))).await;
    let children = with_mark(&program.mark);
    assert!(!children.is_empty());
    program.input = None;
    assert!(program.ended().await.success());
    assert_eq!(with_mark(&program.mark), [0; 0], "{children:?}");
}

#[tokio::test]
async fn a_signal_ends_it_once_the_calls_are_done() {
    let config = fixture().await.proxy("shutdown_timeout_seconds = 20");
    let mut program = Program::start(&config);
    program.initialize().await;
    program
        .say(&call(1, "fixture__progress", json!({ "steps": 1, "ms": 1000 })))
        .await;
    // The call is on its way when something else is answered.
    assert_eq!(
        program
            .ask(json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" }))
            .await["id"],
        2
    );
    let pid = program
        .child
        .id()
        .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    kill_process(pid.expect("it runs"), Signal::TERM).expect("it is our child");
    assert_eq!(program.next().await.expect("an answer")["id"], 1);
    assert!(program.next().await.is_none());
    assert!(program.ended().await.success());
    assert!(with_mark(&program.mark).is_empty());
}

#[tokio::test]
async fn a_client_that_is_gone_ends_it_too() {
    let mut program = Program::start(&fixture().await);
    program.initialize().await;
    // Reads no more, but leaves stdin open: the next answer cannot be written.
    let (child_stdin, lines) = (program.input.take(), program.output);
    drop(lines);
    let mut input = child_stdin.expect("stdin is open");
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    input
        .write_all(format!("{ping}\n").as_bytes())
        .await
        .expect("it still reads");
    let ended = tokio::time::timeout(LIMIT, program.child.wait()).await;
    assert!(ended.expect("mcp-proxy ends").expect("it is our child").success());
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_told_on_stderr() {
    let config = Config::new().backend("name = \"x\"\ntransport = \"stdio\"");
    let mut program = Program::start(&config);
    assert_eq!(program.ended().await.code(), Some(1));
    assert!(program.next().await.is_none());
    assert!(program.log().await.contains("needs a command"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sdk_clients_start_it_as_their_server() {
    let Some(peers) = Peers::with(&[Part::Node, Part::Python, Part::PythonV1]) else {
        return;
    };
    let script = json!([
        { "do": "connect" },
        { "do": "list_tools" },
        { "do": "call", "name": "fixture__progress", "arguments": { "steps": 3, "ms": 10 }, "progress": true },
        { "do": "call", "name": "fixture__echo", "arguments": { "text": "hello" } },
        { "do": "call", "name": "fixture__nothing", "arguments": {} },
    ]);
    let config = fixture().await;
    for client in [
        Client::TypeScriptV1,
        Client::TypeScriptV2,
        Client::PythonV1,
        Client::PythonV2,
    ] {
        let (_folder, words) = words(&config);
        let target = format!("stdio:{}", json!(words));
        let steps = drive(&peers, client, &target, &script)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let tools = steps[1].ok()["tools"].as_array().expect("a list");
        assert!(
            tools.iter().any(|tool| tool["name"] == "fixture__echo"),
            "{client:?}: {tools:?}"
        );
        let progress: Vec<_> = steps[2].progress.iter().map(|note| note["progress"].as_f64()).collect();
        let whole = [Some(1.0), Some(2.0), Some(3.0)];
        // The TypeScript clients may see the answer before the messages that came with it, and then forget them.
        match client {
            Client::TypeScriptV1 | Client::TypeScriptV2 => {
                assert!(whole.starts_with(&progress), "{client:?}: {progress:?}");
            }
            _ => assert_eq!(progress, whole, "{client:?}"),
        }
        steps[3].ok();
        let error = steps[4]
            .error
            .as_ref()
            .unwrap_or_else(|| panic!("{client:?}: {:?}", steps[4]));
        assert_eq!(error["code"], -32602, "{client:?}");
    }
    // The clients close stdin, and nothing of it stays.
    eventually("no process is left", LIMIT, || async {
        with_mark(&config.mark()).is_empty().then_some(())
    })
    .await;
}
