//! A fake [`App`] whose tools do what their names say, and a client that speaks to a [`Front`] without a socket.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use mcp_proxy_core::catalogue::{CatalogueBuilder, Item, Listing, Source};
use mcp_proxy_core::json::{Notification, Params, RawJson, Slot};
use mcp_proxy_core::names::Namespace;
use mcp_proxy_core::{Call, Error, Reply, Session, SessionKey, SharedService, codes};
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use super::super::{Front, FrontBody};
use crate::server::options::{FrontOptions, SessionOptions};
use crate::server::{App, Welcome};

/// What happened in the fake.
#[derive(Default)]
pub(super) struct Log {
    pub(super) started: AtomicUsize,
    pub(super) dropped: AtomicUsize,
    pub(super) finished: AtomicUsize,
    pub(super) refused_messages: AtomicUsize,
    pub(super) opened: AtomicUsize,
    pub(super) keys: Mutex<Vec<SessionKey>>,
    pub(super) closed: Mutex<Vec<SessionKey>>,
    pub(super) notified: Mutex<Vec<String>>,
    pub(super) changed: Notify,
    pub(super) missing: Mutex<Vec<String>>,
}

impl Log {
    fn count(&self, counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Waits until a counter has reached `count`.
    pub(super) async fn reaches(&self, counter: &AtomicUsize, count: usize) {
        loop {
            let changed = self.changed.notified();
            if counter.load(Ordering::SeqCst) >= count {
                return;
            }
            changed.await;
        }
    }
}

/// Counts itself out when its call ends early.
struct Guard(Arc<Log>, bool);

impl Drop for Guard {
    fn drop(&mut self) {
        let log = &self.0;
        log.count(if self.1 { &log.finished } else { &log.dropped });
    }
}

pub(super) struct Fake {
    pub(super) log: Arc<Log>,
    pub(super) gate: Arc<Semaphore>,
}

impl App for Fake {
    fn service(&self) -> SharedService {
        let (log, gate) = (self.log.clone(), self.gate.clone());
        SharedService::new(tower::service_fn(move |call: Call| {
            let guard = Guard(log.clone(), false);
            log.count(&log.started);
            let gate = gate.clone();
            async move {
                let mut guard = guard;
                let outcome = answer(call, &guard.0, &gate).await;
                guard.1 = true;
                outcome
            }
        }))
    }

    fn tool(&self, name: &str) -> Option<Arc<Item>> {
        let mut builder = CatalogueBuilder::new(None);
        let source = Source {
            name: "fake".into(),
            namespace: Namespace::new("", "/"),
            trust_annotations: false,
        };
        let listing = Listing {
            capabilities: Some(RawJson::from_static(r#"{"tools":{}}"#)),
            tools: vec![RawJson::from_static(
                r#"{"name":"mirrored","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},"level":{"type":"integer","x-mcp-header":"Level"}}}}"#,
            )],
            ..Listing::default()
        };
        builder.add(source, Some(Arc::new(listing)));
        builder.build().tool(name).cloned()
    }

    fn welcome(&self, _: mcp_proxy_core::ProtocolVersion) -> Welcome {
        Welcome {
            capabilities: RawJson::from_static(r#"{"tools":{"listChanged":true}}"#),
            server_info: RawJson::from_static(r#"{"name":"fake","version":"1"}"#),
            instructions: Some("say \"please\"".into()),
        }
    }

    fn session_opened(&self, session: &Arc<Session>) {
        self.log.keys.lock().unwrap().push(session.key);
        self.log.count(&self.log.opened);
    }

    fn session_closed(&self, session: SessionKey) {
        self.log.closed.lock().unwrap().push(session);
        self.log.changed.notify_waiters();
    }

    fn notified(&self, _: &Arc<Session>, notification: Notification) {
        self.log.notified.lock().unwrap().push(notification.method.to_string());
    }

    fn missing(&self) -> Vec<String> {
        self.log.missing.lock().unwrap().clone()
    }
}

fn result_of(value: &Value) -> Result<Reply, Error> {
    Ok(Reply::Result(RawJson::encode(value)))
}

async fn answer(call: Call, log: &Log, gate: &Semaphore) -> Result<Reply, Error> {
    if call.method == mcp_proxy_core::Method::ResourcesRead {
        return Ok(Reply::error(codes::RESOURCE_NOT_FOUND, "no such resource"));
    }
    if call.method == mcp_proxy_core::Method::SubscriptionsListen {
        let filter = call.params.to_raw().unwrap().get("notifications").unwrap();
        if filter.get("hang").is_some() {
            std::future::pending::<()>().await;
        }
        assert!(call.context.session.is_some());
        return result_of(&json!({ "notifications": filter.without(&["promptsListChanged"]) }));
    }
    if matches!(call.method, mcp_proxy_core::Method::Other(_)) {
        return Ok(Reply::error(codes::METHOD_NOT_FOUND, "no such method"));
    }
    let name = call.params.string(Slot::Name).unwrap_or_default().into_owned();
    let result = |value: Value| result_of(&value);
    match name.as_str() {
        "hang" => std::future::pending().await,
        "gate" => {
            gate.acquire().await.unwrap().forget();
            result(json!({ "opened": true }))
        }
        "talk" => {
            for step in 0..3 {
                assert!(call.client.notify(progress(step)));
            }
            result(json!({ "said": 3 }))
        }
        "talk_at_the_gate" => {
            call.client.notify(progress(0));
            gate.acquire().await.unwrap().forget();
            result(json!({ "opened": true }))
        }
        "flood" => {
            for step in 0..5000 {
                if !call.client.notify(progress(step)) {
                    log.refused_messages.fetch_add(1, Ordering::SeqCst);
                }
            }
            result(json!({}))
        }
        "big" => Ok(Reply::Result(
            RawJson::parse(format!("{{\n\"text\":\r\n\"{}\"}}", "x".repeat(100_000))).unwrap(),
        )),
        "raw" => {
            let arguments = call.params.value(Slot::Arguments).expect("arguments");
            match arguments.get("error") {
                Some(error) => Ok(Reply::Error(mcp_proxy_core::RpcError::from_raw(error).unwrap())),
                None => Ok(Reply::Result(arguments.get("result").expect("a result"))),
            }
        }
        "declared" => result(json!({
            "session": call.context.session.is_some(),
            "capabilities": call.context.declared.capabilities,
            "info": call.context.declared.client_info,
            "level": call.context.log_level.map(mcp_proxy_core::LogLevel::as_str),
            "version": call.context.version.as_str(),
        })),
        "panic" => panic!("on purpose"),
        "ask" => {
            let asked = call.client.ask(mcp_proxy_core::Method::RootsList, Params::absent());
            asked.expect("there is a client").await
        }
        "log" => {
            let taken: Vec<bool> = ["debug", "info", "warning", "emergency", "loud"]
                .map(|level| call.client.notify(log_message(level)))
                .into();
            result(json!({ "taken": taken }))
        }
        "flood_at_the_gate" => {
            call.client.notify(progress(0));
            gate.acquire().await.unwrap().forget();
            for step in 1..=5000 {
                if !call.client.notify(progress(step)) {
                    log.refused_messages.fetch_add(1, Ordering::SeqCst);
                }
            }
            result(json!({}))
        }
        "steps" => {
            for step in 0..20 {
                call.client.notify(progress(step));
                gate.acquire().await.unwrap().forget();
            }
            result(json!({ "steps": 20 }))
        }
        "ask_after_the_gate" => {
            call.client.notify(progress(0));
            gate.acquire().await.unwrap().forget();
            let asked = call.client.ask(mcp_proxy_core::Method::RootsList, Params::absent());
            asked.expect("there is a client").await
        }
        "ask_in_vain" => {
            let asked = call.client.ask(mcp_proxy_core::Method::RootsList, Params::absent());
            tokio::select! {
                _ = asked.expect("there is a client") => result(json!({})),
                permit = gate.acquire() => {
                    permit.unwrap().forget();
                    result(json!({ "waited": true }))
                }
            }
        }
        "script" => script(&call, gate).await,
        "version" => result(json!(call.context.version.as_str())),
        "fail" => Ok(Reply::error(codes::INVALID_PARAMS, "no such tool")),
        _ => result(json!({ "echo": serde_json::from_slice::<Value>(&call.params.to_bytes()).unwrap_or_default() })),
    }
}

/// Plays `arguments.steps`: `ask` (one, or several at once), `progress`, `log`, `gate`. The result holds all answers.
async fn script(call: &Call, gate: &Semaphore) -> Result<Reply, Error> {
    let arguments = call.params.value(Slot::Arguments).expect("arguments");
    let steps: Vec<Value> = arguments.get("steps").expect("steps").decode().unwrap();
    let mut answers = Vec::new();
    for step in steps {
        match step {
            Value::Array(asks) => {
                let asked: Vec<_> = asks.iter().map(|ask| question(call, ask)).collect();
                for asked in asked {
                    answers.push(match asked.await? {
                        Reply::Result(answer) => answer.decode().unwrap(),
                        Reply::Error(error) => json!({ "refused": error.code() }),
                    });
                }
            }
            Value::Number(step) => {
                call.client.notify(progress(step.as_u64().unwrap() as usize));
            }
            Value::String(gated) if gated == "gate" => gate.acquire().await.unwrap().forget(),
            Value::String(level) => {
                call.client.notify(Notification {
                    method: mcp_proxy_core::Method::LogMessage,
                    params: Params::parse(json!({ "level": level }).to_string()).unwrap(),
                });
            }
            other => panic!("{other}"),
        }
    }
    result_of(&json!({ "answers": answers }))
}

fn question(call: &Call, ask: &Value) -> mcp_proxy_core::Asked {
    let method = mcp_proxy_core::Method::from(ask["method"].as_str().unwrap());
    let params = match ask.get("params") {
        Some(params) => Params::parse(params.to_string()).unwrap(),
        None => Params::absent(),
    };
    call.client.ask(method, params).expect("there is a client")
}

pub(super) fn progress(step: usize) -> Notification {
    Notification {
        method: mcp_proxy_core::Method::Progress,
        params: Params::parse(format!("{{\"progress\":{step},\n\"progressToken\":1}}")).unwrap(),
    }
}

pub(super) fn log_message(level: &str) -> Notification {
    notification("notifications/message", &json!({ "level": level, "data": "said" }))
}

pub(super) fn notification(method: &str, params: &Value) -> Notification {
    Notification {
        method: method.into(),
        params: Params::parse(params.to_string()).unwrap(),
    }
}

pub(super) fn tools_changed() -> Notification {
    Notification {
        method: mcp_proxy_core::Method::ToolsChanged,
        params: Params::absent(),
    }
}

/// A front and its fake.
pub(super) struct World {
    pub(super) front: Front,
    pub(super) log: Arc<Log>,
    pub(super) gate: Arc<Semaphore>,
}

pub(super) fn world() -> World {
    with(|_| {})
}

pub(super) fn with(change: impl FnOnce(&mut FrontOptions)) -> World {
    let mut options = FrontOptions {
        body_bytes: 1000,
        keep_alive: Duration::from_secs(15),
        session: SessionOptions {
            idle: Duration::from_secs(1800),
            max: 100,
            required: true,
            resume: Duration::from_secs(10),
            ..SessionOptions::default()
        },
        ..FrontOptions::default()
    };
    change(&mut options);
    let (log, gate) = (Arc::new(Log::default()), Arc::new(Semaphore::new(0)));
    let app = Fake {
        log: log.clone(),
        gate: gate.clone(),
    };
    World {
        front: Front::new(options, Arc::new(app)),
        log,
        gate,
    }
}

pub(super) type Headers<'a> = &'a [(&'a str, &'a str)];

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    /// The JSON-RPC message: the body, or the last event of the stream.
    pub(super) fn json(&self) -> Value {
        let text = match self.text.rsplit_once("data: ") {
            Some((_, data)) => data.trim_end(),
            None => &self.text,
        };
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub(super) fn refused(&self, status: u16, code: i64) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        let json = self.json();
        assert_eq!(json["error"]["code"], code, "{self:?}");
        assert!(json["error"]["message"].as_str().unwrap().len() > 10, "{self:?}");
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn is_stream(&self) -> bool {
        self.header("content-type") == "text/event-stream"
    }
}

impl World {
    /// Sends a request; the response as it comes.
    pub(super) async fn begin(&self, method: Method, headers: Headers<'_>, body: String) -> Response<FrontBody> {
        let mut request = Request::builder().method(method).uri("/mcp");
        let given = |name: &str| headers.iter().any(|(given, _)| *given == name);
        for (name, value) in [
            ("host", "127.0.0.1:8080"),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ] {
            if !given(name) {
                request = request.header(name, value);
            }
        }
        for (name, value) in headers.iter().filter(|(_, value)| *value != "-") {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        self.front.handle(request).await
    }

    pub(super) async fn send(&self, method: Method, headers: Headers<'_>, body: impl Into<String>) -> Answer {
        read(self.begin(method, headers, body.into()).await).await
    }

    pub(super) async fn post(&self, headers: Headers<'_>, body: impl Into<String>) -> Answer {
        self.send(Method::POST, headers, body).await
    }

    pub(super) async fn initialize(&self, version: &str) -> Answer {
        self.post(&[], initialize(version)).await
    }

    /// Opens a session and gives its id.
    pub(super) async fn open(&self) -> String {
        self.initialize("2025-11-25").await.header("mcp-session-id").to_owned()
    }

    /// Opens a session of a client with these capabilities, and gives its id.
    pub(super) async fn open_with(&self, capabilities: Value) -> String {
        let body = initialize("2025-11-25").replace("\"capabilities\":{}", &format!("\"capabilities\":{capabilities}"));
        self.post(&[], body).await.header("mcp-session-id").to_owned()
    }

    /// Answers a question; the status.
    pub(super) async fn answer(&self, session: &str, id: &Value, result: Value) -> u16 {
        let body = json!({ "jsonrpc": "2.0", "id": id, "result": result });
        self.post(&[("mcp-session-id", session)], body.to_string())
            .await
            .status
            .as_u16()
    }

    pub(super) async fn call(&self, session: &str, id: &str, tool: &str) -> Answer {
        self.post(&[("mcp-session-id", session)], call(id, tool)).await
    }

    pub(super) async fn cancel(&self, session: &str, id: &str) {
        let body = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"enough"}}}}"#
        );
        let answer = self.post(&[("mcp-session-id", session)], body).await;
        assert_eq!((answer.status, answer.text.as_str()), (StatusCode::ACCEPTED, ""));
    }

    /// Opens a session's own stream.
    pub(super) async fn listen(&self, session: &str) -> FrontBody {
        let response = self
            .begin(
                Method::GET,
                &[("mcp-session-id", session), ("accept", "text/event-stream")],
                String::new(),
            )
            .await;
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body();
        assert_eq!(prime(&mut body).await, 0);
        body
    }
}

pub(super) async fn read(response: Response<FrontBody>) -> Answer {
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer {
        status: head.status,
        headers: head.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

/// The next piece of a stream; `None` at its end.
pub(super) async fn next(body: &mut FrontBody) -> Option<String> {
    let frame = body.frame().await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

/// Reads the event without data that a stream begins with; its number.
pub(super) async fn prime(body: &mut FrontBody) -> u64 {
    let text = next(body).await.unwrap();
    let (id, rest) = text.strip_prefix("id: ").unwrap().split_once('\n').unwrap();
    assert_eq!(rest, "retry: 1000\ndata: \n\n");
    id.split_once('-').unwrap().1.parse().unwrap()
}

/// The next message of a stream; `None` at its end.
pub(super) async fn event(body: &mut FrontBody) -> Option<Value> {
    let mut text = String::new();
    loop {
        text += &next(body).await?;
        let Some(whole) = text.strip_suffix("\n\n") else {
            continue;
        };
        if let Some(data) = whole.lines().find_map(|line| line.strip_prefix("data: {")) {
            return Some(serde_json::from_str(&format!("{{{data}")).unwrap());
        }
        text.clear();
    }
}

/// What a stream has right now.
pub(super) fn now(body: &mut FrontBody) -> Option<String> {
    let mut next = std::pin::pin!(next(body));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match next.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(piece) => Some(piece.expect("the stream goes on")),
        std::task::Poll::Pending => None,
    }
}

pub(super) fn initialize(version: &str) -> String {
    let params =
        json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params }).to_string()
}

pub(super) fn call(id: &str, tool: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}"}}}}"#)
}
