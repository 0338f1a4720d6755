//! Calls given up: what counts as giving up differs between the eras, and the ledger says which calls it hit.

use http::StatusCode;
use mcp_proxy_test::{Entry, Era, Event, Fixture};
use serde_json::json;

use crate::client::{Client, within};
use crate::sessionless::request;

#[tokio::test]
async fn a_cancelled_call_ends_without_an_answer() {
    let fixture = Fixture::http().await.unwrap();
    let client = Client::open(&fixture, "2025-11-25").await;
    let mut other = Client::open(&fixture, "2025-11-25").await;
    let call = json!({ "jsonrpc": "2.0", "id": "slow-1", "method": "tools/call", "params": { "name": "silent" } });
    let cancel = async {
        within(
            fixture
                .ledger()
                .wait_for(|entry| is_call(entry, "silent", Event::Received)),
        )
        .await;
        // Of another session: names nothing here.
        other
            .notify("notifications/cancelled", json!({ "requestId": "slow-1" }))
            .await;
        assert_eq!(fixture.ledger().count(|entry| entry.event == Event::Cancelled), 0);
        let session = client.session().to_owned();
        let mut again = Client::new(fixture.address());
        again.set("mcp-session-id", &session);
        again
            .notify("notifications/cancelled", json!({ "requestId": "slow-1" }))
            .await;
    };
    let mut caller = Client::new(fixture.address());
    caller.set("mcp-session-id", client.session());
    let (reply, ()) = tokio::join!(caller.post(&call), cancel);
    assert_eq!(reply.status, StatusCode::OK);
    assert!(within(reply.messages()).await.is_empty());
    let entry = within(
        fixture
            .ledger()
            .wait_for(|entry| is_call(entry, "silent", Event::Cancelled)),
    )
    .await;
    assert_eq!(entry.id, Some(json!("slow-1")));
    assert_eq!(entry.session, Fixture::digest(client.session()));
}

#[tokio::test]
async fn a_client_that_leaves_has_not_cancelled_in_the_session_era() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-11-25").await;
    let mut reply = client.call("test_tool_with_logging", json!({})).await;
    assert!(within(reply.message()).await.is_some());
    drop(reply);
    client.leave().await;
    within(
        fixture
            .ledger()
            .wait_for(|entry| is_call(entry, "test_tool_with_logging", Event::Executed)),
    )
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_has_cancelled_in_the_sessionless_era() {
    let fixture = Fixture::http().era(Era::Sessionless).await.unwrap();
    let mut client = Client::new(fixture.address());
    let leave = async {
        within(
            fixture
                .ledger()
                .wait_for(|entry| is_call(entry, "silent", Event::Received)),
        )
        .await;
    };
    tokio::select! {
        _ = request(&mut client, "tools/call", json!({ "name": "silent" })) => panic!("silent answered"),
        () = leave => {}
    }
    client.leave().await;
    within(
        fixture
            .ledger()
            .wait_for(|entry| is_call(entry, "silent", Event::Cancelled)),
    )
    .await;

    // The same once a stream has begun.
    let mut client = Client::new(fixture.address());
    let mut reply = request(
        &mut client,
        "tools/call",
        json!({
            "name": "progress",
            "arguments": { "steps": 2, "ms": 60_000 },
            "_meta": { "progressToken": 1 }
        }),
    )
    .await;
    assert!(within(reply.message()).await.is_some());
    drop(reply);
    client.leave().await;
    within(
        fixture
            .ledger()
            .wait_for(|entry| is_call(entry, "progress", Event::Cancelled)),
    )
    .await;
}

fn is_call(entry: &Entry, tool: &str, event: Event) -> bool {
    entry.tool.as_deref() == Some(tool) && entry.event == event
}
