//! A hundred clients, one shared backend process, the same JSON-RPC id and the same progress token everywhere.
//!
//! Each client asks for a number of steps that is its own, so every reply and every progress notification names its owner.

mod questions;
mod vanishing;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::support::{Config, HttpServer, ProxyUnderTest, fixture_command};

const CLIENTS: u64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_ids_and_tokens_never_meet_on_a_shared_process() {
    let command = fixture_command("fixture").await;
    let proxy = Config::new()
        .stdio("fixture", &command, &[], "session = \"shared\"")
        .start()
        .await;
    everyone_gets_their_own(&proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_ids_and_tokens_never_meet_on_a_shared_http_session() {
    let server = HttpServer::fixture(0, &[]).await;
    let proxy = Config::new()
        .http("fixture", &server.url(), "session = \"shared\"")
        .start()
        .await;
    everyone_gets_their_own(&proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_ids_and_tokens_never_meet_on_sessions_of_their_own() {
    let server = HttpServer::fixture(0, &[]).await;
    let proxy = Config::new().http("fixture", &server.url(), "").start().await;
    everyone_gets_their_own(&proxy).await;
}

/// On a shared process a log message does not say whose call it belongs to: it goes to the caller or to nobody.
#[tokio::test]
async fn what_a_backend_logs_reaches_no_bystander() {
    let command = fixture_command("fixture").await;
    let proxy = Config::new()
        .stdio("fixture", &command, &[], "session = \"shared\"")
        .start()
        .await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let (caller, idle, busy) = (proxy.session().await, proxy.session().await, proxy.session().await);
    let mut stream = idle.listen().await;
    let log = || json!({ "name": "fixture__log", "arguments": { "n": 5 } });

    let heard = caller.exchange(json!(1), "tools/call", log()).await.expect("an answer");
    assert_eq!(
        heard.interim.len(),
        5,
        "alone, the caller hears it all: {:?}",
        heard.interim
    );

    let params = json!({ "name": "fixture__slow", "arguments": { "ms": 1_000 } });
    let chatter = async {
        for _ in 0..10 {
            caller.exchange(json!(1), "tools/call", log()).await.expect("an answer");
        }
    };
    let (bystander, ()) = tokio::join!(busy.exchange(json!(1), "tools/call", params), chatter);
    let bystander = bystander.expect("an answer");
    assert!(
        bystander.interim.is_empty(),
        "what others are told: {:?}",
        bystander.interim
    );

    caller
        .call("fixture__list_change", json!({}))
        .await
        .expect("the list changes");
    let first = stream.next_message().await.expect("the change is announced");
    assert_eq!(
        first["method"], "notifications/tools/list_changed",
        "nothing came before: {first}"
    );
}

async fn everyone_gets_their_own(proxy: &ProxyUnderTest) {
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let mut clients = JoinSet::new();
    for number in 1..=CLIENTS {
        let session = proxy.session().await;
        clients.spawn(async move {
            let params = json!({
                "name": "fixture__progress",
                "arguments": { "steps": number, "ms": 3 },
                "_meta": { "progressToken": "same" },
            });
            let progress = session
                .exchange(json!(1), "tools/call", params)
                .await
                .expect("an answer");
            // The echo follows in the same session with the same id: an id may be used again once it was answered.
            let mark = json!({ "client": number });
            let params = json!({ "name": "fixture__echo", "arguments": mark });
            let echo = session
                .exchange(json!(1), "tools/call", params)
                .await
                .expect("an answer");
            (number, session.id, progress, mark, echo)
        });
    }
    let mut sessions = BTreeSet::new();
    while let Some(done) = clients.join_next().await {
        let (number, session, progress, mark, echo) = done.expect("a client does not panic");
        assert!(sessions.insert(session), "session ids are unique");
        assert_eq!(progress.reply["id"], 1);
        assert!(
            progress.reply.get("result").is_some(),
            "client {number}: {}",
            progress.reply
        );
        let steps: Vec<&Value> = progress
            .interim
            .iter()
            .map(|note| &note["params"]["progress"])
            .collect();
        assert_eq!(steps.len() as u64, number, "client {number} got {steps:?}");
        for note in &progress.interim {
            assert_eq!(note["method"], "notifications/progress");
            assert_eq!(note["params"]["progressToken"], "same");
            assert_eq!(
                note["params"]["total"].as_u64(),
                Some(number),
                "a note of another client's: {note}"
            );
        }
        assert!(
            steps.windows(2).all(|pair| pair[0].as_f64() < pair[1].as_f64()),
            "progress goes up: {steps:?}"
        );
        assert_eq!(
            echo.reply["result"]["structuredContent"], mark,
            "client {number}: {}",
            echo.reply
        );
    }
}
