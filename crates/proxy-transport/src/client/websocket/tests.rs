use std::time::Duration;

use futures_core::Stream;
use futures_sink::Sink;
use mcp_proxy_core::{Call, Error, ErrorKind, Method, Reply};
use tokio::io::DuplexStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::*;
use crate::client::PeerEvent;

/// The other side, which does what a test says.
struct Backend {
    socket: WebSocketStream<DuplexStream>,
    asked: http::HeaderMap,
}

const LIMIT: usize = 1000;

fn connector() -> WebSocketConnector {
    let mut options = HttpOptions::new("ws://backend.test:8443/mcp?a=1".parse().unwrap());
    options.bearer = Some(mcp_proxy_core::Secret::new("token".to_owned()));
    options.max_message_bytes = LIMIT;
    let connector = WebSocketConnector::new("test", options);
    // These are no tests of finding out the era.
    connector.memory.speaks_sessions();
    connector
}

async fn accept(stream: DuplexStream, subprotocol: Option<&'static str>) -> Backend {
    let mut asked = http::HeaderMap::new();
    #[expect(clippy::result_large_err, reason = "the signature is the library's")]
    let answer = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        assert_eq!(request.uri(), "/mcp?a=1");
        asked = request.headers().clone();
        if let Some(name) = subprotocol {
            let value = http::HeaderValue::from_static(name);
            response.headers_mut().insert("sec-websocket-protocol", value);
        }
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async(stream, answer).await.unwrap();
    Backend { socket, asked }
}

impl Backend {
    async fn read(&mut self) -> Option<Message> {
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut self.socket).poll_next(cx))
            .await
            .and_then(Result::ok)
    }

    async fn send(&mut self, message: Message) {
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut self.socket).poll_ready(cx))
            .await
            .unwrap();
        std::pin::Pin::new(&mut self.socket).start_send(message).unwrap();
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut self.socket).poll_flush(cx))
            .await
            .unwrap();
    }

    async fn welcome(mut self) -> Self {
        let opening = self.read().await.unwrap();
        assert!(opening.to_text().unwrap().contains(r#""method":"initialize""#));
        self.send(Message::text(
            r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-06-18","capabilities":{}}}"#,
        ))
        .await;
        let initialized = self.read().await.unwrap();
        assert!(initialized.to_text().unwrap().contains("notifications/initialized"));
        self
    }
}

async fn attempt(subprotocol: Option<&'static str>) -> (Result<Connected, Error>, Backend) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let connector = connector();
    let reach = connector.reach.as_ref().unwrap();
    let backend = async {
        let backend = accept(theirs, subprotocol).await;
        match subprotocol {
            Some("mcp") => backend.welcome().await,
            _ => backend,
        }
    };
    tokio::join!(
        connector.open_over(ours, reach, <dyn mcp_proxy_core::Downstream>::nobody()),
        backend
    )
}

async fn connected() -> (Connected, Backend) {
    let (connected, backend) = attempt(Some("mcp")).await;
    (connected.unwrap(), backend)
}

fn ping() -> Call {
    Call::new(Method::Ping)
}

/// A call under way, and what the other side does meanwhile.
async fn meanwhile(reaction: Message) -> (Error, Error) {
    let (Connected { peer, mut events, .. }, mut backend) = connected().await;
    let script = async {
        backend.read().await.unwrap();
        backend.send(reaction).await;
    };
    let (reply, ()) = tokio::join!(peer.call(ping()), script);
    let Some(PeerEvent::Closed(reason)) = events.recv().await else {
        panic!("the connection must close")
    };
    assert!(!peer.is_open());
    (reply.unwrap_err(), reason)
}

#[tokio::test]
async fn calls_are_text_messages_and_credentials_go_with_the_opening() {
    let (Connected { peer, hello, .. }, mut backend) = connected().await;
    assert_eq!(hello.version.as_str(), "2025-06-18");
    let header = |name: &str| backend.asked[name].to_str().unwrap();
    assert_eq!(header("host"), "backend.test:8443");
    assert_eq!(header("authorization"), "Bearer token");
    assert_eq!(header("sec-websocket-protocol"), "mcp");
    assert!(!backend.asked.contains_key("content-type"));
    let script = async {
        let text = backend.read().await.unwrap();
        assert_eq!(
            text.to_text().unwrap(),
            r#"{"jsonrpc":"2.0","id":2,"method":"ping","params":{}}"#
        );
        backend.send(Message::Ping("x".into())).await;
        backend
            .send(Message::text(r#"{"jsonrpc":"2.0","id":2,"result":{}}"#))
            .await;
        assert_eq!(backend.read().await, Some(Message::Pong("x".into())));
    };
    let call = ping().with_params(mcp_proxy_core::json::Params::parse("{}").unwrap());
    let (reply, ()) = tokio::join!(peer.call(call), script);
    assert!(matches!(reply.unwrap(), Reply::Result(_)));
    let closing = async {
        assert!(matches!(backend.read().await, Some(Message::Close(_)) | None));
    };
    tokio::join!(peer.close(), closing);
}

#[tokio::test]
async fn another_subprotocol_or_none_is_refused() {
    for subprotocol in [Some("chat"), None] {
        let (connected, _backend) = attempt(subprotocol).await;
        let error = connected.err().expect("no connection");
        assert_eq!(error.kind(), ErrorKind::ServerFault);
        assert!(error.to_string().contains("subprotocol `mcp`"), "{error}");
    }
}

#[tokio::test]
async fn a_message_beyond_the_bound_ends_the_connection() {
    let (call, reason) = meanwhile(Message::text("x".repeat(LIMIT + 1))).await;
    assert_eq!(reason.to_string(), "the backend sent a message longer than 1000 bytes");
    assert_eq!(call.kind(), ErrorKind::ServerFault);
}

#[tokio::test]
async fn a_binary_message_ends_the_connection() {
    let (call, reason) = meanwhile(Message::binary(&b"{}"[..])).await;
    assert!(reason.to_string().contains("binary"), "{reason}");
    assert_eq!(call.kind(), ErrorKind::ServerFault);
}

#[tokio::test]
async fn the_end_of_the_connection_fails_its_calls_at_once() {
    let (call, _) = meanwhile(Message::Close(None)).await;
    assert_eq!(call.kind(), ErrorKind::SentUnknown);

    let (Connected { peer, .. }, mut backend) = connected().await;
    let mut calls = JoinSet::new();
    calls.spawn(peer.call(ping()));
    backend.read().await.unwrap();
    drop(backend);
    let reply = calls.join_next().await.unwrap().unwrap();
    assert_eq!(
        reply.unwrap_err().kind(),
        ErrorKind::SentUnknown,
        "without a closing handshake"
    );
}

#[tokio::test]
async fn junk_is_passed_over() {
    let (Connected { peer, .. }, mut backend) = connected().await;
    let script = async {
        backend.read().await.unwrap();
        for text in ["", " ", "hello", r#"{"jsonrpc":"2.0","id":2,"result":{}}"#] {
            backend.send(Message::text(text)).await;
        }
    };
    let (reply, ()) = tokio::join!(peer.call(ping()), script);
    assert!(reply.is_ok());
}

#[tokio::test(start_paused = true)]
async fn silence_is_asked_for_a_sign_of_life_and_given_up_without_one() {
    let (Connected { peer, mut events, .. }, mut backend) = connected().await;
    let start = Instant::now();
    // Reading answers pings.
    for round in 1..=3 {
        assert!(matches!(backend.read().await, Some(Message::Ping(_))));
        assert_eq!(start.elapsed().as_secs(), 20 * round);
        // The pong is written by the next read or write.
        backend.send(Message::text(" ")).await;
    }
    assert!(peer.is_open());
    let Some(PeerEvent::Closed(reason)) = events.recv().await else {
        panic!("the connection must close")
    };
    assert_eq!(start.elapsed(), Duration::from_secs(60 + 20 + 10));
    assert_eq!(reason.kind(), ErrorKind::SentUnknown);
}

#[tokio::test]
async fn large_messages_both_ways_at_once_do_not_hang() {
    let mut connector = connector();
    connector.options.max_message_bytes = 1 << 20;
    let (ours, theirs) = tokio::io::duplex(4096);
    let reach = connector.reach.as_ref().unwrap();
    let welcome = async { accept(theirs, Some("mcp")).await.welcome().await };
    let (connected, mut backend) = tokio::join!(
        connector.open_over(ours, reach, <dyn mcp_proxy_core::Downstream>::nobody()),
        welcome
    );
    let peer = connected.unwrap().peer;
    let mut other = JoinSet::new();
    // It answers each call before it reads the next, as simple servers do.
    other.spawn(async move {
        while let Some(Message::Text(text)) = backend.read().await {
            let Ok(mcp_proxy_core::json::Message::Request(request)) =
                mcp_proxy_core::json::Message::scan(bytes::Bytes::from(text))
            else {
                continue;
            };
            let large = "y".repeat(200_000);
            let text = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"x":"{large}"}}}}"#, request.id);
            backend.send(Message::text(text)).await;
        }
    });
    let mut calls = JoinSet::new();
    let params = format!(r#"{{"x":"{}"}}"#, "x".repeat(200_000));
    for _ in 0..16 {
        let params = mcp_proxy_core::json::Params::parse(params.clone()).unwrap();
        calls.spawn(peer.call(ping().with_params(params)));
    }
    while let Some(reply) = calls.join_next().await {
        assert!(matches!(reply.unwrap().unwrap(), Reply::Result(result) if result.as_str().len() == 200_008));
    }
}
