//! Clients that come over WebSocket and HTTP+SSE: those of the SDKs that still can, and another proxy.

use serde_json::{Value, json};

use super::support::{Client, Config, Part, Peers, ProxyUnderTest, drive, fixture_command};

async fn proxy() -> ProxyUnderTest {
    let command = fixture_command("streams-front").await;
    let config = Config::new().listen("websocket = true").listen("sse = true");
    let proxy = config.stdio("fixture", &command, &[], "").start().await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    proxy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sdk_clients_come_over_websocket_and_sse() {
    let Some(peers) = Peers::with(&[Part::Node, Part::PythonV1]) else {
        return;
    };
    let script = json!([
        { "do": "connect" },
        { "do": "list_tools" },
        { "do": "call", "name": "fixture__progress", "arguments": { "steps": 3, "ms": 10 }, "progress": true },
        { "do": "call", "name": "fixture__test_tool_with_logging", "arguments": {} },
        { "do": "call", "name": "fixture__big", "arguments": { "bytes": 40_000 } },
        { "do": "read", "uri": "fixture+test://static-text" },
        { "do": "cancel", "name": "fixture__progress", "arguments": { "steps": 1000, "ms": 10 } },
        { "do": "call", "name": "fixture__nothing", "arguments": {} },
        { "do": "ping" },
    ]);
    for client in [Client::TypeScriptV1, Client::PythonV1] {
        for way in ["ws", "sse"] {
            // One each: a backend that is shared may go on with a call that was cancelled, and as long as it may, what it
            // logs is told to nobody.
            let proxy = proxy().await;
            let url = match way {
                "ws" => format!("ws://{}/mcp", proxy.address),
                _ => format!("http://{}/sse", proxy.address),
            };
            let who = format!("{client:?} at {url}");
            let steps = drive(&peers, client, &url, &script)
                .await
                .unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(
                steps[0].ok()["serverInfo"]["name"].as_str().unwrap_or("it"),
                "it",
                "{who}"
            );
            let tools = steps[1].ok()["tools"].as_array().expect("a list");
            assert!(
                tools.iter().any(|tool| tool["name"] == "fixture__echo"),
                "{who}: {tools:?}"
            );
            assert!(is_begun(&steps[2].progress), "{who}: {:?}", steps[2]);
            // The TypeScript client may see the answer before the messages that came with it, and then forgets them.
            if client == Client::PythonV1 {
                assert_eq!((steps[2].progress.len(), steps[3].logs.len()), (3, 3), "{who}");
            }
            let text = steps[4].ok()["content"][0]["text"].as_str().map(str::len);
            assert_eq!(text, Some(40_000), "{who}");
            steps[5].ok();
            assert!(
                steps[6].error.is_some() && !steps[6].progress.is_empty(),
                "{who}: {:?}",
                steps[6]
            );
            let error = steps[7].error.as_ref().map(|error| &error["code"]);
            assert_eq!(error, Some(&json!(-32602)), "{who}");
            steps[8].ok();
        }
    }
}

/// Whether these are the first steps of a call, each once and in order.
fn is_begun(progress: &[Value]) -> bool {
    let mut steps = progress.iter().map(|note| note["progress"].as_f64()).zip(1..);
    steps.all(|(got, want)| got == Some(f64::from(want)))
}

#[tokio::test]
async fn a_proxy_reaches_a_proxy_either_way() {
    let far = proxy().await;
    let near = Config::new()
        .backend(&format!(
            "name = \"ws\"\ntransport = \"websocket\"\nurl = \"ws://{}/mcp\"",
            far.address
        ))
        .backend(&format!(
            "name = \"sse\"\ntransport = \"sse\"\nurl = \"http://{}/sse\"",
            far.address
        ))
        .start()
        .await;
    near.wait_for_tools_of(&["ws__fixture__", "sse__fixture__"]).await;
    let session = near.session().await;
    for way in ["ws", "sse"] {
        let answer = session
            .call(&format!("{way}__fixture__echo"), json!({ "way": way }))
            .await;
        let answer: Value = answer.expect("an answer");
        assert_eq!(answer["structuredContent"], json!({ "way": way }));
    }
}
