//! A proxy behind a proxy: whatever one does to names, URIs, ids and tokens, two can do in a row.

use mcp_proxy_test::{Entry, Event, Fixture};
use serde_json::json;

use super::support::{Config, SessionError};

#[tokio::test]
async fn a_proxy_behind_a_proxy_is_a_backend_like_any_other() {
    let fixture = Fixture::http().start().await.expect("a fixture");
    let inner = Config::new().http("fixture", &fixture.url(), "").start().await;
    let outer = Config::new().http("inner", &inner.url(), "").start().await;
    outer.wait_for_tools_of(&["inner__fixture__"]).await;
    let session = outer.session().await;

    let params = json!({
        "name": "inner__fixture__progress", "arguments": { "steps": 5, "ms": 2 }, "_meta": { "progressToken": "mine" },
    });
    let exchange = session
        .exchange(json!("a"), "tools/call", params)
        .await
        .expect("an answer");
    assert_eq!(exchange.interim.len(), 5, "{:?}", exchange.interim);
    assert!(
        exchange
            .interim
            .iter()
            .all(|note| note["params"]["progressToken"] == "mine"),
        "{:?}",
        exchange.interim
    );

    let uri = "inner+fixture+test://static-text";
    let read = session
        .request("resources/read", json!({ "uri": uri }))
        .await
        .expect("the resource");
    assert_eq!(read["contents"][0]["uri"], uri);
    let prompt = json!({ "name": "inner__fixture__test_simple_prompt" });
    session.request("prompts/get", prompt).await.expect("the prompt");
    let unknown = session.call("inner__fixture__nowhere", json!({})).await;
    assert!(
        matches!(&unknown, Err(SessionError::Rpc(error)) if error["code"] == -32602),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn a_change_and_a_cancellation_travel_through_two_proxies() {
    let fixture = Fixture::http().start().await.expect("a fixture");
    let inner = Config::new().http("fixture", &fixture.url(), "").start().await;
    let outer = Config::new().http("inner", &inner.url(), "").start().await;
    outer.wait_for_tools_of(&["inner__fixture__"]).await;
    let session = outer.session().await;
    let before = session.list("tools/list", "tools").await.expect("a list").len();
    let mut stream = session.listen().await;
    session
        .call("inner__fixture__list_change", json!({}))
        .await
        .expect("the list changes");
    while let Some(message) = stream.next_message().await {
        let now = session.list("tools/list", "tools").await.expect("a list").len();
        if message["method"] == "notifications/tools/list_changed" && now == before + 1 {
            break;
        }
    }
    assert_eq!(
        session.list("tools/list", "tools").await.expect("a list").len(),
        before + 1
    );

    let slow = |event: Event| move |entry: &Entry| entry.event == event && entry.tool.as_deref() == Some("slow");
    let params = json!({ "name": "inner__fixture__slow", "arguments": { "ms": 60_000 } });
    let body = json!({ "jsonrpc": "2.0", "id": "s", "method": "tools/call", "params": params });
    let cancel = async {
        fixture.ledger().wait_for(slow(Event::Received)).await;
        session
            .notify("notifications/cancelled", json!({ "requestId": "s" }))
            .await
            .expect("202");
        fixture.ledger().wait_for(slow(Event::Cancelled)).await;
    };
    let both = async { tokio::join!(session.post(&body), cancel) };
    let both = tokio::time::timeout(std::time::Duration::from_secs(20), both).await;
    assert!(
        both.is_ok(),
        "the cancellation reaches the last backend: {:?}",
        fixture.ledger().entries()
    );
}
