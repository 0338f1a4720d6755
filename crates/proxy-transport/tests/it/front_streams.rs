//! Clients over WebSocket and HTTP+SSE behind real sockets, mostly our own: a proxy in front of a proxy.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mcp_proxy_core::json::Params;
use mcp_proxy_core::{Call, Downstream, ErrorKind, Method, Reply};
use mcp_proxy_transport::client::options::HttpOptions;
use mcp_proxy_transport::client::sse::SseConnector;
use mcp_proxy_transport::client::websocket::WebSocketConnector;
use mcp_proxy_transport::client::{Connected, Connector};
use mcp_proxy_transport::server::options::FrontOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::front::{Served, ask, on_tcp, serve_as};

const LIMIT: Duration = Duration::from_secs(20);

/// A front that takes clients either way.
async fn serve() -> Served {
    let options = FrontOptions {
        websocket: true,
        sse: true,
        body_bytes: 1000,
        ..FrontOptions::default()
    };
    serve_as(on_tcp(), options).await
}

#[derive(Clone, Copy, Debug)]
enum Way {
    WebSocket,
    Sse,
}

async fn connect(served: &Served, way: Way) -> Connected {
    let url = match way {
        Way::WebSocket => format!("ws://127.0.0.1:{}/mcp", served.port),
        Way::Sse => format!("http://127.0.0.1:{}/sse", served.port),
    };
    let options = HttpOptions::new(url.parse().unwrap());
    let connector: Arc<dyn Connector> = match way {
        Way::WebSocket => Arc::new(WebSocketConnector::new("front", options)),
        Way::Sse => Arc::new(SseConnector::new("front", options)),
    };
    let connected = tokio::time::timeout(LIMIT, connector.connect(<dyn Downstream>::nobody())).await;
    connected.unwrap().unwrap()
}

fn tool(name: &str) -> Call {
    let params = Params::parse(format!(r#"{{"name":"{name}"}}"#)).unwrap();
    Call::new(Method::ToolsCall).with_params(params)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    assert!(
        tokio::time::timeout(LIMIT, waited).await.is_ok(),
        "waited in vain until {what}"
    );
}

#[tokio::test]
async fn clients_come_either_way() {
    let served = serve().await;
    for way in [Way::WebSocket, Way::Sse] {
        let connected = connect(&served, way).await;
        let answer = tokio::time::timeout(LIMIT, connected.peer.call(tool("echo"))).await;
        match answer.unwrap().unwrap() {
            Reply::Result(result) => assert_eq!(result.get("ok").unwrap().as_str(), "true", "{way:?}"),
            Reply::Error(error) => panic!("{way:?}: {error:?}"),
        }
        connected.peer.close().await;
        until("the session has ended", || served.front.session_count() == 0).await;
    }
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_nothing() {
    let served = serve().await;
    for (count, way) in [Way::WebSocket, Way::Sse].into_iter().enumerate() {
        let connected = connect(&served, way).await;
        let peer = connected.peer.clone();
        let mut calls = JoinSet::new();
        for _ in 0..3 {
            let peer = peer.clone();
            calls.spawn(async move { peer.call(tool("gate")).await });
        }
        served.state.reaches(&served.state.started, 3 * (count + 1)).await;
        connected.peer.close().await;
        while let Some(call) = calls.join_next().await {
            call.unwrap().unwrap_err();
        }
        until("the calls are cancelled", || served.front.running_calls() == 0).await;
        assert_eq!(served.state.finished.load(Ordering::SeqCst), 0, "{way:?}");
    }
    served.stop().await;
}

#[tokio::test]
async fn draining_answers_what_runs_and_ends_the_streams() {
    for way in [Way::WebSocket, Way::Sse] {
        let served = serve().await;
        let mut connected = connect(&served, way).await;
        let (peer, mut calls) = (connected.peer.clone(), JoinSet::new());
        calls.spawn(async move { peer.call(tool("gate")).await });
        served.state.reaches(&served.state.started, 1).await;
        let (front, mut draining) = (served.front.clone(), JoinSet::new());
        draining.spawn(async move { front.drain(Instant::now() + LIMIT).await });
        served.state.gate.add_permits(1);
        let answer = tokio::time::timeout(LIMIT, calls.join_next()).await.unwrap();
        assert!(matches!(answer, Some(Ok(Ok(Reply::Result(_))))), "{way:?}: {answer:?}");
        draining.join_next().await.unwrap().unwrap();
        let ended = async { while connected.events.recv().await.is_some() {} };
        tokio::time::timeout(LIMIT, ended).await.unwrap();
        served.stop().await;
    }
}

#[tokio::test]
async fn a_message_beyond_the_bound_ends_a_socket_and_refuses_a_post() {
    let served = serve().await;
    let long = "x".repeat(2000);
    let connected = connect(&served, Way::WebSocket).await;
    match connected.peer.call(tool(&long)).await.unwrap() {
        Reply::Error(error) => assert_eq!(error.message(), "a message is longer than 1000 bytes"),
        Reply::Result(result) => panic!("{result:?}"),
    }
    until("the session has ended", || served.front.session_count() == 0).await;
    let connected = connect(&served, Way::Sse).await;
    let refused = connected.peer.call(tool(&long)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Refused);
    connected.peer.call(tool("echo")).await.unwrap();
    drop(connected);
    served.stop().await;
}

/// The head of the answer to a handshake, and what follows it is left alone.
async fn shake(served: &Served, headers: &str) -> String {
    let request = format!("GET /mcp HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
    ask(&mut served.connect().await, &request).await
}

const GOOD: &str = "connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-version: 13\r\n\
                    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn handshakes_are_judged() {
    let served = serve().await;
    // The example of RFC 6455, 1.3.
    let opened = shake(&served, &format!("{GOOD}sec-websocket-protocol: chat, mcp\r\n")).await;
    assert!(opened.starts_with("HTTP/1.1 101 "), "{opened}");
    assert!(
        opened.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
        "{opened}"
    );
    assert!(opened.contains("sec-websocket-protocol: mcp\r\n"), "{opened}");
    assert!(!shake(&served, GOOD).await.contains("sec-websocket-protocol"));
    for (headers, status) in [
        (format!("{GOOD}sec-websocket-protocol: chat\r\n"), 400),
        (GOOD.replace("13", "8"), 426),
        (GOOD.replace("dGhl", ""), 400),
        (GOOD.replace("keep-alive, Upgrade", "keep-alive"), 400),
        (format!("{GOOD}origin: https://evil.example\r\n"), 403),
    ] {
        let refused = shake(&served, &headers).await;
        assert!(
            refused.starts_with(&format!("HTTP/1.1 {status} ")),
            "{headers}: {refused}"
        );
    }
    served.stop().await;
}

#[tokio::test]
async fn neither_way_is_open_unless_it_was_asked_for() {
    let served = serve_as(on_tcp(), FrontOptions::default()).await;
    let refused = shake(&served, GOOD).await;
    assert!(refused.starts_with("HTTP/1.1 4"), "{refused}");
    let request = "GET /sse HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
    let refused = ask(&mut served.connect().await, request).await;
    assert!(refused.starts_with("HTTP/1.1 404 "), "{refused}");
    served.stop().await;
}

#[tokio::test]
async fn posts_find_their_stream_or_nothing() {
    let served = serve().await;
    let mut stream = served.connect().await;
    let request = "GET /sse HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = String::new();
    let id = loop {
        let mut some = [0; 1000];
        let read = stream.read(&mut some).await.unwrap();
        said += std::str::from_utf8(&some[..read]).unwrap();
        if let Some((_, rest)) = said.split_once("event: endpoint\ndata: /message?sessionId=")
            && let Some((id, _)) = rest.split_once("\n\n")
        {
            break id.to_owned();
        }
    };
    let post = |target: &str, more: &str, body: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nhost: localhost\r\n{more}content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let json = "content-type: application/json\r\n";
    let nobody = "0".repeat(32);
    for (request, status) in [
        (post(&format!("/message?sessionId={id}"), json, "{nonsense"), 202),
        (post(&format!("/message?a=b&sessionId={id}"), json, "{}"), 202),
        (post(&format!("/message?sessionId={id}"), "", "{}"), 415),
        (post(&format!("/message?sessionId={nobody}"), json, "{}"), 404),
        (post("/message", json, "{}"), 404),
        (post("/sse", json, "{}"), 405),
        (
            post(
                &format!("/message?sessionId={id}"),
                &format!("{json}origin: https://evil.example\r\n"),
                "{}",
            ),
            403,
        ),
    ] {
        let answer = ask(&mut served.connect().await, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
    }
    drop(stream);
    let gone = post(&format!("/message?sessionId={id}"), json, "{}");
    let mut answer = String::new();
    let deadline = Instant::now() + LIMIT;
    while !answer.starts_with("HTTP/1.1 404 ") {
        assert!(Instant::now() < deadline, "{answer}");
        answer = ask(&mut served.connect().await, &gone).await;
    }
    served.stop().await;
}
