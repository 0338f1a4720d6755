//! Requests written by hand and answers looked at whole: status, headers, bytes.
//!
//! Each request opens its own connection. That is slower than a pool and says more: nothing carries over.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Longest wait for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Where requests go.
#[derive(Clone)]
pub(crate) struct Http {
    pub(crate) address: SocketAddr,
    path: String,
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An answer whose body is still arriving. The connection lives in here: dropping it hangs up.
pub(crate) struct Arriving {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    buffer: Vec<u8>,
    _connection: JoinSet<()>,
}

impl Http {
    pub(crate) fn new(address: SocketAddr, path: &str) -> Self {
        Self {
            address,
            path: path.to_owned(),
        }
    }

    /// The same server on another path.
    pub(crate) fn at(&self, path: &str) -> Self {
        Self::new(self.address, path)
    }

    /// One request with these headers and no others but `host`, which a header of that name replaces.
    pub(crate) async fn send(&self, method: Method, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        self.open(method, headers, body)
            .await
            .expect("the server answers")
            .whole()
            .await
    }

    /// A POST as a well-behaved client writes it; `headers` come on top and replace.
    pub(crate) async fn post(&self, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let mut all = vec![
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        all.retain(|(name, _)| !headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)));
        all.extend_from_slice(headers);
        self.send(Method::POST, &all, body).await
    }

    /// One request, its answer not yet read. A failure to connect or a connection that breaks off is an `Err`.
    pub(crate) async fn open(
        &self,
        method: Method,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Arriving, String> {
        let mut request = Request::new(Full::new(body.into()));
        *request.method_mut() = method;
        *request.uri_mut() = self.path.parse().expect("a path of our own");
        let host = self.address.to_string();
        request.headers_mut().insert(
            "host",
            HeaderValue::from_str(&host).expect("an address is a header value"),
        );
        for (name, value) in headers {
            let name = hyper::header::HeaderName::from_bytes(name.as_bytes()).expect("a header name of our own");
            request
                .headers_mut()
                .insert(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
        }
        tokio::time::timeout(ANSWER_LIMIT, self.exchange(request))
            .await
            .map_err(|_| format!("no answer within {ANSWER_LIMIT:?}"))?
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Arriving, String> {
        let stream = TcpStream::connect(self.address)
            .await
            .map_err(|error| format!("connect: {error}"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| format!("http: {error}"))?;
        let mut owner = JoinSet::new();
        owner.spawn(async move {
            // Its failure shows in the body's.
            let _ = connection.await;
        });
        let response: Response<Incoming> = sender
            .send_request(request)
            .await
            .map_err(|error| format!("http: {error}"))?;
        let (head, body) = response.into_parts();
        Ok(Arriving {
            status: head.status,
            headers: head.headers,
            body,
            buffer: Vec::new(),
            _connection: owner,
        })
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON, be it the whole body or the last message of an event stream.
    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        if self
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/event-stream"))
        {
            return messages(&text).pop().unwrap_or_default();
        }
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in the body of {} {text:?}", self.status))
    }

    /// The `error.code` of a JSON-RPC answer.
    pub(crate) fn code(&self) -> Option<i64> {
        self.json()["error"]["code"].as_i64()
    }
}

impl Arriving {
    /// Reads to the end.
    ///
    /// # Panics
    /// When the body breaks off or does not end in time.
    pub(crate) async fn whole(self) -> Answer {
        self.try_whole().await.expect("a whole body")
    }

    /// Reads to the end; a body that breaks off is an `Err`.
    pub(crate) async fn try_whole(self) -> Result<Answer, String> {
        let Self {
            status,
            headers,
            body,
            _connection,
            ..
        } = self;
        let body = tokio::time::timeout(ANSWER_LIMIT, body.collect())
            .await
            .map_err(|_| format!("the body did not end within {ANSWER_LIMIT:?}"))?
            .map_err(|error| format!("the body broke off: {error}"))?;
        Ok(Answer {
            status,
            headers,
            body: body.to_bytes(),
        })
    }

    /// The next bytes of the body as they come, comments and all; `None` at its end.
    pub(crate) async fn next_chunk(&mut self) -> Option<String> {
        let frame = tokio::time::timeout(ANSWER_LIMIT, self.body.frame())
            .await
            .expect("the stream says something");
        Some(String::from_utf8_lossy(frame?.ok()?.data_ref()?).into_owned())
    }

    /// The next message and its text, be the answer an event stream or one JSON text; `None` at its end.
    pub(crate) async fn next_any(&mut self) -> Option<(Value, String)> {
        let kind = self.headers.get("content-type").and_then(|kind| kind.to_str().ok());
        if kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return self.next_event().await;
        }
        while let Some(frame) = self.frame().await {
            self.buffer.extend_from_slice(&frame);
        }
        let text = String::from_utf8(std::mem::take(&mut self.buffer)).expect("UTF-8");
        (!text.is_empty()).then(|| (serde_json::from_str(&text).expect("JSON"), text))
    }

    /// The next message of an event stream; `None` at its end. Comments and empty events are passed over.
    pub(crate) async fn next_message(&mut self) -> Option<Value> {
        Some(self.next_event().await?.0)
    }

    async fn next_event(&mut self) -> Option<(Value, String)> {
        // What was looked through without finding an end of an event is not looked through again: answers are large.
        let mut seen = 0;
        loop {
            if let Some((end, rest)) = end_of_event(&self.buffer, seen) {
                let event = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..rest);
                seen = 0;
                match messages(&event).pop() {
                    Some(message) => return Some((message, event)),
                    None => continue,
                }
            }
            seen = self.buffer.len().saturating_sub(3);
            let frame = self.frame().await?;
            self.buffer.extend_from_slice(&frame);
        }
    }

    async fn frame(&mut self) -> Option<Bytes> {
        let frame = tokio::time::timeout(ANSWER_LIMIT, self.body.frame()).await;
        frame.expect("the stream says something")?.ok()?.into_data().ok()
    }
}

/// Where the first event ends, and where the rest begins, looking from `seen` on.
fn end_of_event(buffer: &[u8], seen: usize) -> Option<(usize, usize)> {
    let ends = |mark: &[u8]| {
        let found = buffer.get(seen..)?.windows(mark.len()).position(|bytes| bytes == mark);
        found.map(|at| (seen + at, seen + at + mark.len()))
    };
    [ends(b"\n\n"), ends(b"\r\n\r\n")].into_iter().flatten().min()
}

/// The JSON messages of an event stream's text, in order.
pub(super) fn messages(text: &str) -> Vec<Value> {
    text.replace("\r\n", "\n")
        .split("\n\n")
        .filter_map(|event| {
            let data = event
                .lines()
                .filter_map(|line| line.strip_prefix("data:"))
                .map(|line| line.strip_prefix(' ').unwrap_or(line))
                .collect::<Vec<_>>()
                .join("\n");
            if data.is_empty() {
                None
            } else {
                Some(serde_json::from_str(&data).expect("an event holds JSON"))
            }
        })
        .collect()
}
