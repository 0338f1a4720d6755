//! The fixture over WebSocket, in both eras.

use futures_util::{SinkExt, StreamExt};
use mcp_proxy_test::{Era, Event, Fixture};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::client::within;

struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn open(fixture: &Fixture) -> Self {
        let mut request = fixture.url().into_client_request().unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-protocol", "mcp".parse().unwrap());
        let stream = TcpStream::connect(fixture.address()).await.unwrap();
        let (socket, response) = client_async(request, stream).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "mcp");
        Self(socket)
    }

    async fn send(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        loop {
            if let Message::Text(text) = within(self.0.next()).await.unwrap().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn each_connection_is_a_session_and_ends_with_it() {
    let fixture = Fixture::http().web_socket().await.unwrap();
    let mut socket = Socket::open(&fixture).await;
    let params = json!({
        "protocolVersion": "2025-11-25", "capabilities": { "sampling": {} }, "clientInfo": { "name": "t", "version": "1" }
    });
    socket
        .send(json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params }))
        .await;
    assert_eq!(socket.next().await["result"]["protocolVersion"], "2025-11-25");
    let call = json!({ "name": "test_sampling", "arguments": { "prompt": "?" } });
    socket
        .send(json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call }))
        .await;
    let question = socket.next().await;
    let answer = json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "yes" } });
    socket
        .send(json!({ "jsonrpc": "2.0", "id": question["id"], "result": answer }))
        .await;
    assert_eq!(socket.next().await["result"]["content"][0]["text"], "LLM response: yes");
    let call = json!({ "name": "silent", "arguments": {} });
    socket
        .send(json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": call }))
        .await;
    let silent =
        |event| move |entry: &mcp_proxy_test::Entry| entry.tool.as_deref() == Some("silent") && entry.event == event;
    within(fixture.ledger().wait_for(silent(Event::Received))).await;
    drop(socket);
    within(fixture.ledger().wait_for(silent(Event::Cancelled))).await;
    assert_eq!(fixture.sessions_live(), 0);
}

#[tokio::test]
async fn requests_of_the_sessionless_era_need_no_handshake() {
    let fixture = Fixture::http().web_socket().era(Era::Both).await.unwrap();
    let mut socket = Socket::open(&fixture).await;
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    socket
        .send(json!({ "jsonrpc": "2.0", "id": "a", "method": "server/discover", "params": { "_meta": meta } }))
        .await;
    assert_eq!(
        socket.next().await["result"]["supportedVersions"],
        json!(["2026-07-28"])
    );
}
