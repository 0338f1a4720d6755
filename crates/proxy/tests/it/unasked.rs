//! What a backend says outside calls, and which clients hear of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use mcp_proxy::ProxyBuilder;
use mcp_proxy::core::catalogue::Kind;
use mcp_proxy::core::json::{Notification, Params, RawJson};
use mcp_proxy::core::{Call, CallFuture, Downstream, Error, ErrorKind, Method, ProtocolVersion, Reply, SessionKey};
use mcp_proxy::transport::client::backend::Phase;
use mcp_proxy::transport::client::{BoxFuture, Connected, Connector, Hello, Peer, PeerEvent};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tower::ServiceExt;

/// A backend that says what a test makes it say.
struct Fake {
    version: ProtocolVersion,
    capabilities: &'static str,
    downstream: Mutex<Option<Arc<dyn Downstream>>>,
    events: Mutex<Option<mpsc::Sender<PeerEvent>>>,
    watched: watch::Sender<Vec<String>>,
    watched_tasks: watch::Sender<Vec<String>>,
    notified: watch::Sender<Vec<String>>,
    /// Whether it answers the handshake.
    reachable: watch::Sender<bool>,
}

impl Fake {
    fn new(version: ProtocolVersion, capabilities: &'static str) -> Arc<Self> {
        Arc::new(Self {
            version,
            capabilities,
            downstream: Mutex::default(),
            events: Mutex::default(),
            watched: watch::Sender::default(),
            watched_tasks: watch::Sender::default(),
            notified: watch::Sender::default(),
            reachable: watch::Sender::new(true),
        })
    }

    fn tell(&self, to: Option<SessionKey>, method: Method, params: &Value) -> bool {
        let downstream = self.downstream.lock().unwrap().clone().unwrap();
        let params = Params::parse(params.to_string()).unwrap();
        downstream.tell(to, Notification { method, params })
    }

    /// Waits until exactly this is watched.
    async fn watches(&self, uris: &[&str]) {
        becomes(&self.watched, uris).await;
    }
}

async fn becomes(told: &watch::Sender<Vec<String>>, expected: &[&str]) {
    let mut told = told.subscribe();
    let wanted = told.wait_for(|told| told == expected);
    tokio::time::timeout(LIMIT, wanted).await.unwrap().unwrap();
}

/// The next message on a stream.
async fn next(stream: &mut Body) -> Value {
    let next = async {
        loop {
            let frame = stream.frame().await.unwrap().unwrap();
            let chunk = frame.into_data().unwrap();
            let text = std::str::from_utf8(&chunk).unwrap();
            let data = text.lines().find_map(|line| line.strip_prefix("data: "));
            // A stream may begin with an empty event.
            if let Some(data) = data.filter(|data| !data.is_empty()) {
                return serde_json::from_str(data).unwrap();
            }
        }
    };
    tokio::time::timeout(LIMIT, next).await.expect("a message")
}

const LIMIT: Duration = Duration::from_secs(30);

/// The fake as a peer: a connection to it.
struct Connection(Arc<Fake>);

struct Door(Arc<Fake>);

impl Connector for Door {
    fn connect(&self, downstream: Arc<dyn Downstream>) -> BoxFuture<'_, Result<Connected, Error>> {
        let fake = self.0.clone();
        Box::pin(async move {
            if !*fake.reachable.borrow() {
                return Err(Error::new(ErrorKind::NotSent, "out"));
            }
            let (sender, events) = mpsc::channel(8);
            *fake.downstream.lock().unwrap() = Some(downstream);
            *fake.events.lock().unwrap() = Some(sender);
            let hello = Hello {
                version: fake.version,
                capabilities: RawJson::from_static(fake.capabilities),
                server_info: None,
                instructions: None,
            };
            Ok(Connected {
                peer: Arc::new(Connection(fake)),
                hello,
                events,
            })
        })
    }
}

impl Peer for Connection {
    fn call(&self, call: Call) -> CallFuture {
        let result = match call.method {
            Method::ToolsList => r#"{"tools":[{"name":"run"}],"ttlMs":5000,"cacheScope":"public"}"#,
            Method::ResourcesList => r#"{"resources":[]}"#,
            Method::ResourceTemplatesList => r#"{"resourceTemplates":[]}"#,
            _ => r#"{"task":{"taskId":"t","status":"working"}}"#,
        };
        Box::pin(async move { Ok(Reply::Result(RawJson::from_static(result))) })
    }

    fn notify(&self, client: SessionKey, notification: Notification) -> BoxFuture<'_, Result<(), Error>> {
        self.0
            .notified
            .send_modify(|all| all.push(format!("{} {}", client.0, notification.method)));
        Box::pin(async { Ok(()) })
    }

    fn watch(&self, uris: Arc<[Box<str>]>) -> BoxFuture<'_, Result<(), Error>> {
        self.0
            .watched
            .send_replace(uris.iter().map(|uri| uri.to_string()).collect());
        Box::pin(async { Ok(()) })
    }

    fn watch_tasks(&self, ids: Arc<[Box<str>]>) -> BoxFuture<'_, Result<(), Error>> {
        self.0
            .watched_tasks
            .send_replace(ids.iter().map(|id| id.to_string()).collect());
        Box::pin(async { Ok(()) })
    }

    fn is_open(&self) -> bool {
        *self.0.reachable.borrow()
    }

    fn session_closed(&self, _: SessionKey) {}

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// A proxy in front of fakes, as a router.
struct World {
    router: axum::Router,
    sessions: mcp_proxy::SessionHandle,
}

async fn world(fakes: &[(&str, &Arc<Fake>)]) -> World {
    let mut builder = ProxyBuilder::new("p").separator("__");
    for (name, fake) in fakes {
        builder = builder.connector_backend(*name, Arc::new(Door((*fake).clone())));
    }
    let proxy = builder.build_detached().unwrap();
    let all_ready = async {
        while !proxy.backends().iter().all(|(_, status)| status.phase == Phase::Ready) {
            tokio::task::yield_now().await;
        }
        // And merged.
        while proxy.catalogue().items(Kind::Tool).len() < fakes.len() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, all_ready).await.unwrap();
    let (router, sessions) = proxy.into_router();
    World { router, sessions }
}

/// A session with an open stream.
struct Client<'a> {
    world: &'a World,
    id: String,
    stream: Body,
    key: SessionKey,
}

impl World {
    async fn send(&self, request: http::request::Builder, body: Body) -> Response<Body> {
        let request = request
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        assert!(response.status().is_success(), "{response:?}");
        response
    }

    async fn client(&self) -> Client<'_> {
        let hello = json!({"jsonrpc":"2.0","id":0,"method":"initialize","params":{
            "protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}});
        let opened = self.send(Request::post("/mcp"), Body::from(hello.to_string())).await;
        let id = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
        let stream = self
            .send(Request::get("/mcp").header("mcp-session-id", &id), Body::empty())
            .await;
        let keys = self.sessions.sessions();
        Client {
            world: self,
            id,
            stream: stream.into_body(),
            key: keys.iter().map(|session| session.key).max().unwrap(),
        }
    }

    /// A request of the sessionless era.
    async fn modern(&self, method: &str, mut params: Value) -> Body {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": { "extensions": { "io.modelcontextprotocol/tasks": {} } },
        });
        let body = json!({"jsonrpc":"2.0","id":1,"method":method,"params":params});
        let request = Request::post("/mcp")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", method);
        self.send(request, Body::from(body.to_string())).await.into_body()
    }

    /// A call of the sessionless era: its result.
    async fn sessionless(&self, method: &str, params: Value) -> Value {
        let answer = self.modern(method, params).await.collect().await.unwrap().to_bytes();
        serde_json::from_slice::<Value>(&answer).unwrap()["result"].take()
    }
}

impl Client<'_> {
    async fn post(&self, message: Value) -> Response<Body> {
        let request = Request::post("/mcp").header("mcp-session-id", &self.id);
        self.world.send(request, Body::from(message.to_string())).await
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        let answer = self
            .post(json!({"jsonrpc":"2.0","id":1,"method":method,"params":params}))
            .await;
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&text).unwrap()
    }

    async fn subscribe(&self, method: &str, uri: &str) {
        let answer = self.call(&format!("resources/{method}"), json!({ "uri": uri })).await;
        assert_eq!(answer["result"], json!({}), "{answer}");
    }

    async fn hears(&mut self) -> Value {
        next(&mut self.stream).await
    }

    async fn end(&self) {
        let request = Request::delete("/mcp").header("mcp-session-id", &self.id);
        assert_eq!(
            self.world.send(request, Body::empty()).await.status(),
            StatusCode::NO_CONTENT
        );
    }
}

const SUBSCRIBING: &str = r#"{"tools":{},"resources":{"subscribe":true},"tasks":{"requests":{"tools":{"call":{}}}}}"#;

#[tokio::test]
async fn exactly_those_who_subscribed_hear_of_an_update_under_the_public_name() {
    let (one, two) = (
        Fake::new(ProtocolVersion::V2025_11_25, SUBSCRIBING),
        Fake::new(ProtocolVersion::V2025_11_25, SUBSCRIBING),
    );
    let world = world(&[("one", &one), ("two", &two)]).await;
    let (mut first, mut second) = (world.client().await, world.client().await);
    first.subscribe("subscribe", "one+a:1").await;
    second.subscribe("subscribe", "one+a:2").await;
    second.subscribe("subscribe", "one+a:1").await;
    second.subscribe("unsubscribe", "one+a:1").await;
    one.watches(&["a:1", "a:2"]).await;
    let updated = |uri: &str| json!({ "uri": uri, "x": 1 });
    assert!(
        !two.tell(None, Method::ResourceUpdated, &updated("a:1")),
        "another backend's"
    );
    assert!(!one.tell(None, Method::ResourceUpdated, &updated("a:3")), "nobody's");
    assert!(one.tell(None, Method::ResourceUpdated, &updated("a:1")));
    assert!(one.tell(None, Method::ResourceUpdated, &updated("a:2")));
    let heard = first.hears().await;
    assert_eq!(heard["method"], "notifications/resources/updated");
    assert_eq!(heard["params"], updated("one+a:1"));
    assert_eq!(second.hears().await["params"], updated("one+a:2"));
    second.end().await;
    one.watches(&["a:1"]).await;
    first.end().await;
    one.watches(&[]).await;
}

#[tokio::test]
async fn a_backend_that_comes_back_is_told_again_what_is_watched() {
    let fake = Fake::new(ProtocolVersion::V2025_11_25, SUBSCRIBING);
    let world = world(&[("one", &fake)]).await;
    let client = world.client().await;
    client.subscribe("subscribe", "one+a:1").await;
    fake.watches(&["a:1"]).await;
    fake.watched.send_replace(Vec::new());
    let events = fake.events.lock().unwrap().take().unwrap();
    let gone = Error::new(ErrorKind::SentUnknown, "gone");
    events.try_send(PeerEvent::Closed(gone)).unwrap();
    fake.watches(&["a:1"]).await;
}

#[tokio::test]
async fn the_state_of_a_task_is_told_to_whoever_began_it() {
    let fake = Fake::new(ProtocolVersion::V2025_11_25, SUBSCRIBING);
    let world = world(&[("one", &fake)]).await;
    let (other, mut client) = (world.client().await, world.client().await);
    let status = json!({ "taskId": "t", "status": "completed" });
    assert!(!fake.tell(None, Method::TaskStatus, &status), "nobody has begun it yet");
    let begun = client
        .call("tools/call", json!({ "name": "one__run", "task": {} }))
        .await;
    assert_eq!(begun["result"]["task"]["taskId"], "one.t");
    assert!(fake.tell(None, Method::TaskStatus, &status));
    let expected = json!({ "taskId": "one.t", "status": "completed" });
    assert_eq!(client.hears().await["params"], expected);
    drop(other);
}

#[tokio::test]
async fn what_concerns_one_client_is_told_to_that_one_and_the_rest_to_nobody() {
    let fake = Fake::new(ProtocolVersion::V2025_11_25, SUBSCRIBING);
    let world = world(&[("one", &fake)]).await;
    let (other, mut client) = (world.client().await, world.client().await);
    let done = json!({ "elicitationId": "e", "_meta": { "io.modelcontextprotocol/related-task": { "taskId": "t" } } });
    assert!(!fake.tell(None, Method::ElicitationComplete, &done));
    assert!(!fake.tell(Some(client.key), Method::Progress, &json!({ "progressToken": 1 })));
    assert!(!fake.tell(Some(client.key), Method::ToolsChanged, &json!({})));
    assert!(fake.tell(Some(client.key), Method::ElicitationComplete, &done));
    let heard = client.hears().await;
    assert_eq!(heard["params"]["elicitationId"], "e");
    assert_eq!(
        heard["params"]["_meta"]["io.modelcontextprotocol/related-task"]["taskId"],
        "one.t"
    );
    let asked = {
        let downstream = fake.downstream.lock().unwrap().clone().unwrap();
        downstream.ask(client.key, Method::RootsList, Params::absent()).await
    };
    assert!(
        matches!(asked, Ok(Reply::Error(_))),
        "it declared no roots, and is not asked: {asked:?}"
    );
    drop(other);
}

#[tokio::test]
async fn backends_hear_that_a_clients_roots_have_changed() {
    let (one, two) = (
        Fake::new(ProtocolVersion::V2025_11_25, SUBSCRIBING),
        Fake::new(ProtocolVersion::V2025_11_25, SUBSCRIBING),
    );
    let world = world(&[("one", &one), ("two", &two)]).await;
    let client = world.client().await;
    for method in ["notifications/roots/list_changed", "notifications/acme"] {
        client.post(json!({ "jsonrpc": "2.0", "method": method })).await;
    }
    let expected = [format!("{} notifications/roots/list_changed", client.key.0)];
    for fake in [&one, &two] {
        let mut notified = fake.notified.subscribe();
        let told = notified.wait_for(|all| *all == expected);
        tokio::time::timeout(LIMIT, told).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_list_holds_only_while_every_backend_is_there() {
    let fake = Fake::new(
        ProtocolVersion::V2026_07_28,
        r#"{"tools":{},"resources":{"subscribe":true}}"#,
    );
    let world = world(&[("one", &fake)]).await;
    let hints = async |ttl_ms: u64| {
        let until = async {
            loop {
                let list = world.sessionless("tools/list", json!({})).await;
                assert_eq!(list["tools"], json!([{ "name": "one__run" }]));
                if list["ttlMs"] == ttl_ms {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, until).await.expect("the hint changes");
    };
    hints(5000).await;
    fake.reachable.send_replace(false);
    let events = fake.events.lock().unwrap().take().unwrap();
    let gone = Error::new(ErrorKind::SentUnknown, "gone");
    events.try_send(PeerEvent::Closed(gone)).unwrap();
    hints(0).await;
    fake.reachable.send_replace(true);
    hints(5000).await;
}

#[tokio::test]
async fn a_listener_hears_of_the_tasks_and_resources_it_named() {
    let fake = Fake::new(
        ProtocolVersion::V2026_07_28,
        r#"{"tools":{},"resources":{"subscribe":true},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
    );
    let world = world(&[("one", &fake)]).await;
    let wishes = json!({ "taskIds": ["one.t", "t"], "resourceSubscriptions": ["one+a:1", "two+a:1"] });
    let mut stream = world
        .modern("subscriptions/listen", json!({ "notifications": wishes }))
        .await;
    let acknowledged = next(&mut stream).await;
    assert_eq!(
        acknowledged["params"]["notifications"],
        json!({ "taskIds": ["one.t"], "resourceSubscriptions": ["one+a:1"] })
    );
    fake.watches(&["a:1"]).await;
    becomes(&fake.watched_tasks, &["t"]).await;
    assert!(!fake.tell(None, Method::TaskChanged, &json!({ "taskId": "u" })));
    assert!(fake.tell(
        None,
        Method::TaskChanged,
        &json!({ "taskId": "t", "status": "completed" })
    ));
    let heard = next(&mut stream).await;
    assert_eq!(heard["method"], "notifications/tasks");
    assert_eq!(
        (&heard["params"]["taskId"], &heard["params"]["status"]),
        (&json!("one.t"), &json!("completed"))
    );
    assert_eq!(heard["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 1);
    drop(stream);
    fake.watches(&[]).await;
    becomes(&fake.watched_tasks, &[]).await;
}
