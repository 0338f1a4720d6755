//! What a session's client is told unasked: on one stream, in its revision, from its log level on.

use mcp_proxy_core::SessionKey;
use mcp_proxy_core::json::Notification;
use serde_json::{Value, json};

use super::support::*;

async fn set_level(world: &World, session: &str, level: &str) {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "logging/setLevel", "params": { "level": level } });
    let answer = world.post(&[("mcp-session-id", session)], body.to_string()).await;
    assert_eq!(answer.status, 200);
}

async fn logged(world: &World, session: &str) -> (Vec<String>, Value) {
    let answer = world.call(session, "2", "log").await;
    let levels = answer.text.split("\"level\":\"").skip(1);
    let levels = levels.map(|text| text.split('"').next().unwrap().to_owned()).collect();
    (levels, answer.json()["result"]["taken"].clone())
}

#[tokio::test]
async fn each_session_reads_the_log_from_its_own_level_on() {
    let world = world();
    let (one, other, silent) = (world.open().await, world.open().await, world.open().await);
    set_level(&world, &one, "warning").await;
    set_level(&world, &other, "emergency").await;
    let (levels, taken) = logged(&world, &one).await;
    // A level nobody knows is no reason to hold a message back.
    assert_eq!(levels, ["warning", "emergency", "loud"]);
    assert_eq!(taken, json!([false, false, true, true, true]));
    assert_eq!(logged(&world, &other).await.0, ["emergency", "loud"]);
    assert_eq!(logged(&world, &silent).await.0.len(), 5);
    set_level(&world, &one, "nonsense").await;
    assert_eq!(logged(&world, &one).await.0.len(), 3, "what is no level changes none");
    set_level(&world, &one, "debug").await;
    assert_eq!(logged(&world, &one).await.0.len(), 5);
}

#[tokio::test]
async fn outside_calls_the_level_counts_as_well() {
    let world = world();
    let session = world.open().await;
    let key = world.front.sessions()[0].key;
    let mut own = world.listen(&session).await;
    set_level(&world, &session, "error").await;
    assert!(!world.front.tell(key, &log_message("warning")));
    assert_eq!(now(&mut own), None);
    assert!(world.front.tell(key, &log_message("error")));
    assert!(world.front.tell(key, &log_message("error")));
    for _ in 0..2 {
        assert_eq!(
            event(&mut own).await.unwrap()["params"]["level"],
            "error",
            "the log may repeat itself"
        );
    }
}

#[tokio::test]
async fn one_session_is_told_and_no_other_on_one_stream() {
    let world = world();
    let (one, other) = (world.open().await, world.open().await);
    let (mut older, mut newer) = (world.listen(&one).await, world.listen(&one).await);
    let mut foreign = world.listen(&other).await;
    let keys: Vec<SessionKey> = world.front.sessions().iter().map(|session| session.key).collect();
    let key = *keys.iter().min().unwrap();
    let updated = |uri: &str| notification("notifications/resources/updated", &json!({ "uri": uri }));
    for uri in ["file:///a", "file:///a", "file:///b"] {
        assert!(world.front.tell(key, &updated(uri)));
    }
    assert_eq!(event(&mut newer).await.unwrap()["params"]["uri"], "file:///a");
    assert_eq!(event(&mut newer).await.unwrap()["params"]["uri"], "file:///b");
    for stream in [&mut newer, &mut older, &mut foreign] {
        assert_eq!(now(stream), None);
    }
    assert!(world.front.terminate(key));
    assert!(!world.front.tell(key, &updated("file:///a")));
    assert!(!world.front.tell(SessionKey(u64::MAX), &updated("file:///a")));
}

#[tokio::test]
async fn a_session_without_a_stream_is_not_told() {
    let world = world();
    world.open().await;
    let key = world.front.sessions()[0].key;
    assert!(!world.front.tell(key, &tools_changed()));
}

#[tokio::test]
async fn what_a_revision_does_not_know_is_not_said_in_it() {
    let world = world();
    let status = notification(
        "notifications/tasks/status",
        &json!({ "taskId": "t", "status": "working" }),
    );
    let complete = notification("notifications/elicitation/complete", &json!({ "elicitationId": "e" }));
    let later = notification("notifications/tasks", &json!({ "taskId": "t" }));
    let foreign = notification("notifications/vendor/news", &json!({}));
    for (version, taken) in [
        ("2025-06-18", [false, false, false, true]),
        ("2025-11-25", [true, true, false, true]),
    ] {
        let session = world.initialize(version).await.header("mcp-session-id").to_owned();
        let key = world.front.sessions().iter().map(|session| session.key).max().unwrap();
        let headers = [("mcp-session-id", session.as_str()), ("accept", "text/event-stream")];
        let stream = world.begin(http::Method::GET, &headers, String::new()).await;
        let told = |message: &Notification| world.front.tell(key, message);
        assert_eq!([&status, &complete, &later, &foreign].map(told), taken, "{version}");
        drop(stream);
    }
}
