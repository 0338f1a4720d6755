//! Subscriptions to resources on the catalogue's session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mcp_proxy_transport::client::Connected;

use super::script::{Script, Seen, Step, json, response, welcome};
use super::{call, connect, options, run, soon};

async fn start(forgets: Arc<AtomicBool>) -> Script {
    let opened = AtomicUsize::new(0);
    Script::start(move |seen: &Seen| -> Vec<Step> {
        match (seen.verb(), seen.method().as_str()) {
            ("GET", _) => vec![response(405, "", "")],
            (_, "initialize") => welcome(seen, Some(&format!("s{}", opened.fetch_add(1, Ordering::SeqCst)))),
            (_, "notifications/initialized") => vec![response(202, "", "")],
            _ if seen.header("mcp-session-id") == Some("s0") && forgets.load(Ordering::SeqCst) => {
                vec![response(404, "", "")]
            }
            (_, "resources/subscribe") if seen.body.contains("secret") => json(&format!(
                r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32002,"message":"no"}}}}"#,
                seen.id()
            )),
            _ => json(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, seen.id())),
        }
    })
    .await
}

async fn watch(connected: &Connected, uris: &[&str]) {
    let uris: Arc<[Box<str>]> = uris.iter().map(|uri| Box::from(*uri)).collect();
    soon(connected.peer.watch(uris)).await.unwrap();
}

/// What was told, in the order of the alphabet, and forgets it.
fn told(script: &Script, from: &mut usize) -> Vec<String> {
    let seen = script.seen();
    let mut told: Vec<String> = seen[*from..]
        .iter()
        .filter(|seen| seen.method().starts_with("resources/"))
        .map(|seen| {
            let verb = seen.method().replace("resources/", "");
            let session = seen.header("mcp-session-id").unwrap();
            format!("{session} {verb} {}", seen.json()["params"]["uri"].as_str().unwrap())
        })
        .collect();
    told.sort();
    *from = seen.len();
    told
}

#[tokio::test]
async fn the_backend_is_told_the_difference() {
    let script = start(Arc::default()).await;
    let (_connector, connected) = connect(options(&script)).await;
    let mut from = 0;
    watch(&connected, &["x:a", "x:b"]).await;
    assert_eq!(told(&script, &mut from), ["s0 subscribe x:a", "s0 subscribe x:b"]);
    watch(&connected, &["x:b", "x:c"]).await;
    assert_eq!(told(&script, &mut from), ["s0 subscribe x:c", "s0 unsubscribe x:a"]);
    watch(&connected, &["x:c", "x:b"]).await;
    assert!(told(&script, &mut from).is_empty());
    watch(&connected, &[]).await;
    assert_eq!(told(&script, &mut from), ["s0 unsubscribe x:b", "s0 unsubscribe x:c"]);
}

#[tokio::test]
async fn one_that_is_refused_keeps_the_others() {
    let script = start(Arc::default()).await;
    let (_connector, connected) = connect(options(&script)).await;
    let mut from = 0;
    watch(&connected, &["x:secret", "x:b"]).await;
    assert_eq!(told(&script, &mut from), ["s0 subscribe x:b", "s0 subscribe x:secret"]);
}

#[tokio::test]
async fn a_session_that_is_another_is_told_again() {
    let forgets = Arc::new(AtomicBool::new(false));
    let script = start(forgets.clone()).await;
    let (_connector, connected) = connect(options(&script)).await;
    watch(&connected, &["x:a", "x:b"]).await;
    forgets.store(true, Ordering::SeqCst);
    // A call of the proxy's own finds out.
    run(&connected, call()).await.unwrap();
    for uri in ["x:a", "x:b"] {
        soon(script.wait_for(|seen| seen.header("mcp-session-id") == Some("s1") && seen.body.contains(uri))).await;
    }
}

#[tokio::test]
async fn a_session_that_is_gone_is_healed_on_the_way() {
    let forgets = Arc::new(AtomicBool::new(true));
    let script = start(forgets).await;
    let (_connector, connected) = connect(options(&script)).await;
    watch(&connected, &["x:a"]).await;
    let told =
        script.count(|seen| seen.header("mcp-session-id") == Some("s1") && seen.method() == "resources/subscribe");
    assert_eq!(told, 1);
}
