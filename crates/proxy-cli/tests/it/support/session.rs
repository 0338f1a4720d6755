//! A small client of the session era, ours only to see the wire: ids and tokens are the test's to choose.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::http::{Answer, Arriving, Http, messages};

/// An open session.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) http: Http,
    pub(crate) id: Option<String>,
    pub(crate) version: String,
    /// The result of `initialize`.
    pub(crate) welcome: Value,
    /// Ids for requests whose id does not matter; no two that run at a time may be equal.
    next_id: Arc<AtomicU64>,
}

/// Why a request has no result.
#[derive(Clone, Debug)]
pub(crate) enum SessionError {
    /// The answer is a JSON-RPC error.
    Rpc(Value),
    /// There is no JSON-RPC answer: connection lost, or a status that is none of 200.
    Transport(String),
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rpc(error) => write!(f, "{error}"),
            Self::Transport(text) => f.write_str(text),
        }
    }
}

/// What came back for one request: first what was said meanwhile, then the whole final message.
pub(crate) struct Exchange {
    pub(crate) interim: Vec<Value>,
    pub(crate) reply: Value,
}

impl Session {
    /// `initialize` and `notifications/initialized`, with no capabilities.
    pub(crate) async fn open(http: Http, version: &str) -> Result<Self, SessionError> {
        Self::open_with(http, version, json!({})).await
    }

    /// As [`open`](Self::open), with these capabilities.
    pub(crate) async fn open_with(http: Http, version: &str, capabilities: Value) -> Result<Self, SessionError> {
        let mut session = Self {
            http,
            id: None,
            version: version.to_owned(),
            welcome: Value::Null,
            next_id: Arc::new(AtomicU64::new(1000)),
        };
        let params = json!({
            "protocolVersion": version,
            "capabilities": capabilities,
            "clientInfo": { "name": "it", "version": "1.0.0" },
        });
        let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
        let answer = session.post(&body).await?;
        session.id = answer.header("mcp-session-id").map(str::to_owned);
        session.welcome = finish(answer)?.result()?;
        session.notify("notifications/initialized", json!({})).await?;
        Ok(session)
    }

    /// The headers of every request inside the session.
    pub(crate) fn headers(&self) -> Vec<(&str, &str)> {
        let mut headers = vec![("mcp-protocol-version", self.version.as_str())];
        headers.extend(self.id.as_deref().map(|id| ("mcp-session-id", id)));
        headers
    }

    /// Posts one message and reads the whole answer.
    pub(crate) async fn post(&self, message: &Value) -> Result<Answer, SessionError> {
        self.begin(message)
            .await?
            .try_whole()
            .await
            .map_err(SessionError::Transport)
    }

    /// Posts one message and hands back the answer while it is still arriving.
    pub(crate) async fn begin(&self, message: &Value) -> Result<Arriving, SessionError> {
        let mut headers = self.headers();
        headers.push(("content-type", "application/json"));
        headers.push(("accept", "application/json, text/event-stream"));
        let opened = self.http.open(Method::POST, &headers, message.to_string()).await;
        opened.map_err(SessionError::Transport)
    }

    /// One request with an id of the caller's choice.
    pub(crate) async fn exchange(&self, id: Value, method: &str, params: Value) -> Result<Exchange, SessionError> {
        finish(
            self.post(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
                .await?,
        )
    }

    /// One request, its result.
    pub(crate) async fn request(&self, method: &str, params: Value) -> Result<Value, SessionError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.exchange(json!(id), method, params).await?.result()
    }

    /// One tool call, its result.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Result<Value, SessionError> {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments }))
            .await
    }

    /// One notification; anything but 202 with an empty body is an error.
    pub(crate) async fn notify(&self, method: &str, params: Value) -> Result<(), SessionError> {
        let answer = self
            .post(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
            .await?;
        if answer.status == StatusCode::ACCEPTED && answer.body.is_empty() {
            return Ok(());
        }
        Err(SessionError::Transport(format!(
            "{method} was answered {} {:?}",
            answer.status, answer.body
        )))
    }

    /// All pages of a list.
    pub(crate) async fn list(&self, method: &str, member: &str) -> Result<Vec<Value>, SessionError> {
        let mut items = Vec::new();
        let mut params = json!({});
        for _ in 0..1000 {
            let mut page = self.request(method, params).await?;
            items.append(page[member].as_array_mut().unwrap_or(&mut Vec::new()));
            match page.get("nextCursor") {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => return Ok(items),
            }
        }
        Err(SessionError::Transport(format!(
            "{method} did not end after 1000 pages"
        )))
    }

    /// Opens the stream of messages that belong to no request.
    pub(crate) async fn listen(&self) -> Arriving {
        let mut headers = self.headers();
        headers.push(("accept", "text/event-stream"));
        let stream = self
            .http
            .open(Method::GET, &headers, "")
            .await
            .expect("the stream opens");
        assert_eq!(stream.status, StatusCode::OK, "GET opens a stream");
        stream
    }

    /// Ends the session.
    pub(crate) async fn close(self) -> StatusCode {
        self.http.send(Method::DELETE, &self.headers(), "").await.status
    }
}

impl Exchange {
    /// The result, or the error that came in its place.
    pub(crate) fn result(mut self) -> Result<Value, SessionError> {
        match self.reply.get_mut("error") {
            Some(error) => Err(SessionError::Rpc(error.take())),
            None => Ok(self.reply["result"].take()),
        }
    }
}

/// Takes the final message out of an answer, whichever form it has.
fn finish(answer: Answer) -> Result<Exchange, SessionError> {
    let kind = answer.header("content-type").unwrap_or_default().to_owned();
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let mut interim = if kind.starts_with("text/event-stream") {
        messages(&text)
    } else {
        serde_json::from_str(&text)
            .map(|message| vec![message])
            .unwrap_or_default()
    };
    let status = answer.status;
    match interim.pop() {
        Some(reply) if reply.get("id").is_some() && reply.get("method").is_none() => Ok(Exchange { interim, reply }),
        _ => Err(SessionError::Transport(format!(
            "no JSON-RPC answer in {status} {text:?}"
        ))),
    }
}
