//! A server asked directly over its pipes: the yardstick for what a client must see through the proxy.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Longest wait for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A server of the session era, its handshake done.
pub(crate) struct StdioServer {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    last_id: u64,
    /// The result of `initialize`.
    pub(crate) welcome: Value,
}

impl StdioServer {
    /// Starts the command and initializes it with these capabilities. What it then asks is not answered.
    pub(crate) async fn start(command: &[String], env: &[(&str, &str)], capabilities: Value) -> Self {
        let (program, args) = command.split_first().expect("a command has a program");
        let mut child = Command::new(program)
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program} starts: {error}"));
        let input = child.stdin.take().expect("stdin is piped");
        let output = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let mut server = Self {
            _child: child,
            input,
            output,
            last_id: 0,
            welcome: Value::Null,
        };
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": capabilities,
            "clientInfo": { "name": "it", "version": "1.0.0" },
        });
        server.welcome = server
            .request("initialize", params)
            .await
            .expect("the server initializes");
        server
            .send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
            .await;
        server
    }

    /// One request; the error object is the `Err`.
    pub(crate) async fn request(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .await;
        let answer = tokio::time::timeout(ANSWER_LIMIT, self.answer(id)).await;
        let mut answer = answer.unwrap_or_else(|_| panic!("{method} was not answered within {ANSWER_LIMIT:?}"));
        if answer.get("error").is_some() {
            Err(answer["error"].take())
        } else {
            Ok(answer["result"].take())
        }
    }

    /// All pages of a list; empty where the server has no such list.
    pub(crate) async fn list(&mut self, method: &str, member: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut params = json!({});
        while let Ok(mut page) = self.request(method, params).await {
            items.append(page[member].as_array_mut().unwrap_or(&mut Vec::new()));
            match page.get("nextCursor") {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => break,
            }
        }
        items
    }

    async fn send(&mut self, message: &Value) {
        self.input
            .write_all(format!("{message}\n").as_bytes())
            .await
            .expect("the server reads");
    }

    async fn answer(&mut self, id: u64) -> Value {
        loop {
            let line = self
                .output
                .next_line()
                .await
                .expect("the server writes UTF-8")
                .expect("the server lives on");
            // Some servers greet on stdout; whatever is not the answer is passed over.
            if let Ok(message) = serde_json::from_str::<Value>(&line)
                && message["id"] == id
                && message.get("method").is_none()
            {
                return message;
            }
        }
    }
}
