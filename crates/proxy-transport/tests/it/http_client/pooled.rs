//! Callers of the sessionless era on a backend with sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mcp_proxy_core::json::RawJson;
use mcp_proxy_core::{LogLevel, Reply};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::script::{Script, Seen, Step, event, json, response, result, stream_head};
use super::{Client, Clients, call, connect, connect_to, options, run, sessionless, soon, text};

/// A backend that issues `s0`, `s1`, …, logs, and plays `get` and `play`.
async fn numbered(
    get: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static,
    play: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static,
) -> Script {
    let opened = AtomicUsize::new(0);
    Script::start(move |seen| match (seen.verb(), seen.method().as_str()) {
        ("GET", _) => get(seen),
        ("DELETE", _) => vec![response(200, "", "")],
        (_, "initialize") => {
            let n = opened.fetch_add(1, Ordering::SeqCst);
            let headers = format!("content-type: application/json\r\nmcp-session-id: s{n}\r\n");
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{{"protocolVersion":"2025-11-25","capabilities":{{"tools":{{}},"logging":{{}}}}}}}}"#,
                seen.id()
            );
            vec![response(200, &headers, &body)]
        }
        (_, "tools/call" | "logging/setLevel") => play(seen),
        _ => vec![response(202, "", "")],
    })
    .await
}

fn no_stream(_: &Seen) -> Vec<Step> {
    vec![response(405, "", "")]
}

fn opened(script: &Script) -> Vec<Seen> {
    let seen = script.seen();
    seen.into_iter().filter(|seen| seen.method() == "initialize").collect()
}

#[tokio::test]
async fn each_set_of_capabilities_has_its_sessions_and_they_are_used_again() {
    let script = numbered(no_stream, result).await;
    let (_connector, connected) = connect(options(&script)).await;
    let forms = r#"{"elicitation":{}}"#;
    for capabilities in ["{}", forms, "{}", forms] {
        run(&connected, sessionless(call(), capabilities)).await.unwrap();
    }
    let opened = opened(&script);
    assert_eq!(opened.len(), 3);
    assert!(opened[1].body.contains(r#""capabilities":{},"#), "{}", opened[1].body);
    assert!(opened[2].body.contains(&format!(r#""capabilities":{forms},"#)));
}

#[tokio::test]
async fn calls_at_once_get_sessions_of_their_own_up_to_a_bound() {
    let gate = Arc::new(Notify::new());
    let wait = gate.clone();
    let script = numbered(no_stream, move |seen| {
        let mut steps = vec![Step::Wait(wait.clone())];
        steps.extend(result(seen));
        steps
    })
    .await;
    let (_connector, connected) = connect(options(&script)).await;
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        calls.spawn(connected.peer.call(sessionless(call(), "{}")));
    }
    soon(script.wait_for_count(|seen| seen.method() == "tools/call", 20)).await;
    for _ in 0..20 {
        gate.notify_one();
        soon(calls.join_next()).await.unwrap().unwrap().unwrap();
    }
    assert_eq!(opened(&script).len(), 1 + 8);
}

#[tokio::test]
async fn a_question_beside_the_only_call_of_a_session_is_relayed() {
    // The stream asks once the call is there.
    let called = Arc::new(Notify::new());
    let answered = Arc::new(Notify::new());
    let (asks, goes_on) = (called.clone(), answered.clone());
    let script = numbered(
        move |seen| match seen.header("mcp-session-id") {
            Some("s1") => vec![
                stream_head(),
                Step::Wait(asks.clone()),
                event(r#"{"jsonrpc":"2.0","id":2,"method":"roots/list"}"#),
                Step::Hang,
            ],
            _ => vec![stream_head(), Step::Hang],
        },
        move |seen| {
            called.notify_one();
            let mut steps = vec![Step::Wait(goes_on.clone())];
            steps.extend(result(seen));
            steps
        },
    )
    .await;
    let (_connector, connected) = connect_to(options(&script), Arc::new(Clients::default())).await;
    let (_, handle) = Client::answering(|_, _| {
        Box::pin(async {
            Ok(Reply::Result(RawJson::from_static(
                r#"{"roots":[{"uri":"file:///mine"}]}"#,
            )))
        })
    });
    let mut asked = sessionless(call(), r#"{"roots":{}}"#);
    asked.client = handle;
    let mut running = JoinSet::new();
    running.spawn(connected.peer.call(asked));
    soon(script.wait_for(|seen| seen.body.contains("file:///mine"))).await;
    answered.notify_one();
    soon(running.join_next()).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn the_log_level_is_told_before_the_call_and_only_when_it_is_less() {
    let script = numbered(no_stream, |seen| match seen.method().as_str() {
        "logging/setLevel" => json(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, seen.id())),
        _ => result(seen),
    })
    .await;
    let (_connector, connected) = connect(options(&script)).await;
    for level in [
        None,
        Some(LogLevel::Warning),
        Some(LogLevel::Error),
        Some(LogLevel::Debug),
        Some(LogLevel::Info),
    ] {
        let mut leveled = sessionless(call(), "{}");
        leveled.context.log_level = level;
        run(&connected, leveled).await.unwrap();
    }
    let told: Vec<String> = script
        .seen()
        .iter()
        .filter(|seen| ["tools/call", "logging/setLevel"].contains(&seen.method().as_str()))
        .map(|seen| seen.json()["params"]["level"].as_str().unwrap_or("call").to_owned())
        .collect();
    assert_eq!(told, ["call", "warning", "call", "call", "debug", "call", "call"]);
}

#[tokio::test]
async fn a_level_that_is_refused_keeps_nobody_from_calling() {
    let script = numbered(no_stream, |seen| match seen.method().as_str() {
        "logging/setLevel" => vec![response(500, "", "")],
        _ => result(seen),
    })
    .await;
    let (_connector, connected) = connect(options(&script)).await;
    for _ in 0..2 {
        let mut leveled = sessionless(call(), "{}");
        leveled.context.log_level = Some(LogLevel::Debug);
        assert_eq!(text(&run(&connected, leveled).await.unwrap()), r#"{"ok":true}"#);
    }
    assert_eq!(script.count(|seen| seen.method() == "logging/setLevel"), 1);
}

#[tokio::test]
async fn pooled_sessions_end_with_the_peer() {
    let script = numbered(no_stream, result).await;
    let (_connector, connected) = connect(options(&script)).await;
    run(&connected, sessionless(call(), "{}")).await.unwrap();
    soon(connected.peer.close()).await;
    for id in ["s0", "s1"] {
        let ended = |seen: &Seen| seen.verb() == "DELETE" && seen.header("mcp-session-id") == Some(id);
        assert_eq!(script.count(ended), 1, "{id}");
    }
}
