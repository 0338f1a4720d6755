//! A client that goes away in the middle of something leaves nothing behind at its backends.

use std::time::Duration;

use mcp_proxy_test::{Entry, Era as Eras, Event, Fixture};
use serde_json::json;

use super::super::support::{Config, Era, Speaker, eventually};

/// Fails when the proxy forgot something; how fast it is does not matter here.
const LIMIT: Duration = Duration::from_secs(30);

fn ends(tool: &'static str, event: Event) -> impl Fn(&Entry) -> bool {
    move |entry| entry.event == event && entry.tool.as_deref() == Some(tool)
}

#[tokio::test]
async fn a_sessionless_client_that_leaves_has_cancelled_its_call() {
    for era in [Eras::Session, Eras::Sessionless] {
        let fixture = Fixture::http().era(era).start().await.expect("a fixture");
        let proxy = Config::new().http("fixture", &fixture.url(), "").start().await;
        proxy.wait_for_tools_of(&["fixture__"]).await;
        let mut client = Speaker::open(proxy.http(), Era::Sessionless, "fixture").await;
        let params = json!({
            "name": "fixture__progress",
            "arguments": { "steps": 10_000, "ms": 20 },
            "_meta": { "progressToken": 1 },
        });
        let mut running = client.abandon("tools/call", params).await;
        running.next_message().await.expect("progress");
        drop(running);
        let told = fixture.ledger().wait_for(ends("progress", Event::Cancelled));
        let told = tokio::time::timeout(LIMIT, told).await;
        assert!(told.is_ok(), "{era:?}: {:?}", fixture.ledger().entries());
    }
}

/// A suspended call waits for its client's answer, but not for ever.
#[tokio::test]
async fn a_client_that_never_answers_leaves_no_suspended_call() {
    let fixture = Fixture::http().era(Eras::Session).start().await.expect("a fixture");
    let proxy = Config::new()
        .http("fixture", &fixture.url(), "")
        .table("[proxy.session]\nsuspend_seconds = 1")
        .start()
        .await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let mut client = Speaker::open(proxy.http(), Era::Sessionless, "fixture").await;
    let params = json!({ "name": "fixture__test_elicitation", "arguments": { "message": "?" } });
    let asked = client.abandon("tools/call", params).await.whole().await.json();
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let ended = |entry: &Entry| {
        entry.tool.as_deref() == Some("test_elicitation") && matches!(entry.event, Event::Cancelled | Event::Executed)
    };
    let told = tokio::time::timeout(LIMIT, fixture.ledger().wait_for(ended)).await;
    assert!(told.is_ok(), "{:?}", fixture.ledger().entries());
}

#[tokio::test]
async fn a_session_that_is_closed_ends_its_calls_and_what_they_asked() {
    let fixture = Fixture::http().era(Eras::Session).start().await.expect("a fixture");
    let proxy = Config::new().http("fixture", &fixture.url(), "").start().await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let before = fixture.sessions_live();
    let client = Speaker::open(proxy.http(), Era::Session, "fixture").await;
    let params = json!({ "name": "fixture__silent", "arguments": {} });
    let session = client.session().expect("it has one").clone();
    let call = json!({ "jsonrpc": "2.0", "id": "silent", "method": "tools/call", "params": params });
    let running = async {
        // Ended with its session, it has no answer; what it has is of no interest.
        let _ = session.post(&call).await;
    };
    let closing = async {
        fixture.ledger().wait_for(ends("silent", Event::Received)).await;
        session.clone().close().await;
        fixture.ledger().wait_for(ends("silent", Event::Cancelled)).await;
    };
    let both = async { tokio::join!(running, closing) };
    assert!(
        tokio::time::timeout(LIMIT, both).await.is_ok(),
        "{:?}",
        fixture.ledger().entries()
    );
    eventually("the backend's session to end", LIMIT, || async {
        (fixture.sessions_live() <= before).then_some(())
    })
    .await;
}
