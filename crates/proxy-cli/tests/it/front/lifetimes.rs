//! How long a call lives: longer than the connection it came on, no longer than its session.

use std::time::Duration;

use mcp_proxy_test::{Entry, Event, Fixture};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::NO_LIMIT_WAITED_FOR;
use crate::support::{Config, ProxyUnderTest, fixture_command};

async fn in_front_of(fixture: &Fixture, config: Config) -> ProxyUnderTest {
    let proxy = config.http("fixture", &fixture.url(), "").start().await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    proxy
}

fn slow(ms: u64) -> Value {
    let params = json!({ "name": "fixture__slow", "arguments": { "ms": ms } });
    json!({ "jsonrpc": "2.0", "id": "slow", "method": "tools/call", "params": params })
}

/// Waits until the fixture's ledger says this of the slow call.
async fn happened(fixture: &Fixture, event: Event) {
    let wanted = |entry: &Entry| entry.event == event && entry.tool.as_deref() == Some("slow");
    let wait = fixture.ledger().wait_for(wanted);
    let found = tokio::time::timeout(Duration::from_secs(10), wait).await;
    assert!(
        found.is_ok(),
        "{event:?} of the slow call in {:?}",
        fixture.ledger().entries()
    );
}

#[tokio::test]
async fn a_call_whose_client_hung_up_runs_to_its_end() {
    let fixture = Fixture::http().start().await.expect("a fixture");
    let proxy = in_front_of(&fixture, Config::new()).await;
    let session = proxy.session().await;
    let call = slow(700);
    tokio::select! {
        answer = session.post(&call) => panic!("the client hangs up before: {answer:?}"),
        () = happened(&fixture, Event::Received) => {}
    }
    happened(&fixture, Event::Executed).await;
    session
        .call("fixture__echo", json!({}))
        .await
        .expect("the session goes on");
}

#[tokio::test]
async fn a_call_whose_client_stays_away_is_cancelled() {
    let fixture = Fixture::http().start().await.expect("a fixture");
    let proxy = in_front_of(&fixture, Config::new().proxy("session.resume_seconds = 1")).await;
    let session = proxy.session().await;
    let call = slow(60_000);
    tokio::select! {
        answer = session.post(&call) => panic!("the client hangs up before: {answer:?}"),
        () = happened(&fixture, Event::Received) => {}
    }
    happened(&fixture, Event::Cancelled).await;
    session
        .call("fixture__echo", json!({}))
        .await
        .expect("the session goes on");
}

#[tokio::test]
async fn the_end_of_a_session_cancels_its_calls() {
    let fixture = Fixture::http().start().await.expect("a fixture");
    let proxy = in_front_of(&fixture, Config::new()).await;
    let session = proxy.session().await;
    let end = async {
        happened(&fixture, Event::Received).await;
        assert!(session.clone().close().await.is_success());
        Instant::now()
    };
    let call = slow(60_000);
    let both = async { tokio::join!(session.post(&call), end) };
    let (answer, ended) = tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .expect("the answer ends");
    assert!(
        ended.elapsed() < NO_LIMIT_WAITED_FOR,
        "and at once: {:?}",
        ended.elapsed()
    );
    if let Ok(answer) = answer {
        assert!(
            !String::from_utf8_lossy(&answer.body).contains("\"result\""),
            "{answer:?}"
        );
    }
    happened(&fixture, Event::Cancelled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_to_one_backend_run_side_by_side() {
    let fixture = Fixture::http().start().await.expect("a fixture");
    let proxy = Config::new()
        .http("remote", &fixture.url(), "")
        .stdio("child", &fixture_command("fixture").await, &[], "")
        .start()
        .await;
    proxy.wait_for_tools_of(&["remote__", "child__"]).await;
    for tool in ["remote__slow", "child__slow"] {
        let session = proxy.session().await;
        let mut calls = JoinSet::new();
        let before = Instant::now();
        for _ in 0..30 {
            let session = session.clone();
            calls.spawn(async move { session.call(tool, json!({ "ms": 300 })).await });
        }
        while let Some(done) = calls.join_next().await {
            done.expect("a client does not panic").expect("an answer");
        }
        let took = before.elapsed();
        assert!(
            took < Duration::from_secs(4),
            "thirty calls of 0.3 s to {tool} took {took:?}"
        );
    }
}
