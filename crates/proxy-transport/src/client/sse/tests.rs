use std::time::Duration;

use mcp_proxy_core::{Call, ErrorKind, Method, Reply};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::client::PeerEvent;

/// The other side: a listener whose connections do what a test says.
struct Backend {
    listener: TcpListener,
}

struct Asked {
    stream: BufReader<TcpStream>,
    line: String,
    head: String,
    body: String,
}

impl Backend {
    async fn new() -> (Self, SseConnector) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sse", listener.local_addr().unwrap());
        let mut options = HttpOptions::new(url.parse().unwrap());
        options.max_message_bytes = 1000;
        (Self { listener }, SseConnector::new("test", options))
    }

    /// The next request on a new connection.
    async fn asked(&self) -> Asked {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let (mut line, mut head) = (String::new(), String::new());
        stream.read_line(&mut line).await.unwrap();
        while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await.unwrap() > 2 {}
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        Asked {
            stream,
            line,
            head,
            body,
        }
    }

    /// Opens the stream with these events.
    async fn stream(&self, events: &str) -> TcpStream {
        let asked = self.asked().await;
        assert_eq!(asked.line, "GET /sse HTTP/1.1\r\n");
        assert!(asked.head.contains("accept: text/event-stream"));
        let mut stream = asked.stream.into_inner();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        stream.write_all(format!("{head}{events}").as_bytes()).await.unwrap();
        stream
    }

    /// Takes one posted message and answers with a status.
    async fn posted(&self, status: &str) -> String {
        let mut asked = self.asked().await;
        assert_eq!(asked.line, "POST /messages?session=7 HTTP/1.1\r\n");
        let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        asked.stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
        asked.body
    }

    async fn say(stream: &mut TcpStream, text: &str) {
        let event = format!("event: message\ndata: {text}\n\n");
        stream.write_all(event.as_bytes()).await.unwrap();
    }
}

const ENDPOINT: &str = "event: endpoint\ndata: /messages?session=7\n\n";

async fn connected() -> (Connected, Backend, TcpStream) {
    let (backend, connector) = Backend::new().await;
    let script = async {
        let mut stream = backend.stream(ENDPOINT).await;
        assert!(backend.posted("202 Accepted").await.contains("initialize"));
        let welcome = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2024-11-05","capabilities":{}}}"#;
        Backend::say(&mut stream, welcome).await;
        assert!(
            backend
                .posted("202 Accepted")
                .await
                .contains("notifications/initialized")
        );
        stream
    };
    let (connected, stream) = tokio::join!(connector.connect(<dyn mcp_proxy_core::Downstream>::nobody()), script);
    (connected.unwrap(), backend, stream)
}

async fn refused(events: &str) -> Error {
    let (backend, connector) = Backend::new().await;
    let (connected, _) = tokio::join!(connector.connect(<dyn mcp_proxy_core::Downstream>::nobody()), async {
        drop(backend.stream(events).await)
    });
    connected.err().expect("no connection")
}

#[tokio::test]
async fn answers_to_posts_come_on_the_stream() {
    let (Connected { peer, .. }, backend, mut stream) = connected().await;
    let script = async {
        let text = backend.posted("202 Accepted").await;
        assert_eq!(text, r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#);
        Backend::say(&mut stream, r#"{"jsonrpc":"2.0","id":2,"result":{"a":1}}"#).await;
    };
    let (reply, ()) = tokio::join!(peer.call(Call::new(Method::Ping)), script);
    assert!(matches!(reply.unwrap(), Reply::Result(result) if result.as_str() == r#"{"a":1}"#));
}

#[tokio::test]
async fn an_endpoint_of_another_origin_is_refused() {
    for named in [
        "http://evil.test/messages",
        "//evil.test/messages",
        "https://127.0.0.1/m",
        "http://127.0.0.1:1/m",
    ] {
        let error = refused(&format!("event: endpoint\ndata: {named}\n\n")).await;
        assert_eq!(error.kind(), ErrorKind::ServerFault);
        assert!(error.to_string().contains("another origin"), "{named}: {error}");
    }
}

#[tokio::test]
async fn a_stream_that_begins_with_something_else_is_refused() {
    for events in ["data: {}\n\n", "", ": nothing\n\n"] {
        let error = refused(events).await;
        assert_eq!(error.kind(), ErrorKind::ServerFault);
        assert!(error.to_string().contains("`endpoint`"), "{error}");
    }
}

#[tokio::test]
async fn a_refused_message_fails_its_call_only() {
    let (Connected { peer, .. }, backend, mut stream) = connected().await;
    let (refused, _) = tokio::join!(
        peer.call(Call::new(Method::Ping)),
        backend.posted("413 Payload Too Large")
    );
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Refused);
    let script = async {
        backend.posted("202 Accepted").await;
        Backend::say(&mut stream, r#"{"jsonrpc":"2.0","id":3,"result":{}}"#).await;
    };
    let (reply, ()) = tokio::join!(peer.call(Call::new(Method::Ping)), script);
    assert!(reply.is_ok());
}

#[tokio::test]
async fn a_backend_that_has_forgotten_the_connection_is_connected_again() {
    let (Connected { peer, mut events, .. }, backend, _stream) = connected().await;
    let (reply, _) = tokio::join!(peer.call(Call::new(Method::Ping)), backend.posted("404 Not Found"));
    assert_eq!(reply.unwrap_err().kind(), ErrorKind::Refused);
    assert!(matches!(events.recv().await, Some(PeerEvent::Closed(_))));
}

#[tokio::test]
async fn the_end_of_the_stream_fails_its_calls_at_once() {
    let (Connected { peer, mut events, .. }, backend, stream) = connected().await;
    let script = async {
        backend.posted("202 Accepted").await;
        drop(stream);
    };
    let (reply, ()) = tokio::join!(peer.call(Call::new(Method::Ping)), script);
    assert_eq!(reply.unwrap_err().kind(), ErrorKind::SentUnknown);
    assert!(matches!(events.recv().await, Some(PeerEvent::Closed(_))));
}

#[tokio::test]
async fn an_event_beyond_the_bound_ends_the_connection() {
    let (
        Connected {
            peer: _peer,
            mut events,
            ..
        },
        _backend,
        mut stream,
    ) = connected().await;
    Backend::say(&mut stream, &"x".repeat(2000)).await;
    let Some(PeerEvent::Closed(reason)) = events.recv().await else {
        panic!("the connection must close")
    };
    assert_eq!(reason.to_string(), "the backend sent a message longer than 1000 bytes");
}

#[tokio::test]
async fn a_post_that_is_not_accepted_holds_up_nobody() {
    let (Connected { peer, .. }, backend, mut stream) = connected().await;
    let mut calls = JoinSet::new();
    calls.spawn(peer.call(Call::new(Method::Ping)));
    let held = backend.asked().await;
    calls.spawn(peer.call(Call::new(Method::Ping)));
    let second = tokio::time::timeout(Duration::from_secs(10), backend.posted("202 Accepted"));
    assert!(second.await.unwrap().contains(r#""id":3"#));
    for id in [3, 2] {
        Backend::say(&mut stream, &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)).await;
        assert!(calls.join_next().await.unwrap().unwrap().is_ok());
    }
    drop(held);
}
