//! Backends that are within the protocol and beyond what one is used to: very many tools, very many pages, very large
//! results. In front of each stands a client of either era.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::support::{Config, Era, HttpServer, ProxyUnderTest, Speaker, eventually, fixture_command};

/// A debug build on a busy machine takes its time for lists of that size.
const LIMIT: Duration = Duration::from_secs(60);

const MANY: usize = 10_000;

/// The names of all tools, page by page.
async fn tools(client: &mut Speaker) -> Vec<String> {
    let mut names = Vec::new();
    let mut params = json!({});
    loop {
        let heard = client.request("tools/list", params).await;
        let result = &heard.outcome["result"];
        let page = result["tools"]
            .as_array()
            .unwrap_or_else(|| panic!("a list: {}", heard.text));
        names.extend(page.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)));
        match result.get("nextCursor") {
            Some(cursor) => params = json!({ "cursor": cursor }),
            None => return names,
        }
    }
}

/// Waits until the list holds that many tools of the numbered kind.
async fn numbered(client: &mut Speaker, count: usize) -> BTreeSet<String> {
    let client = tokio::sync::Mutex::new(client);
    eventually("all the tools", LIMIT, || async {
        let names = tools(&mut **client.lock().await).await;
        let many: BTreeSet<_> = names.into_iter().filter(|name| name.contains("__many_")).collect();
        (many.len() == count).then_some(many)
    })
    .await
}

async fn in_front_of(more: &[&str]) -> (HttpServer, ProxyUnderTest) {
    let server = HttpServer::fixture(0, more).await;
    let proxy = Config::new().http("fixture", &server.url(), "").start().await;
    (server, proxy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_tools_are_listed_and_called() {
    let (_server, proxy) = in_front_of(&["--era", "both", "--tools", "10000", "--fault", "pages=20"]).await;
    for era in Era::ALL {
        let mut client = Speaker::open(proxy.http(), era, "fixture").await;
        let many = numbered(&mut client, MANY).await;
        assert!(many.contains("fixture__many_00001") && many.contains("fixture__many_10000"));
        let heard = client.call("many_10000", json!({})).await;
        let said = &heard.outcome["result"]["content"][0]["text"];
        assert_eq!(*said, "many_10000 was added at run time", "{}", heard.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_a_thousand_pages_is_read_to_its_end() {
    let (_server, proxy) = in_front_of(&["--tools", "1000", "--fault", "pages=1000"]).await;
    let mut client = Speaker::open(proxy.http(), Era::Session, "fixture").await;
    numbered(&mut client, 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_of_ten_mebibytes_arrive_whole() {
    const BYTES: usize = 10 << 20;
    let server = HttpServer::fixture(0, &["--era", "both"]).await;
    let socket = HttpServer::web_socket_fixture(&["--era", "both"]).await;
    let mut command = fixture_command("pipe").await;
    command.extend(["--era".to_owned(), "both".to_owned()]);
    let socket_table = format!(
        "name = \"socket\"\ntransport = \"websocket\"\nurl = \"ws://{}/mcp\"",
        socket.address
    );
    let proxy = Config::new()
        .http("http", &server.url(), "")
        .stdio("pipe", &command, &[], "")
        .backend(&socket_table)
        .start()
        .await;
    proxy.wait_for_tools_of(&["http__", "pipe__", "socket__"]).await;
    for backend in ["http", "pipe", "socket"] {
        for era in Era::ALL {
            let mut client = Speaker::open(proxy.http(), era, backend).await;
            let heard = client.call("big", json!({ "bytes": BYTES })).await;
            let text = heard.outcome.pointer("/result/content/0/text").and_then(Value::as_str);
            assert_eq!(text.map(str::len), Some(BYTES), "{backend} {era:?}");
            // The same upwards.
            let large = "ü".repeat(1 << 20);
            let heard = client.call("echo", json!({ "text": large })).await;
            let echoed = heard
                .outcome
                .pointer("/result/structuredContent/text")
                .and_then(Value::as_str);
            assert!(echoed == Some(&large), "{backend} {era:?}");
        }
    }
}
