//! Connections: used again, replaced when closed, given up when nobody answers.

use std::sync::Arc;
use std::time::Duration;

use mcp_proxy_core::ErrorKind;
use mcp_proxy_transport::client::PeerEvent;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::script::{Script, Step, response, result};
use super::{assert_kind, call, connect, options, run, soon};

#[tokio::test]
async fn calls_one_after_the_other_share_a_connection() {
    let script = Script::calls(Some("s"), result).await;
    let (connector, connected) = connect(options(&script)).await;
    for _ in 0..20 {
        run(&connected, call()).await.unwrap();
    }
    let (dialled, reused) = connector.connections();
    // The session's own stream is asked for at the same time as the first call.
    assert!(dialled <= 2, "{dialled}");
    assert!(reused >= 20, "{reused}");
}

#[tokio::test]
async fn concurrent_calls_do_not_wait_for_each_other() {
    // Nobody is answered before all have arrived.
    let all = Arc::new(Barrier::new(32));
    let script = Script::calls(Some("s"), move |seen| {
        let mut steps = vec![Step::Meet(all.clone())];
        steps.extend(result(seen));
        steps
    })
    .await;
    let mut options = options(&script);
    options.session = mcp_proxy_transport::client::options::SessionMode::Shared;
    let (_connector, connected) = connect(options).await;
    let mut calls = JoinSet::new();
    for _ in 0..32 {
        calls.spawn(connected.peer.call(call()));
    }
    while let Some(reply) = soon(calls.join_next()).await {
        reply.unwrap().unwrap();
    }
    let ids: std::collections::HashSet<u64> = script
        .seen()
        .iter()
        .filter(|seen| seen.method() == "tools/call")
        .map(|seen| seen.id())
        .collect();
    assert_eq!(ids.len(), 32);
    let sessions = script.count(|seen| seen.method() == "initialize");
    assert_eq!(sessions, 1);
}

#[tokio::test]
async fn a_connection_closed_between_calls_is_replaced() {
    let script = Script::calls(None, |seen| {
        let mut steps = result(seen);
        steps.push(Step::Close);
        steps
    })
    .await;
    let (connector, connected) = connect(options(&script)).await;
    for n in 1..=5 {
        run(&connected, call()).await.unwrap();
        script.wait_for_closed(n).await;
        // Lets the runtime see what the kernel knows already.
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(script.count(|seen| seen.method() == "tools/call"), 5);
    assert!(connector.connections().0 >= 5);
}

#[tokio::test]
async fn an_announced_keep_alive_is_respected() {
    let script = Script::calls(None, |seen| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, seen.id());
        let headers = "content-type: application/json\r\nkeep-alive: timeout=1, max=5\r\n";
        vec![response(200, headers, &body)]
    })
    .await;
    let (_connector, connected) = connect(options(&script)).await;
    run(&connected, call()).await.unwrap();
    run(&connected, call()).await.unwrap();
    let calls: Vec<usize> = script
        .seen()
        .iter()
        .filter(|seen| seen.method() == "tools/call")
        .map(|seen| seen.connection)
        .collect();
    assert_ne!(
        calls[0], calls[1],
        "within its last second a connection is not used again"
    );
}

#[tokio::test]
async fn a_backend_that_is_gone_is_reported_and_nothing_was_sent() {
    let mut script = Script::calls(None, result).await;
    let (_connector, mut connected) = connect(options(&script)).await;
    run(&connected, call()).await.unwrap();
    soon(script.stop()).await;
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    assert_kind(run(&connected, call()).await, ErrorKind::NotSent);
    match soon(connected.events.recv()).await {
        Some(PeerEvent::Closed(error)) => assert_eq!(error.kind(), ErrorKind::NotSent),
        other => panic!("{other:?}"),
    }
    assert!(soon(connected.events.recv()).await.is_none(), "nothing comes after it");
}

#[tokio::test]
async fn nobody_at_the_port_is_an_error_without_addresses() {
    let port = mcp_proxy_test::free_port().unwrap();
    let url = format!("http://localhost:{port}/mcp");
    let options = mcp_proxy_transport::client::options::HttpOptions::new(url.parse().unwrap());
    let connector = mcp_proxy_transport::client::http::HttpConnector::new(options);
    let connecting =
        mcp_proxy_transport::client::Connector::connect(&connector, <dyn mcp_proxy_core::Downstream>::nobody());
    let Err(error) = soon(connecting).await else {
        panic!("connected to nobody")
    };
    assert_eq!(error.kind(), ErrorKind::NotSent);
    let said = error.to_rpc().raw().as_str().to_owned();
    assert!(
        !said.contains("localhost") && !said.contains(&port.to_string()),
        "{said}"
    );
}

#[tokio::test]
async fn silence_ends_a_call_and_the_backend_is_told() {
    let script = Script::calls(Some("s"), |seen| match seen.method().as_str() {
        "tools/call" => vec![Step::Hang],
        _ => vec![response(202, "", "")],
    })
    .await;
    let mut options = options(&script);
    options.idle_timeout = Duration::from_millis(100);
    let (_connector, connected) = connect(options).await;
    assert_kind(run(&connected, call()).await, ErrorKind::Timeout { sent: true });
    let asked = script.wait_for(|seen| seen.method() == "tools/call").await;
    let told = soon(script.wait_for(|seen| seen.method() == "notifications/cancelled")).await;
    assert_eq!(told.json()["params"]["requestId"], asked.id());
    assert_eq!(told.header("mcp-session-id"), Some("s"));
}

#[tokio::test]
async fn anything_that_arrives_ends_the_silence() {
    let script = Script::calls(None, |seen| {
        let mut steps = vec![super::script::stream_head()];
        for _ in 0..12 {
            steps.extend([
                Step::Pause(Duration::from_millis(100)),
                super::script::send(": still here\n\n"),
            ]);
        }
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, seen.id());
        steps.extend([super::script::event(answer), Step::Close]);
        steps
    })
    .await;
    let mut options = options(&script);
    options.idle_timeout = Duration::from_secs(1);
    let (_connector, connected) = connect(options).await;
    run(&connected, call()).await.unwrap();
}

#[tokio::test]
async fn dropping_a_call_cancels_it_at_the_backend() {
    let script = Script::calls(Some("s"), |seen| match seen.method().as_str() {
        "tools/call" => vec![Step::Hang],
        _ => vec![response(202, "", "")],
    })
    .await;
    let (_connector, connected) = connect(options(&script)).await;
    let asked = {
        let call = connected.peer.call(call());
        tokio::select! {
            reply = call => panic!("{reply:?}"),
            asked = soon(script.wait_for(|seen| seen.method() == "tools/call")) => asked,
        }
    };
    let told = soon(script.wait_for(|seen| seen.method() == "notifications/cancelled")).await;
    assert_eq!(told.json()["params"]["requestId"], asked.id());
}

#[tokio::test]
async fn an_answered_call_is_not_cancelled() {
    let script = Script::calls(None, result).await;
    let (_connector, connected) = connect(options(&script)).await;
    for _ in 0..3 {
        run(&connected, call()).await.unwrap();
    }
    soon(connected.peer.close()).await;
    assert_eq!(script.count(|seen| seen.method() == "notifications/cancelled"), 0);
}
