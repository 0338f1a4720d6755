//! The end of the proxy, polite or not: calls under way are finished, streams closed, and no process is left.

use std::time::Duration;

use mcp_proxy_test::{Entry, Event, Fixture};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::time::Instant;

use crate::support::NO_LIMIT_WAITED_FOR;
use crate::support::{Config, ProxyUnderTest, command_line, fixture_command, with_mark};

#[tokio::test]
async fn no_process_outlives_a_killed_proxy() {
    for round in 0..5 {
        let mut proxy = Config::new()
            .stdio("one", &fixture_command("one").await, &[], "")
            .stdio("two", &fixture_command("two").await, &[], "")
            .start()
            .await;
        proxy.wait_for_tools_of(&["one__", "two__"]).await;
        if round % 2 == 0 {
            // Grandchildren, one of them in a session of its own.
            let session = proxy.session().await;
            session
                .call("one__spawn_grandchild", json!({}))
                .await
                .expect("a grandchild");
        }
        let before = with_mark(&proxy.mark);
        assert!(
            before.len() >= 3,
            "the proxy and two servers carry the mark: {before:?}"
        );
        proxy.kill().await;
        nobody_left(&proxy.mark).await;
    }
}

#[tokio::test]
async fn a_polite_end_finishes_calls_leaves_nothing_and_says_zero() {
    let fixture = Fixture::http().start().await.expect("a fixture");
    let mut proxy = Config::new()
        .proxy("shutdown_timeout_seconds = 10")
        .http("remote", &fixture.url(), "")
        .stdio("one", &fixture_command("one").await, &[], "")
        .start()
        .await;
    proxy.wait_for_tools_of(&["remote__", "one__"]).await;
    let session = proxy.session().await;
    let params = json!({ "name": "remote__slow", "arguments": { "ms": 1_500 } });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let end = async {
        arrived(&fixture, "slow").await;
        terminate(&proxy);
    };
    let (answer, ()) = tokio::join!(session.post(&body), end);
    let answer = answer.expect("a call under way is finished").json();
    assert!(answer.get("result").is_some(), "a call under way is finished: {answer}");
    assert_eq!(proxy.wait().await.code(), Some(0));
    nobody_left(&proxy.mark).await;
}

#[tokio::test]
async fn open_streams_end_with_the_proxy() {
    let mut proxy = Config::new()
        .stdio("one", &fixture_command("one").await, &[], "")
        .start()
        .await;
    proxy.wait_for_tools_of(&["one__"]).await;
    let session = proxy.session().await;
    let mut stream = session.listen().await;
    let asked = Instant::now();
    terminate(&proxy);
    assert_eq!(
        stream.next_message().await,
        None,
        "the stream ends, and says nothing untrue before"
    );
    assert_eq!(proxy.wait().await.code(), Some(0));
    let took = asked.elapsed();
    // Nothing runs, so nothing is waited for: far below the thirty seconds that calls would get.
    assert!(took < NO_LIMIT_WAITED_FOR, "the end took {took:?}");
}

#[tokio::test]
async fn a_call_that_outlasts_the_limit_gets_an_error() {
    let fixture = Fixture::http().start().await.expect("a fixture");
    let mut proxy = Config::new()
        .proxy("shutdown_timeout_seconds = 1")
        .http("remote", &fixture.url(), "")
        .start()
        .await;
    proxy.wait_for_tools_of(&["remote__"]).await;
    let session = proxy.session().await;
    let endless =
        json!({ "jsonrpc": "2.0", "id": "e", "method": "tools/call", "params": { "name": "remote__silent" } });
    let end = async {
        arrived(&fixture, "silent").await;
        terminate(&proxy);
    };
    let (answer, ()) = tokio::join!(session.post(&endless), end);
    let answer = answer.expect("an answer, not a broken connection").json();
    assert!(answer["error"]["code"].is_i64(), "{answer}");
    assert_eq!(proxy.wait().await.code(), Some(0));
}

#[tokio::test]
async fn a_child_that_will_not_end_is_ended() {
    let mut command = fixture_command("stubborn").await;
    command.insert(1, "--stubborn".to_owned());
    let mut proxy = Config::new().stdio("stubborn", &command, &[], "").start().await;
    proxy.wait_for_tools_of(&["stubborn__"]).await;
    terminate(&proxy);
    assert_eq!(proxy.wait().await.code(), Some(0));
    nobody_left(&proxy.mark).await;
}

/// Waits until a call of that tool is with the backend.
async fn arrived(fixture: &Fixture, tool: &str) {
    let wanted = |entry: &Entry| entry.event == Event::Received && entry.tool.as_deref() == Some(tool);
    let wait = tokio::time::timeout(Duration::from_secs(10), fixture.ledger().wait_for(wanted)).await;
    assert!(wait.is_ok(), "{tool} arrives");
}

/// Asks the proxy to end, as an init system does.
fn terminate(proxy: &ProxyUnderTest) {
    let pid = i32::try_from(proxy.pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process id");
    kill_process(pid, Signal::TERM).expect("the proxy runs");
}

/// Waits until no process carries the mark any more.
async fn nobody_left(mark: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left = with_mark(mark);
        if left.is_empty() {
            return;
        }
        let lines: Vec<String> = left
            .iter()
            .map(|pid| format!("{pid}: {}", command_line(*pid)))
            .collect();
        assert!(Instant::now() < deadline, "left behind: {lines:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
