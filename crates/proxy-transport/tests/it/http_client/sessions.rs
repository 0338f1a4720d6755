//! Upstream sessions: opened once, kept apart, healed, ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mcp_proxy_core::{ErrorKind, SessionKey};
use mcp_proxy_transport::client::PeerEvent;
use mcp_proxy_transport::client::options::SessionMode;
use tokio::task::JoinSet;

use super::script::{Script, Seen, Step, json, response, result, welcome};
use super::{assert_kind, call, connect, of_session, options, run, soon};

/// A backend that issues `s0`, `s1`, … and answers calls by `play`.
async fn numbered(play: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Script {
    let opened = AtomicUsize::new(0);
    Script::start(move |seen| match (seen.verb(), seen.method().as_str()) {
        ("GET", _) => vec![response(405, "", "")],
        ("DELETE", _) => vec![response(200, "", "")],
        (_, "initialize") => {
            let id = format!("s{}", opened.fetch_add(1, Ordering::SeqCst));
            welcome(seen, Some(&id))
        }
        (_, "tools/call") => play(seen),
        _ => vec![response(202, "", "")],
    })
    .await
}

fn opened(script: &Script) -> usize {
    script.count(|seen| seen.method() == "initialize")
}

fn sessions_of_calls(script: &Script) -> Vec<String> {
    let seen = script.seen();
    let calls = seen.iter().filter(|seen| seen.method() == "tools/call");
    calls
        .map(|seen| seen.header("mcp-session-id").unwrap_or("none").to_owned())
        .collect()
}

#[tokio::test]
async fn each_client_gets_a_session_of_its_own() {
    let script = numbered(result).await;
    let (_connector, connected) = connect(options(&script)).await;
    for key in [1, 2, 1, 2] {
        run(&connected, of_session(call(), key)).await.unwrap();
    }
    run(&connected, call()).await.unwrap();
    assert_eq!(sessions_of_calls(&script), ["s1", "s2", "s1", "s2", "s0"]);
}

#[tokio::test]
async fn a_shared_session_is_shared_and_one_per_client_is_not() {
    let script = numbered(result).await;
    let mut shared = options(&script);
    shared.session = SessionMode::Shared;
    let (_connector, connected) = connect(shared).await;
    for key in [1, 2] {
        run(&connected, of_session(call(), key)).await.unwrap();
    }
    assert_eq!(sessions_of_calls(&script), ["s0", "s0"]);

    let script = Script::calls(None, result).await;
    let (_connector, connected) = connect(options(&script)).await;
    run(&connected, of_session(call(), 1)).await.unwrap();
    assert_eq!(opened(&script), 1, "a backend without sessions is shared");

    let mut per_client = options(&script);
    per_client.session = SessionMode::PerClient;
    let (_connector, connected) = connect(per_client).await;
    run(&connected, of_session(call(), 1)).await.unwrap();
    assert_eq!(opened(&script), 3);
}

#[tokio::test]
async fn many_first_calls_open_one_session() {
    let script = numbered(result).await;
    let (_connector, connected) = connect(options(&script)).await;
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        calls.spawn(connected.peer.call(of_session(call(), 7)));
    }
    while let Some(reply) = soon(calls.join_next()).await {
        reply.unwrap().unwrap();
    }
    assert_eq!(opened(&script), 2, "the catalogue's and the client's");
}

#[tokio::test]
async fn a_caller_who_gives_up_does_not_take_the_others_session() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let (held, count) = (gate.clone(), AtomicUsize::new(0));
    let script = Script::start(move |seen| match (seen.verb(), seen.method().as_str()) {
        ("GET", _) => vec![response(405, "", "")],
        (_, "initialize") if count.fetch_add(1, Ordering::SeqCst) > 0 => {
            let mut steps = vec![Step::Wait(held.clone())];
            steps.extend(welcome(seen, Some("client")));
            steps
        }
        (_, "initialize") => welcome(seen, Some("catalogue")),
        (_, "tools/call") => result(seen),
        _ => vec![response(202, "", "")],
    })
    .await;
    let (_connector, connected) = connect(options(&script)).await;
    let mut first = connected.peer.call(of_session(call(), 1));
    tokio::select! {
        biased;
        reply = &mut first => panic!("{reply:?}"),
        () = async { while opened(&script) < 2 { tokio::task::yield_now().await } } => {}
    }
    drop(first);
    let second = connected.peer.call(of_session(call(), 1));
    gate.notify_one();
    soon(second).await.unwrap();
    assert_eq!(opened(&script), 2);
}

#[tokio::test]
async fn a_failed_opening_is_not_remembered() {
    let count = AtomicUsize::new(0);
    let script = Script::start(move |seen| match (seen.verb(), seen.method().as_str()) {
        ("GET", _) => vec![response(405, "", "")],
        (_, "initialize") => match count.fetch_add(1, Ordering::SeqCst) {
            1 => vec![response(500, "", "")],
            _ => welcome(seen, Some("s")),
        },
        (_, "tools/call") => result(seen),
        _ => vec![response(202, "", "")],
    })
    .await;
    let (_connector, connected) = connect(options(&script)).await;
    assert_kind(run(&connected, of_session(call(), 1)).await, ErrorKind::ServerFault);
    run(&connected, of_session(call(), 1)).await.unwrap();
}

/// `forgets` is what the backend says about a session that it forgot.
async fn heals(forgets: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) {
    let script = numbered(move |seen| match seen.header("mcp-session-id") {
        Some("s0" | "s1") => forgets(seen),
        _ => result(seen),
    })
    .await;
    let (_connector, mut connected) = connect(options(&script)).await;
    run(&connected, of_session(call(), 1)).await.unwrap();
    assert_eq!(sessions_of_calls(&script), ["s1", "s2"]);
    let ids: Vec<u64> = script
        .seen()
        .iter()
        .filter(|seen| seen.method() == "tools/call")
        .map(Seen::id)
        .collect();
    assert_ne!(ids[0], ids[1], "an id is never used twice");

    run(&connected, call()).await.unwrap();
    let mut changed = Vec::new();
    for _ in 0..4 {
        match soon(connected.events.recv()).await {
            Some(PeerEvent::ListChanged(kind)) => changed.push(kind),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(changed, mcp_proxy_core::catalogue::Kind::ALL);
}

#[tokio::test]
async fn a_session_that_the_backend_forgot_is_opened_anew() {
    heals(|_| vec![response(404, "content-type: text/plain\r\n", "session not found")]).await;
}

#[tokio::test]
async fn a_session_forgotten_in_json_is_opened_anew() {
    heals(|seen| {
        let id = seen.id();
        json(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32005,"message":"session not found"}}}}"#
        ))
    })
    .await;
}

#[tokio::test]
async fn a_backend_that_forgets_every_session_is_at_fault() {
    let script = numbered(|_| vec![response(404, "", "")]).await;
    let (_connector, connected) = connect(options(&script)).await;
    assert_kind(run(&connected, of_session(call(), 1)).await, ErrorKind::ServerFault);
    assert_eq!(
        script.count(|seen| seen.method() == "tools/call"),
        2,
        "once more, not for ever"
    );
}

#[tokio::test]
async fn concurrent_calls_heal_a_session_once() {
    let script = numbered(|seen| match seen.header("mcp-session-id") {
        Some("s0") => vec![response(404, "", "")],
        _ => result(seen),
    })
    .await;
    let (_connector, connected) = connect(options(&script)).await;
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        calls.spawn(connected.peer.call(call()));
    }
    while let Some(reply) = soon(calls.join_next()).await {
        reply.unwrap().unwrap();
    }
    assert_eq!(opened(&script), 2);
}

#[tokio::test]
async fn a_session_ends_with_its_clients() {
    let script = numbered(result).await;
    let (_connector, connected) = connect(options(&script)).await;
    run(&connected, of_session(call(), 1)).await.unwrap();
    run(&connected, of_session(call(), 2)).await.unwrap();
    connected.peer.session_closed(SessionKey(1));
    let ended =
        |id: &'static str| move |seen: &Seen| seen.verb() == "DELETE" && seen.header("mcp-session-id") == Some(id);
    soon(script.wait_for(ended("s1"))).await;
    assert_eq!(script.count(|seen| seen.verb() == "DELETE"), 1);

    soon(connected.peer.close()).await;
    assert!(!connected.peer.is_open());
    for id in ["s0", "s2"] {
        assert_eq!(script.count(ended(id)), 1, "{id}");
    }
}

#[tokio::test]
async fn connecting_again_leaves_clients_sessions_alone() {
    let script = numbered(result).await;
    let (connector, first) = connect(options(&script)).await;
    run(&first, of_session(call(), 1)).await.unwrap();
    let second = soon(mcp_proxy_transport::client::Connector::connect(
        &connector,
        <dyn mcp_proxy_core::Downstream>::nobody(),
    ))
    .await
    .unwrap();
    soon(first.peer.close()).await;
    run(&second, of_session(call(), 1)).await.unwrap();
    assert_eq!(sessions_of_calls(&script), ["s1", "s1"]);
}

#[tokio::test]
async fn unusable_handshakes_are_refused() {
    for (headers, body) in [
        ("", r#"{"protocolVersion":"1999-01-01"}"#),
        ("", r#"{}"#),
        ("mcp-session-id: a b\r\n", r#"{"protocolVersion":"2025-11-25"}"#),
    ] {
        let script = Script::start(move |seen| {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{body}}}"#, seen.id());
            vec![response(
                200,
                &format!("content-type: application/json\r\n{headers}"),
                &body,
            )]
        })
        .await;
        let connector = mcp_proxy_transport::client::http::HttpConnector::new(options(&script));
        let Err(error) = soon(mcp_proxy_transport::client::Connector::connect(
            &connector,
            <dyn mcp_proxy_core::Downstream>::nobody(),
        ))
        .await
        else {
            panic!("connected in spite of {headers:?} {body}")
        };
        assert_eq!(error.kind(), ErrorKind::ServerFault, "{error}");
    }
}
