//! A client of either era that writes down all it hears, and answers all it is asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::Method;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::http::{Arriving, Http};
use super::session::Session;

/// A protocol era.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Era {
    Session,
    Sessionless,
}

impl Era {
    pub(crate) const ALL: [Self; 2] = [Self::Session, Self::Sessionless];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Sessionless => "sessionless",
        }
    }
}

/// A client of one era.
pub(crate) struct Speaker {
    pub(crate) era: Era,
    http: Http,
    /// The backend's name, which the proxy puts before every name; empty without a proxy.
    backend: &'static str,
    session: Option<Session>,
    last_id: u64,
    /// What came outside calls.
    unasked: mpsc::Receiver<Value>,
    into_unasked: mpsc::Sender<Value>,
    streams: JoinSet<()>,
    questions: Arc<Mutex<Vec<Value>>>,
}

/// What came of one request.
#[derive(Default)]
pub(crate) struct Heard {
    /// `{"result": …}` or `{"error": …}`, and the text it came in.
    pub(crate) outcome: Value,
    pub(crate) text: String,
    /// Notifications that came before it.
    pub(crate) told: Vec<Value>,
    /// Questions that came before it, by method and params.
    pub(crate) asked: Vec<Value>,
}

impl Heard {
    /// As it stands in a transcript.
    pub(crate) fn written(self) -> Value {
        json!({ "outcome": self.outcome, "told": self.told, "asked": self.asked })
    }
}

impl Speaker {
    /// A client that can do everything.
    pub(crate) async fn open(http: Http, era: Era, backend: &'static str) -> Self {
        let (into_unasked, unasked) = mpsc::channel(64);
        let mut speaker = Self {
            era,
            http,
            backend,
            session: None,
            last_id: 0,
            unasked,
            into_unasked,
            streams: JoinSet::new(),
            questions: Arc::default(),
        };
        if era == Era::Session {
            let session = Session::open_with(speaker.http.clone(), "2025-11-25", capabilities())
                .await
                .expect("a session opens");
            let stream = session.listen().await;
            let follow = follow(
                stream,
                session.clone(),
                speaker.into_unasked.clone(),
                Arc::clone(&speaker.questions),
            );
            speaker.streams.spawn(follow);
            speaker.session = Some(session);
        }
        speaker
    }

    /// The public form of a backend's name.
    pub(crate) fn name(&self, name: &str) -> String {
        match self.backend {
            "" => name.to_owned(),
            backend => format!("{backend}__{name}"),
        }
    }

    /// The public form of a backend's URI.
    pub(crate) fn uri(&self, uri: &str) -> String {
        match self.backend {
            "" => uri.to_owned(),
            backend => format!("{backend}+{uri}"),
        }
    }

    /// Calls a tool.
    pub(crate) async fn call(&mut self, tool: &str, arguments: Value) -> Heard {
        let params = json!({ "name": self.name(tool), "arguments": arguments });
        self.request("tools/call", params).await
    }

    /// Sends one request and hears all that comes of it.
    pub(crate) async fn request(&mut self, method: &str, params: Value) -> Heard {
        match self.session.clone() {
            Some(session) => self.in_session(&session, method, params).await,
            None => self.standing_alone(method, params).await,
        }
    }

    /// Begins a request and lets go of it: as the era has it, by leaving or by saying so.
    pub(crate) async fn abandon(&mut self, method: &str, params: Value) -> Arriving {
        let id = self.id();
        match &self.session {
            Some(session) => {
                let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
                session.begin(&message).await.expect("it begins")
            }
            None => self.post(id, method, params).await,
        }
    }

    /// The id of the request that was sent last.
    pub(crate) fn last_id(&self) -> u64 {
        self.last_id
    }

    pub(crate) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Listens to changes; the acknowledgement comes back, what follows is [`unasked`](Self::unasked).
    pub(crate) async fn listen(&mut self, filter: Value) -> Value {
        let id = self.id();
        let mut stream = self
            .post(id, "subscriptions/listen", json!({ "notifications": filter }))
            .await;
        let first = stream.next_message().await.expect("an acknowledgement");
        let into = self.into_unasked.clone();
        self.streams.spawn(async move {
            while let Some(message) = stream.next_message().await {
                if into.send(message).await.is_err() {
                    return;
                }
            }
        });
        own_id(first, id)
    }

    /// The next notification of that method that comes outside calls; `None` when none comes in time. Others are passed over.
    pub(crate) async fn unasked(&mut self, method: &str, limit: Duration) -> Option<Value> {
        let wanted = async {
            loop {
                let message = self.unasked.recv().await.expect("we hold a sender");
                if message["method"] == method {
                    return message;
                }
            }
        };
        let mut message = tokio::time::timeout(limit, wanted).await.ok()?;
        if let Some(meta) = message.pointer_mut("/params/_meta").and_then(Value::as_object_mut) {
            // The listener's own id, which `listen` has seen to be right.
            meta.remove(SUBSCRIPTION);
        }
        // No params are as good as empty ones.
        let members = message.as_object_mut().expect("a message is an object");
        members.entry("params").or_insert_with(|| json!({}));
        Some(message)
    }

    /// The questions that came outside calls.
    pub(crate) fn asked_outside(&self) -> Vec<Value> {
        std::mem::take(&mut self.questions.lock().expect("no holder panics"))
    }

    async fn in_session(&mut self, session: &Session, method: &str, params: Value) -> Heard {
        let id = self.id();
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let mut heard = Heard::default();
        let mut answer = session.begin(&message).await.expect("an answer begins");
        while let Some((message, text)) = answer.next_any().await {
            match (message.get("method"), message.get("id")) {
                (Some(_), Some(_)) => {
                    heard.asked.push(question(&message));
                    reply(session, &message).await;
                }
                (Some(_), None) => heard.told.push(message),
                _ => heard.end(id, message, text),
            }
        }
        heard.asked.append(&mut self.asked_outside());
        heard
    }

    async fn standing_alone(&mut self, method: &str, mut params: Value) -> Heard {
        let mut heard = Heard::default();
        for _ in 0..MOST_ROUNDS {
            let id = self.id();
            let mut answer = self.post(id, method, params.clone()).await;
            while let Some((message, text)) = answer.next_any().await {
                match message.get("method") {
                    Some(_) => heard.told.push(message),
                    None => heard.end(id, message, text),
                }
            }
            let result = &heard.outcome["result"];
            if result["resultType"] != "input_required" {
                return heard;
            }
            let mut answers = Map::new();
            for (key, asked) in result["inputRequests"].as_object().into_iter().flatten() {
                let mut written = question(asked);
                written["key"] = json!(key);
                heard.asked.push(written);
                answers.insert(key.clone(), answer_to(asked));
            }
            params["inputResponses"] = Value::Object(answers);
            match result.get("requestState") {
                Some(state) => params["requestState"] = state.clone(),
                None => drop(params.as_object_mut().and_then(|params| params.remove("requestState"))),
            }
        }
        panic!("{method} did not end after {MOST_ROUNDS} rounds");
    }

    /// One POST of the era without sessions, with the headers that repeat the body.
    async fn post(&self, id: u64, method: &str, mut params: Value) -> Arriving {
        if params.get("_meta").is_none() {
            params["_meta"] = json!({});
        }
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities();
        params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({ "name": "it", "version": "1.0.0" });
        params["_meta"]["io.modelcontextprotocol/logLevel"] = json!("info");
        let name = ["name", "uri", "taskId"]
            .iter()
            .find_map(|member| params[*member].as_str());
        let name = name.map(encoded);
        let mut headers = vec![
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", method),
        ];
        if !matches!(method, "completion/complete" | "subscriptions/listen") {
            headers.extend(name.as_deref().map(|name| ("mcp-name", name)));
        }
        let (region, level) = (&params["arguments"]["region"], params["arguments"]["level"].to_string());
        let region = region.as_str().map(encoded);
        headers.extend(region.as_deref().map(|region| ("mcp-param-region", region)));
        if level != "null" {
            headers.push(("mcp-param-level", &level));
        }
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let opened = self.http.open(Method::POST, &headers, body.to_string()).await;
        opened.expect("an answer begins")
    }

    fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

impl Heard {
    fn end(&mut self, id: u64, mut message: Value, text: String) {
        assert_eq!(message["id"], id, "an answer to another request: {message}");
        let members = message.as_object_mut().expect("a message is an object");
        members.retain(|name, _| name == "result" || name == "error");
        self.outcome = message;
        self.text = text;
    }
}

/// Answers what comes on the standalone stream, and hands on the rest.
async fn follow(mut stream: Arriving, session: Session, into: mpsc::Sender<Value>, questions: Arc<Mutex<Vec<Value>>>) {
    while let Some(message) = stream.next_message().await {
        if message.get("id").is_some() && message.get("method").is_some() {
            questions.lock().expect("no holder panics").push(question(&message));
            reply(&session, &message).await;
        } else if into.send(message).await.is_err() {
            return;
        }
    }
}

async fn reply(session: &Session, asked: &Value) {
    let answer = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": answer_to(asked) });
    session.post(&answer).await.expect("the answer is taken");
}

fn question(asked: &Value) -> Value {
    json!({ "method": asked["method"], "params": asked.get("params").cloned().unwrap_or_else(|| json!({})) })
}

/// Says what is asked for: the same to the same question.
fn answer_to(asked: &Value) -> Value {
    let params = &asked["params"];
    match asked["method"].as_str() {
        Some("roots/list") => json!({ "roots": [{ "uri": "file:///grüße", "name": "one" }] }),
        Some("sampling/createMessage") => {
            let said = params["messages"][0]["content"]["text"].as_str().unwrap_or_default();
            let content = json!({ "type": "text", "text": format!("heard: {said}") });
            json!({ "role": "assistant", "model": "it", "content": content, "stopReason": "endTurn" })
        }
        _ if params["mode"] == "url" => json!({ "action": "accept" }),
        _ => {
            let properties = params["requestedSchema"]["properties"].as_object();
            let values: Map<String, Value> = properties
                .into_iter()
                .flatten()
                .map(|(name, schema)| (name.clone(), value_of(schema)))
                .collect();
            json!({ "action": "accept", "content": values })
        }
    }
}

fn value_of(schema: &Value) -> Value {
    match schema["type"].as_str() {
        Some("boolean") => json!(true),
        Some("integer") => json!(7),
        Some("number") => json!(2.5),
        Some("array") => json!([]),
        _ => json!("世界"),
    }
}

pub(crate) fn capabilities() -> Value {
    json!({ "elicitation": { "form": {}, "url": {} }, "roots": { "listChanged": true }, "sampling": {} })
}

/// A header's value: as it is, or in Base64 when a header could not carry it.
fn encoded(value: &str) -> String {
    if value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && value.trim() == value {
        return value.to_owned();
    }
    format!("=?base64?{}?=", BASE64_STANDARD.encode(value))
}

/// A message of a listener, its id seen to be right and taken out.
fn own_id(mut message: Value, id: u64) -> Value {
    let meta = message.pointer_mut("/params/_meta").and_then(Value::as_object_mut);
    let found = meta.and_then(|meta| meta.remove(SUBSCRIPTION));
    assert_eq!(found, Some(json!(id)), "{message}");
    message
}

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

const MOST_ROUNDS: usize = 10;
