//! What a backend says without being asked: on the stream of its session.

use std::sync::Arc;

use mcp_proxy_core::ErrorKind;
use mcp_proxy_core::catalogue::Kind;
use mcp_proxy_transport::client::PeerEvent;
use tokio::sync::Notify;

use super::script::{Script, Step, event, response, result, send, stream_head, welcome};
use super::{connect, options, soon};

async fn with_stream(steps: Vec<Step>) -> Script {
    Script::start(move |seen| match (seen.verb(), seen.method().as_str()) {
        ("GET", _) => steps.clone(),
        (_, "initialize") => welcome(seen, Some("s")),
        (_, "tools/call") => result(seen),
        _ => vec![response(202, "", "")],
    })
    .await
}

fn changed(what: &str) -> Step {
    event(format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/{what}/list_changed"}}"#
    ))
}

#[tokio::test]
async fn changed_lists_are_told_and_merged() {
    let mut steps = vec![stream_head()];
    steps.extend(vec![changed("tools"); 500]);
    steps.extend([changed("resources"), Step::Hang]);
    let script = with_stream(steps).await;
    let (_connector, mut connected) = connect(options(&script)).await;
    let mut told = Vec::new();
    // The whole flood is at most a few events, whatever pieces it arrives in.
    while !told.contains(&Kind::Template) {
        match soon(connected.events.recv()).await {
            Some(PeerEvent::ListChanged(kind)) => told.push(kind),
            other => panic!("{other:?}"),
        }
    }
    assert!(told.contains(&Kind::Tool) && told.contains(&Kind::Resource), "{told:?}");
    assert!(told.len() <= 6, "{told:?}");
    let get = script.wait_for(|seen| seen.verb() == "GET").await;
    assert_eq!(get.header("accept"), Some("text/event-stream"));
    assert_eq!(get.header("mcp-session-id"), Some("s"));
}

#[tokio::test]
async fn questions_on_the_stream_are_answered() {
    let script = with_stream(vec![
        stream_head(),
        event(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#),
        event(r#"{"jsonrpc":"2.0","id":2,"method":"roots/list"}"#),
        event(r#"{"jsonrpc":"2.0","id":3,"method":"elicitation/create","params":{"message":"?"}}"#),
        Step::Hang,
    ])
    .await;
    let (_connector, _connected) = connect(options(&script)).await;
    soon(script.wait_for(|seen| seen.body == r#"{"jsonrpc":"2.0","id":1,"result":{}}"#)).await;
    soon(script.wait_for(|seen| seen.body == r#"{"jsonrpc":"2.0","id":2,"result":{"roots":[]}}"#)).await;
    let refused = soon(script.wait_for(|seen| seen.body.contains("\"error\""))).await;
    assert_eq!(refused.id(), 3);
}

#[tokio::test]
async fn a_stream_that_ends_is_opened_again_where_it_ended() {
    let script = with_stream(vec![
        stream_head(),
        send("id: e7\nretry: 1\n\n"),
        changed("prompts"),
        Step::Close,
    ])
    .await;
    let (_connector, mut connected) = connect(options(&script)).await;
    let again = soon(script.wait_for(|seen| seen.header("last-event-id").is_some())).await;
    assert_eq!(again.header("last-event-id"), Some("e7"));
    // The handshake promised changes of tools only, so what may have been missed is that list.
    let mut told = Vec::new();
    while !told.contains(&Kind::Tool) {
        match soon(connected.events.recv()).await {
            Some(PeerEvent::ListChanged(kind)) => told.push(kind),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told[0], Kind::Prompt);
}

#[tokio::test]
async fn a_backend_that_dies_is_noticed_without_a_call() {
    let gate = Arc::new(Notify::new());
    let mut script = with_stream(vec![stream_head(), Step::Wait(gate)]).await;
    let (_connector, mut connected) = connect(options(&script)).await;
    soon(script.wait_for(|seen| seen.verb() == "GET")).await;
    soon(script.stop()).await;
    match soon(connected.events.recv()).await {
        Some(PeerEvent::Closed(error)) => assert_eq!(error.kind(), ErrorKind::NotSent),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn no_stream_is_no_fault() {
    for status in [405, 404, 400, 501] {
        let script = with_stream(vec![response(status, "", "")]).await;
        let (_connector, mut connected) = connect(options(&script)).await;
        soon(script.wait_for(|seen| seen.verb() == "GET")).await;
        super::run(&connected, super::call()).await.unwrap();
        assert!(connected.events.try_recv().is_err(), "nothing is told of {status}");
        assert_eq!(script.count(|seen| seen.verb() == "GET"), 1);
    }
}
