//! The manager against a scripted connector, on a paused clock.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mcp_proxy_core::catalogue::Kind;
use mcp_proxy_core::json::{Notification, RawJson, Slot};
use mcp_proxy_core::{Call, CallFuture, ErrorKind, Method, ProtocolVersion, Reply};
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::*;
use crate::client::{BoxFuture, Connected, Hello, PeerEvent};

/// What the next attempt to connect does.
enum Step {
    Refuse,
    Hang,
    Accept,
}

#[derive(Default)]
struct Script {
    steps: Mutex<VecDeque<Step>>,
    attempts: AtomicUsize,
    pages: Mutex<Vec<(&'static str, Option<&'static str>)>>,
    live: Mutex<Option<(Arc<ScriptPeer>, mpsc::Sender<PeerEvent>)>>,
}

struct ScriptPeer {
    open: AtomicBool,
    pages: Vec<(&'static str, Option<&'static str>)>,
}

impl Peer for ScriptPeer {
    fn call(&self, call: Call) -> CallFuture {
        let reply = match call.method {
            Method::ToolsList => {
                let page: usize = call
                    .params
                    .string(Slot::Cursor)
                    .map_or(0, |cursor| cursor.parse().unwrap());
                let (names, next) = self.pages[page];
                let tools: Vec<_> = names
                    .split_whitespace()
                    .map(|name| serde_json::json!({ "name": name }))
                    .collect();
                let mut result = serde_json::json!({ "tools": tools });
                if let Some(next) = next {
                    result["nextCursor"] = next.into();
                }
                RawJson::encode(&result)
            }
            _ => RawJson::from_static("{}"),
        };
        Box::pin(async move { Ok(Reply::Result(reply)) })
    }
    fn notify(&self, _: SessionKey, _: Notification) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }
    fn watch(&self, _: Arc<[Box<str>]>) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }
    fn session_closed(&self, _: SessionKey) {}
    fn close(&self) -> BoxFuture<'_, ()> {
        self.open.store(false, Ordering::SeqCst);
        Box::pin(async {})
    }
}

impl Connector for Script {
    fn connect(&self, _: Arc<dyn Downstream>) -> BoxFuture<'_, Result<Connected, Error>> {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        let step = self.steps.lock().unwrap().pop_front().unwrap_or(Step::Accept);
        Box::pin(async move {
            match step {
                Step::Refuse => Err(Error::new(ErrorKind::NotSent, "refused")),
                Step::Hang => std::future::pending().await,
                Step::Accept => {
                    let pages = self.pages.lock().unwrap().clone();
                    let peer = Arc::new(ScriptPeer {
                        open: true.into(),
                        pages,
                    });
                    let (events, receiver) = mpsc::channel(8);
                    *self.live.lock().unwrap() = Some((peer.clone(), events));
                    let hello = Hello {
                        version: ProtocolVersion::LATEST_SESSION,
                        capabilities: RawJson::from_static(r#"{"tools":{}}"#),
                        server_info: None,
                        instructions: None,
                    };
                    Ok(Connected {
                        peer,
                        hello,
                        events: receiver,
                    })
                }
            }
        })
    }
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Arc<Self> {
        let script = Self::default();
        *script.steps.lock().unwrap() = steps.into_iter().collect();
        *script.pages.lock().unwrap() = vec![("a b", None)];
        Arc::new(script)
    }

    fn set_pages(&self, pages: &[(&'static str, Option<&'static str>)]) {
        *self.pages.lock().unwrap() = pages.to_vec();
    }

    /// Ends the connection as a crash would.
    async fn crash(&self) {
        let (peer, events) = self.live.lock().unwrap().take().unwrap();
        peer.open.store(false, Ordering::SeqCst);
        events
            .send(PeerEvent::Closed(Error::new(ErrorKind::SentUnknown, "gone")))
            .await
            .unwrap();
    }
}

fn start(script: &Arc<Script>, lazy: bool) -> Backend {
    let options = BackendOptions {
        name: "b".into(),
        lazy,
        connect_timeout: Duration::from_secs(10),
        backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(8)),
    };
    Backend::start(
        options,
        script.clone(),
        Arc::new(Notify::new()),
        <dyn Downstream>::nobody(),
    )
}

async fn until(backend: &Backend, phase: Phase) {
    backend.follow().wait_for(|status| status.phase == phase).await.unwrap();
}

fn attempts(script: &Script) -> usize {
    script.attempts.load(Ordering::SeqCst)
}

fn tools(backend: &Backend) -> Vec<String> {
    let listing = backend.status().listing;
    let tools = listing.iter().flat_map(|listing| listing.tools.clone());
    tools
        .map(|tool| tool.get("name").unwrap().string().unwrap().into_owned())
        .collect()
}

async fn ping(backend: &Backend) -> Result<Reply, ErrorKind> {
    backend
        .service()
        .oneshot(Call::new(Method::Ping))
        .await
        .map_err(|error| error.kind())
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_the_connection_under_way_and_fails_at_once_during_back_off() {
    let script = Script::new([Step::Refuse, Step::Refuse, Step::Accept]);
    let backend = start(&script, false);
    until(&backend, Phase::Waiting).await;
    assert_eq!(ping(&backend).await, Err(ErrorKind::NotSent));
    until(&backend, Phase::Ready).await;
    assert!(ping(&backend).await.is_ok());
    assert_eq!(attempts(&script), 3);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_accepts_and_never_answers_is_given_up_and_tried_again() {
    let script = Script::new([Step::Hang, Step::Accept]);
    let backend = start(&script, false);
    let started = tokio::time::Instant::now();
    assert!(ping(&backend).await.is_ok() || tools(&backend).is_empty());
    until(&backend, Phase::Ready).await;
    assert!(started.elapsed() >= Duration::from_secs(10));
    assert_eq!(tools(&backend), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_the_listing_and_reconnects_without_a_wait() {
    let script = Script::new([]);
    let backend = start(&script, false);
    until(&backend, Phase::Ready).await;
    let before = tokio::time::Instant::now();
    script.crash().await;
    assert_eq!(tools(&backend), ["a", "b"]);
    assert!(ping(&backend).await.is_ok());
    assert_eq!(before.elapsed(), Duration::ZERO);
    script.crash().await;
    until(&backend, Phase::Waiting).await;
    assert_eq!(
        tools(&backend),
        ["a", "b"],
        "a second crash soon after backs off, and the list stays"
    );
}

#[tokio::test(start_paused = true)]
async fn every_page_is_read_and_a_cursor_loop_is_cut() {
    let script = Script::new([]);
    script.set_pages(&[("a", Some("1")), ("b", Some("2")), ("c", None)]);
    let backend = start(&script, false);
    until(&backend, Phase::Ready).await;
    assert_eq!(tools(&backend), ["a", "b", "c"]);
    script.set_pages(&[("x", Some("1")), ("y", Some("1"))]);
    script.crash().await;
    backend
        .follow()
        .wait_for(|status| attempts(&script) == 2 && status.phase == Phase::Ready)
        .await
        .unwrap();
    assert_eq!(
        tools(&backend),
        ["a", "b", "c"],
        "a list that never ends is refused and the last one kept"
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_is_noticed_and_told_once() {
    let script = Script::new([]);
    let changed = Arc::new(Notify::new());
    let options = BackendOptions {
        name: "b".into(),
        lazy: false,
        connect_timeout: Duration::from_secs(10),
        backoff: Backoff::NETWORK,
    };
    let backend = Backend::start(options, script.clone(), changed.clone(), <dyn Downstream>::nobody());
    changed.notified().await;
    let (_, events) = script.live.lock().unwrap().clone().unwrap();
    events.send(PeerEvent::ListChanged(Kind::Tool)).await.unwrap();
    // The same list again: nobody is told. The wait below would end at once otherwise.
    let told = tokio::time::timeout(Duration::from_secs(60), changed.notified()).await;
    assert!(told.is_err());
    drop(backend);
}

#[tokio::test(start_paused = true)]
async fn a_lazy_backend_connects_when_woken() {
    let script = Script::new([]);
    let backend = start(&script, true);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(attempts(&script), 0);
    backend.wake();
    until(&backend, Phase::Ready).await;
}

#[tokio::test(start_paused = true)]
async fn stopping_closes_the_peer() {
    let script = Script::new([]);
    let backend = start(&script, false);
    until(&backend, Phase::Ready).await;
    let (peer, _events) = script.live.lock().unwrap().clone().unwrap();
    backend.stop().await;
    assert!(!peer.is_open());
    assert_eq!(backend.status().phase, Phase::Stopped);
    assert_eq!(ping(&backend).await, Err(ErrorKind::NotSent));
}
