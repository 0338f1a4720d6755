//! The streams of clients' own upstream sessions: opened before the first call, and what comes there finds its client.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_proxy_core::SessionKey;
use mcp_proxy_core::json::RawJson;
use mcp_proxy_transport::client::options::SessionMode;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use super::script::{Script, Seen, Step, response, result, stream_head, welcome};
use super::{Client, Clients, Reply, call, connect, connect_to, of_session, options, run, soon, tool};

/// A backend whose sessions `s0`, `s1`, … each have a stream that the test speaks on.
struct Streaming {
    script: Script,
    feeds: Arc<Mutex<HashMap<String, mpsc::Sender<String>>>>,
}

impl Streaming {
    async fn start(play: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let opened = AtomicUsize::new(0);
        let feeds: Arc<Mutex<HashMap<String, mpsc::Sender<String>>>> = Arc::default();
        let feeds_there = feeds.clone();
        let script = Script::start(move |seen| match (seen.verb(), seen.method().as_str()) {
            ("GET", _) => {
                let (sender, receiver) = mpsc::channel(100);
                let session = seen.header("mcp-session-id").unwrap().to_owned();
                feeds_there.lock().unwrap().insert(session, sender);
                let feed = Arc::new(tokio::sync::Mutex::new(receiver));
                vec![stream_head(), Step::Feed(feed), Step::Close]
            }
            ("DELETE", _) => vec![response(200, "", "")],
            (_, "initialize") => {
                let id = format!("s{}", opened.fetch_add(1, Ordering::SeqCst));
                welcome(seen, Some(&id))
            }
            (_, "tools/call") => play(seen),
            _ => vec![response(202, "", "")],
        })
        .await;
        Self { script, feeds }
    }

    async fn say(&self, session: &str, message: &str) {
        let get = |seen: &Seen| seen.verb() == "GET" && seen.header("mcp-session-id") == Some(session);
        soon(self.script.wait_for(get)).await;
        let feed = loop {
            if let Some(feed) = self.feeds.lock().unwrap().get(session).cloned() {
                break feed;
            }
            tokio::task::yield_now().await;
        };
        feed.send(format!("data: {message}\n\n")).await.unwrap();
    }

    async fn answer(&self, part: &str) -> Seen {
        soon(
            self.script
                .wait_for(|seen| seen.method().is_empty() && seen.body.contains(part)),
        )
        .await
    }
}

const ASK: &str = r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"?"}}"#;

#[tokio::test]
async fn the_stream_is_there_before_the_first_call() {
    let backend = Streaming::start(result).await;
    let (_connector, connected) = connect(options(&backend.script)).await;
    run(&connected, of_session(call(), 1)).await.unwrap();
    run(&connected, of_session(call(), 1)).await.unwrap();
    let seen = backend.script.seen();
    let of_client: Vec<String> = seen
        .iter()
        .filter(|seen| seen.header("mcp-session-id") == Some("s1"))
        .map(|seen| format!("{} {}", seen.verb(), seen.method()))
        .collect();
    assert_eq!(
        of_client,
        [
            "POST notifications/initialized",
            "GET ",
            "POST tools/call",
            "POST tools/call"
        ]
    );
}

#[tokio::test]
async fn a_question_beside_a_call_is_put_by_the_call() {
    let gate = Arc::new(Notify::new());
    let wait = gate.clone();
    let backend = Streaming::start(move |seen| {
        let mut steps = vec![Step::Wait(wait.clone())];
        steps.extend(result(seen));
        steps
    })
    .await;
    let mut options = options(&backend.script);
    // Shorter than the user thinks: the call is not silent for too long as long as anything is asked.
    options.idle_timeout = Duration::from_millis(500);
    let (_connector, connected) = connect_to(options, Arc::new(Clients::default())).await;
    let (_, handle) = Client::answering(|_, _| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(900)).await;
            Ok(Reply::Result(RawJson::from_static(r#"{"by":"call"}"#)))
        })
    });
    let mut asked = of_session(call(), 1);
    asked.client = handle;
    let mut running = JoinSet::new();
    running.spawn(connected.peer.call(asked));
    soon(backend.script.wait_for(|seen| seen.method() == "tools/call")).await;
    backend.say("s1", ASK).await;
    let answer = backend.answer("\"by\"").await;
    assert_eq!(answer.body, r#"{"jsonrpc":"2.0","id":"q","result":{"by":"call"}}"#);
    assert_eq!(answer.header("mcp-session-id"), Some("s1"));
    gate.notify_one();
    soon(running.join_next()).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn outside_calls_the_client_of_the_session_is_meant() {
    let backend = Streaming::start(result).await;
    let clients = Arc::new(Clients::default());
    let (_connector, connected) = connect_to(options(&backend.script), clients.clone()).await;
    run(&connected, of_session(call(), 7)).await.unwrap();
    backend.say("s1", ASK).await;
    let answer = backend.answer("outside").await;
    assert_eq!(answer.body, r#"{"jsonrpc":"2.0","id":"q","result":{"outside":7}}"#);

    for (method, to) in [
        ("notifications/message", Some(7)),
        ("notifications/elicitation/complete", Some(7)),
        ("notifications/tasks/status", Some(7)),
        ("notifications/resources/updated", None),
    ] {
        backend
            .say(
                "s1",
                &format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{{}}}}"#),
            )
            .await;
        soon(clients.wait_for(to, method)).await;
    }
}

#[tokio::test]
async fn on_a_shared_session_only_the_only_call_is_meant() {
    let gate = Arc::new(Notify::new());
    let wait = gate.clone();
    let backend = Streaming::start(move |seen| {
        let mut steps = vec![Step::Wait(wait.clone())];
        steps.extend(result(seen));
        steps
    })
    .await;
    let mut options = options(&backend.script);
    options.session = SessionMode::Shared;
    let (_connector, connected) = connect_to(options, Arc::new(Clients::default())).await;
    // The stream is there once something came on it.
    backend
        .say("s0", r#"{"jsonrpc":"2.0","id":0,"method":"roots/list"}"#)
        .await;
    let of_nobody = backend.answer("\"id\":0").await;
    assert_eq!(of_nobody.body, r#"{"jsonrpc":"2.0","id":0,"result":{"roots":[]}}"#);

    let mut running = JoinSet::new();
    let count = |wanted: usize| {
        let script = &backend.script;
        async move { soon(script.wait_for_count(|seen| seen.method() == "tools/call", wanted)).await }
    };
    for key in 1..3 {
        let (_, handle) = Client::answering(move |_, _| {
            let answer = RawJson::parse(format!(r#"{{"by":{key}}}"#)).unwrap();
            Box::pin(async move { Ok(Reply::Result(answer)) })
        });
        let mut asked = of_session(call(), key);
        asked.client = handle;
        running.spawn(connected.peer.call(asked));
        count(key as usize).await;
        backend.say("s0", &ASK.replace("\"q\"", &format!("\"q{key}\""))).await;
        let answer = backend.answer(&format!("\"q{key}\"")).await;
        let expected = match key {
            1 => r#""result":{"by":1}"#,
            _ => r#""error":{"code":-32600"#,
        };
        assert!(answer.body.contains(expected), "{}", answer.body);
    }
    gate.notify_one();
    soon(running.join_next()).await.unwrap().unwrap().unwrap();
    gate.notify_one();
    soon(running.join_next()).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn on_the_catalogues_stream_only_subscribers_are_meant() {
    let backend = Streaming::start(result).await;
    let clients = Arc::new(Clients::default());
    let (connector, _connected) = connect_to(options(&backend.script), clients.clone()).await;
    backend
        .say(
            "s0",
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#,
        )
        .await;
    backend
        .say(
            "s0",
            r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{}}"#,
        )
        .await;
    backend
        .say(
            "s0",
            r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{}}"#,
        )
        .await;
    soon(clients.wait_for(None, "notifications/resources/updated")).await;
    soon(clients.wait_for(None, "notifications/tasks/status")).await;
    assert_eq!(clients.told.lock().unwrap().len(), 2);
    assert_eq!(connector.dropped_messages(), 1);
}

#[tokio::test]
async fn progress_beside_a_call_reaches_it() {
    let gate = Arc::new(Notify::new());
    let wait = gate.clone();
    let backend = Streaming::start(move |seen| {
        let mut steps = vec![Step::Wait(wait.clone())];
        steps.extend(result(seen));
        steps
    })
    .await;
    let (_connector, connected) = connect(options(&backend.script)).await;
    let (client, handle) = Client::handle();
    let mut watched = of_session(tool(r#"{"_meta":{"progressToken":"mine"},"name":"t"}"#), 1);
    watched.client = handle;
    let mut running = JoinSet::new();
    running.spawn(connected.peer.call(watched));
    let seen = soon(backend.script.wait_for(|seen| seen.method() == "tools/call")).await;
    let progress = |token: u64| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
        )
    };
    backend.say("s1", &progress(seen.id() + 1000)).await;
    backend.say("s1", &progress(seen.id())).await;
    soon(client.news.notified()).await;
    assert_eq!(client.told()[0].1, r#"{"progressToken":"mine","progress":1}"#);
    gate.notify_one();
    soon(running.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(client.told().len(), 1);
}

#[tokio::test]
async fn a_stream_that_ends_is_opened_again_and_ends_with_its_session() {
    let backend = Streaming::start(result).await;
    let (_connector, connected) = connect(options(&backend.script)).await;
    run(&connected, of_session(call(), 1)).await.unwrap();
    backend.say("s1", ": x\nid: e1\nretry: 1\ndata:").await;
    // The end of the channel is the end of the stream.
    backend.feeds.lock().unwrap().remove("s1");
    let again = soon(backend.script.wait_for(|seen| seen.header("last-event-id").is_some())).await;
    assert_eq!(
        (again.header("mcp-session-id"), again.header("last-event-id")),
        (Some("s1"), Some("e1"))
    );
    let closed = backend.script.closed();
    connected.peer.session_closed(SessionKey(1));
    soon(backend.script.wait_for(|seen| seen.verb() == "DELETE")).await;
    soon(backend.script.wait_for_closed(closed + 1)).await;
    soon(connected.peer.close()).await;
}

#[tokio::test]
async fn a_backend_without_streams_is_asked_once() {
    let script = Script::calls(Some("s"), result).await;
    let (_connector, connected) = connect(options(&script)).await;
    soon(script.wait_for(|seen| seen.verb() == "GET")).await;
    run(&connected, of_session(call(), 1)).await.unwrap();
    let asked = script.count(|seen| seen.verb() == "GET");
    for key in 2..10 {
        run(&connected, of_session(call(), key)).await.unwrap();
    }
    assert_eq!(script.count(|seen| seen.verb() == "GET"), asked);
}

#[tokio::test]
async fn a_stream_whose_answer_is_late_holds_up_connecting_and_no_call() {
    let script = Script::start(|seen| match (seen.verb(), seen.method().as_str()) {
        ("GET", _) => vec![Step::Hang],
        (_, "initialize") => welcome(seen, Some("s")),
        (_, "tools/call") => result(seen),
        _ => vec![response(202, "", "")],
    })
    .await;
    let (_connector, connected) = connect(options(&script)).await;
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    for key in 1..5 {
        connected.peer.call(of_session(call(), key)).await.unwrap();
    }
    let waited = start.elapsed();
    // On a paused clock, where only time-outs that were waited out pass any.
    assert!(waited < Duration::from_secs(1), "{waited:?}");
}
