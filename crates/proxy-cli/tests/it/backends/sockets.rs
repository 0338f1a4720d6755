//! Backends over WebSocket and over HTTP+SSE: servers that others wrote, killed and started again.

use std::time::Duration;

use mcp_proxy_test::free_port;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::NO_LIMIT_WAITED_FOR;
use crate::support::{Config, HttpServer, Part, Peers, ProxyUnderTest, Session, SessionError, StdioServer, eventually};

/// A server under test: how it is started on a port, and how the proxy reaches it.
struct Kind {
    transport: &'static str,
    scheme: &'static str,
    path: &'static str,
    command: Vec<String>,
}

impl Kind {
    /// server-everything behind supergateway.
    fn websocket(peers: &Peers, port: u16) -> Self {
        let child: Vec<String> = peers
            .everything("stdio")
            .iter()
            .map(|word| format!("'{word}'"))
            .collect();
        let port = port.to_string();
        let args = [
            "--stdio",
            &child.join(" "),
            "--outputTransport",
            "ws",
            "--port",
            &port,
            "--messagePath",
            "/message",
        ];
        Self {
            transport: "websocket",
            scheme: "ws",
            path: "/message",
            command: peers.command("supergateway", &args),
        }
    }

    /// server-everything itself.
    fn sse(peers: &Peers) -> Self {
        Self {
            transport: "sse",
            scheme: "http",
            path: "/sse",
            command: peers.everything("sse"),
        }
    }

    async fn start(&self, port: u16) -> HttpServer {
        HttpServer::program_on(port, &self.command).await
    }

    async fn proxy(&self, port: u16) -> ProxyUnderTest {
        let Self {
            transport,
            scheme,
            path,
            ..
        } = self;
        let table =
            format!("name = \"remote\"\ntransport = \"{transport}\"\nurl = \"{scheme}://127.0.0.1:{port}{path}\"");
        let proxy = Config::new().backend(&table).start().await;
        proxy.wait_for_tools_of(&["remote__"]).await;
        proxy
    }
}

async fn echo(session: &Session, text: &str) -> Result<Value, SessionError> {
    session.call("remote__echo", json!({ "message": text })).await
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

/// What every such server must do behind the proxy.
async fn check(peers: &Peers, kind: &Kind, port: u16) {
    let server = kind.start(port).await;
    let proxy = kind.proxy(port).await;
    let session = proxy.session().await;

    // The same tools as the same server says by itself over pipes.
    let names = |tools: &[Value], prefix: &str| -> Vec<String> {
        let names = tools.iter().filter_map(|tool| tool["name"].as_str());
        names.map(|name| name.trim_start_matches(prefix).to_owned()).collect()
    };
    // On one connection for all, the proxy declares all that its clients might be able to do.
    let all = json!({ "elicitation": { "form": {}, "url": {} }, "roots": { "listChanged": true }, "sampling": {} });
    let mut direct = StdioServer::start(&peers.everything("stdio"), &[], all).await;
    let expected = names(&direct.list("tools/list", "tools").await, "");
    let listed = session.list("tools/list", "tools").await.expect("a list");
    assert_eq!(names(&listed, "remote__"), expected);

    // Calls at the same time, each with its own answer; text that framings might trip over.
    let tricky = "grüße, 世界 \u{1f980}\r\n\r\ndata: no field\u{2028}";
    let answers = tokio::join!(echo(&session, "a"), echo(&session, tricky), echo(&session, "c"));
    for (answer, said) in [(answers.0, "a"), (answers.1, tricky), (answers.2, "c")] {
        assert_eq!(text(&answer.expect("an answer")), format!("Echo: {said}"));
    }
    let large = "x".repeat(1 << 20);
    let answer = echo(&session, &large).await.expect("an answer");
    assert_eq!(text(&answer).len(), large.len() + 6);

    // Progress, under the client's own token.
    let params = json!({
        "name": "remote__trigger-long-running-operation",
        "arguments": { "duration": 1, "steps": 4 },
        "_meta": { "progressToken": "mine" },
    });
    let exchange = session
        .exchange(json!("id"), "tools/call", params)
        .await
        .expect("an answer");
    let seen: Vec<_> = exchange
        .interim
        .iter()
        .map(|note| {
            (
                note["params"]["progressToken"].clone(),
                note["params"]["progress"].clone(),
            )
        })
        .collect();
    let expected: Vec<_> = (1..=4).map(|step| (json!("mine"), json!(step))).collect();
    assert_eq!(seen, expected);

    // Killed in the middle of a call: an error at once.
    let waiting = session.exchange(
        json!("long"),
        "tools/call",
        json!({
            "name": "remote__trigger-long-running-operation",
            "arguments": { "duration": 60, "steps": 60 },
            "_meta": { "progressToken": 1 },
        }),
    );
    let murder = async {
        // It may have arrived or not; what must hold is the same.
        let arrived = echo(&session, "before").await;
        arrived.expect("an answer");
        server.kill().await;
        Instant::now()
    };
    let (waited, killed) = tokio::join!(waiting, murder);
    let waited = waited.map(|exchange| exchange.reply);
    assert!(
        matches!(&waited, Ok(reply) if reply["error"]["code"].is_number()),
        "a call to a dead backend is an error: {waited:?}"
    );
    assert!(killed.elapsed() < NO_LIMIT_WAITED_FOR, "{:?}", killed.elapsed());
    // Its tools stay listed, calls fail at once.
    assert!(!session.list("tools/list", "tools").await.expect("a list").is_empty());
    assert!(matches!(echo(&session, "gone").await, Err(SessionError::Rpc(_))));

    // Started again: served again, in the same session of the client.
    let _server = kind.start(port).await;
    let back = Instant::now();
    eventually("the backend to serve again", Duration::from_secs(15), || async {
        echo(&session, "back").await.ok()
    })
    .await;
    eprintln!(
        "{}: served again {:?} after it listened again",
        kind.transport,
        back.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_backend_is_like_any_other() {
    let Some(peers) = Peers::with(&[Part::Node]) else {
        return;
    };
    let port = free_port().expect("a free port");
    check(&peers, &Kind::websocket(&peers, port), port).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_sse_backend_is_like_any_other() {
    let Some(peers) = Peers::with(&[Part::Node]) else {
        return;
    };
    check(&peers, &Kind::sse(&peers), free_port().expect("a free port")).await;
}

#[tokio::test]
async fn what_is_no_websocket_is_an_error_that_says_so() {
    let fixture = mcp_proxy_test::Fixture::http().start().await.expect("a fixture");
    let table = format!(
        "name = \"remote\"\ntransport = \"websocket\"\nurl = \"ws://{}/mcp\"",
        fixture.address()
    );
    let proxy = Config::new().backend(&table).start().await;
    eventually("a line in the log", Duration::from_secs(10), || async {
        let lines = proxy.log_lines("WARN");
        lines.iter().any(|line| line.contains("WebSocket")).then_some(())
    })
    .await;
}
