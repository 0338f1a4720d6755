//! A bare HTTP client: one connection a request, nothing retried, nothing hidden.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use mcp_proxy_test::Fixture;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A client of one fixture, with the headers that it sends every time.
pub(crate) struct Client {
    address: SocketAddr,
    pub(crate) headers: Vec<(&'static str, String)>,
    connections: JoinSet<()>,
    last_id: u64,
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    unread: String,
}

/// One event of a stream.
#[derive(Debug, PartialEq)]
pub(crate) struct SseEvent {
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

impl Client {
    /// A client without a session.
    pub(crate) fn new(address: SocketAddr) -> Self {
        let headers = vec![
            ("accept", "application/json, text/event-stream".to_owned()),
            ("content-type", "application/json".to_owned()),
            ("host", address.to_string()),
        ];
        Self {
            address,
            headers,
            connections: JoinSet::new(),
            last_id: 0,
        }
    }

    /// A client with a session of that revision, able to do everything.
    pub(crate) async fn open(fixture: &Fixture, version: &str) -> Self {
        let mut client = Self::new(fixture.address());
        let reply = client.initialize(version).await;
        if let Some(id) = reply.headers.get("mcp-session-id") {
            client.set("mcp-session-id", id.to_str().unwrap());
        }
        client.set("mcp-protocol-version", version);
        let noted = client
            .post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
            .await;
        assert_eq!(noted.status, StatusCode::ACCEPTED);
        client
    }

    pub(crate) async fn initialize(&mut self, version: &str) -> Reply {
        let capabilities = json!({ "sampling": {}, "elicitation": { "form": {}, "url": {} }, "roots": {} });
        self.request(
            "initialize",
            json!({
                "protocolVersion": version,
                "capabilities": capabilities,
                "clientInfo": { "name": "test", "version": "1" }
            }),
        )
        .await
    }

    /// Sends a header from now on.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.unset(name);
        self.headers.push((name, value.to_owned()));
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.headers.retain(|(known, _)| *known != name);
    }

    pub(crate) fn session(&self) -> &str {
        &self
            .headers
            .iter()
            .find(|(name, _)| *name == "mcp-session-id")
            .expect("a session")
            .1
    }

    /// Sends a request under the next id.
    pub(crate) async fn request(&mut self, method: &str, params: Value) -> Reply {
        self.last_id += 1;
        let message = json!({ "jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params });
        self.post(&message).await
    }

    pub(crate) async fn call(&mut self, tool: &str, arguments: Value) -> Reply {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments }))
            .await
    }

    pub(crate) async fn notify(&mut self, method: &str, params: Value) {
        let reply = self
            .post(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
            .await;
        assert_eq!(reply.status, StatusCode::ACCEPTED);
    }

    pub(crate) async fn post(&mut self, message: &Value) -> Reply {
        self.send(Method::POST, message.to_string()).await
    }

    pub(crate) async fn get(&mut self) -> Reply {
        self.send(Method::GET, String::new()).await
    }

    pub(crate) async fn send(&mut self, method: Method, body: String) -> Reply {
        self.try_send(method, "/mcp", body).await.expect("an answer")
    }

    pub(crate) async fn try_send(&mut self, method: Method, path: &str, body: String) -> Result<Reply, hyper::Error> {
        let stream = TcpStream::connect(self.address).await.expect("a connection");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        self.connections.spawn(async move { drop(connection.await) });
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let response = sender
            .send_request(request.body(Full::new(Bytes::from(body))).expect("a request"))
            .await?;
        let (head, body) = response.into_parts();
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            body,
            unread: String::new(),
        })
    }

    /// Closes every connection at once, as a client does that dies.
    pub(crate) async fn leave(&mut self) {
        self.connections.shutdown().await;
    }
}

impl Reply {
    pub(crate) fn is_stream(&self) -> bool {
        self.headers
            .get("content-type")
            .is_some_and(|kind| kind == "text/event-stream")
    }

    pub(crate) async fn text(self) -> String {
        let body = self.body.collect().await.expect("a whole body").to_bytes();
        String::from_utf8(body.to_vec()).expect("UTF-8")
    }

    /// The answer, be it a JSON body or the last event of a stream.
    pub(crate) async fn json(mut self) -> Value {
        if !self.is_stream() {
            return serde_json::from_str(&self.text().await).expect("JSON");
        }
        loop {
            let message = self.message().await.expect("an answer on the stream");
            if message.get("method").is_none() {
                return message;
            }
        }
    }

    /// The next event that carries a message.
    pub(crate) async fn message(&mut self) -> Option<Value> {
        loop {
            let event = self.event().await?;
            if !event.data.is_empty() {
                return Some(serde_json::from_str(&event.data).expect("JSON"));
            }
        }
    }

    /// All messages until the stream ends.
    pub(crate) async fn messages(mut self) -> Vec<Value> {
        let mut messages = Vec::new();
        while let Some(message) = self.message().await {
            messages.push(message);
        }
        messages
    }

    /// The next event, or nothing at the end of the stream.
    pub(crate) async fn event(&mut self) -> Option<SseEvent> {
        loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let member = |name: &str| {
                    block
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .map(str::to_owned)
                };
                let event = SseEvent {
                    id: member("id: "),
                    data: member("data: ").unwrap_or_default(),
                };
                self.unread = rest.to_owned();
                return Some(event);
            }
            let frame = self.body.frame().await?.expect("a frame");
            if let Ok(data) = frame.into_data() {
                self.unread
                    .push_str(std::str::from_utf8(&data).expect("ASCII in tests"));
            }
        }
    }
}

/// Runs a test against a deadline, so that a hang is a failure.
pub(crate) async fn within<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), test)
        .await
        .expect("done in time")
}
