//! Questions of the backend to the client of a call, on the stream of that call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_proxy_core::json::{Params, RawJson};
use mcp_proxy_core::{Asked, Declared, Method, ProtocolVersion, Reply, Session, SessionKey};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use super::script::{Script, Seen, Step, event, response, stream_head};
use super::{Client, call, connect, of_session, options, run, soon, text, tool};

/// A backend that asks in the middle of each call and takes the answer for its result. Its question bears the id of
/// the call as a string.
async fn asking(method: &'static str) -> Script {
    let waiting: Arc<Mutex<HashMap<String, oneshot::Sender<String>>>> = Arc::default();
    Script::calls(Some("s"), move |seen| match seen.method().as_str() {
        "tools/call" => {
            let (answered, answer) = oneshot::channel();
            let id = format!("q{}", seen.id());
            waiting.lock().unwrap().insert(id.clone(), answered);
            let name = &seen.json()["params"]["name"];
            vec![
                stream_head(),
                event(format!(
                    r#"{{"jsonrpc":"2.0","id":"{id}","method":"{method}","params":{{"message":{name}}}}}"#
                )),
                Step::Relay(seen.id(), Arc::new(Mutex::new(Some(answer)))),
                Step::Close,
            ]
        }
        "" => {
            let id = seen.json()["id"].as_str().unwrap().to_owned();
            let outcome = seen.json();
            let outcome = outcome.get("result").or(outcome.get("error")).unwrap();
            let waiting = waiting.lock().unwrap().remove(&id).expect("answered once");
            let _ = waiting.send(outcome.to_string());
            vec![response(202, "", "")]
        }
        _ => vec![response(202, "", "")],
    })
    .await
}

fn accepted(params: &Params) -> Reply {
    let message = params.to_raw().unwrap().get("message").unwrap();
    Reply::Result(
        RawJson::parse(format!(
            r#"{{"action":"accept","content":{{"said":{}}}}}"#,
            message.as_str()
        ))
        .unwrap(),
    )
}

#[tokio::test]
async fn the_answer_of_the_client_reaches_the_backend() {
    let script = asking("elicitation/create").await;
    let (_connector, connected) = connect(options(&script)).await;
    let (_, handle) = Client::answering(|method, params| {
        assert_eq!(method, Method::Elicit);
        Box::pin(async move { Ok(accepted(&params)) })
    });
    let mut call = tool(r#"{"name":"who"}"#);
    call.client = handle;
    let reply = run(&connected, call).await.unwrap();
    assert_eq!(text(&reply), r#"{"action":"accept","content":{"said":"who"}}"#);
    let answer = soon(script.wait_for(|seen| seen.body.contains("\"accept\""))).await;
    assert_eq!(answer.header("mcp-session-id"), Some("s"));
    assert!(
        answer.body.starts_with(r#"{"jsonrpc":"2.0","id":"q"#),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn an_error_of_the_client_reaches_the_backend() {
    let script = asking("sampling/createMessage").await;
    let (_connector, connected) = connect(options(&script)).await;
    let (_, handle) = Client::answering(|_, _| Box::pin(async { Ok(Reply::error(-1, "the user said no")) }));
    let mut call = call();
    call.client = handle;
    let reply = run(&connected, call).await.unwrap();
    assert_eq!(text(&reply), r#"{"code":-1,"message":"the user said no"}"#);
}

#[tokio::test]
async fn fifty_calls_at_once_get_their_own_answers() {
    let script = asking("elicitation/create").await;
    let (_connector, connected) = connect(options(&script)).await;
    let connected = Arc::new(connected);
    let mut calls = JoinSet::new();
    for n in 0..50 {
        let connected = connected.clone();
        calls.spawn(async move {
            let (_, handle) = Client::answering(move |_, params| {
                assert_eq!(params.to_bytes(), format!(r#"{{"message":"t{n}"}}"#));
                Box::pin(async move {
                    // In another order than asked.
                    tokio::time::sleep(Duration::from_millis(50 - n)).await;
                    Ok(accepted(&params))
                })
            });
            let mut call = of_session(tool(&format!(r#"{{"name":"t{n}"}}"#)), n % 5);
            call.client = handle;
            let reply = run(&connected, call).await.unwrap();
            assert_eq!(
                text(&reply),
                format!(r#"{{"action":"accept","content":{{"said":"t{n}"}}}}"#)
            );
        });
    }
    while let Some(done) = soon(calls.join_next()).await {
        done.unwrap();
    }
}

#[tokio::test]
async fn several_questions_are_open_at_once_and_the_stream_is_read_on() {
    let script = Script::calls(Some("s"), |seen| match seen.method().as_str() {
        "tools/call" => vec![
            stream_head(),
            event(r#"{"jsonrpc":"2.0","id":1,"method":"roots/list"}"#),
            event(r#"{"jsonrpc":"2.0","id":"1","method":"roots/list"}"#),
            event(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}"#),
            Step::Hang,
        ],
        _ => vec![response(202, "", "")],
    })
    .await;
    let (_connector, connected) = connect(options(&script)).await;
    let gate = Arc::new(Notify::new());
    let for_client = gate.clone();
    let (client, handle) = Client::answering(move |_, _| {
        let gate = for_client.clone();
        Box::pin(async move {
            gate.notified().await;
            Ok(Reply::Result(RawJson::from_static(r#"{"roots":[]}"#)))
        })
    });
    let mut call = call();
    call.client = handle;
    let running = connected.peer.call(call);
    let watched = async {
        client.news.notified().await;
        gate.notify_one();
        gate.notify_one();
        script.wait_for(|seen| seen.body.contains(r#""id":1,"result""#)).await;
        gate.notify_one();
        script.wait_for(|seen| seen.body.contains(r#""id":"1","result""#)).await;
    };
    tokio::select! {
        reply = running => panic!("{reply:?}"),
        () = soon(watched) => {}
    }
}

/// Says when the question was put and when it was dropped.
struct Watched(Option<oneshot::Sender<()>>);

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.0.take().map(|sender| sender.send(()));
    }
}

fn never(put: Arc<Notify>, dropped: oneshot::Sender<()>) -> impl Fn(Method, Params) -> Asked {
    let dropped = Mutex::new(Some(dropped));
    move |_, _| {
        let watched = Watched(dropped.lock().unwrap().take());
        put.notify_one();
        Box::pin(async move {
            let _watched = watched;
            std::future::pending().await
        })
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_takes_its_question_along() {
    let script = asking("elicitation/create").await;
    let (_connector, connected) = connect(options(&script)).await;
    let put = Arc::new(Notify::new());
    let (sender, dropped) = oneshot::channel();
    let (_, handle) = Client::answering(never(put.clone(), sender));
    let mut call = call();
    call.client = handle;
    tokio::select! {
        reply = connected.peer.call(call) => panic!("{reply:?}"),
        () = soon(put.notified()) => {}
    }
    soon(dropped).await.unwrap();
    soon(script.wait_for(|seen| seen.method() == "notifications/cancelled")).await;
    assert_eq!(
        script.count(|seen| seen.body.contains("\"q")),
        0,
        "nothing was answered"
    );
}

#[tokio::test]
async fn a_backend_can_take_its_question_back() {
    let put = Arc::new(Notify::new());
    let wait = put.clone();
    let script = Script::calls(Some("s"), move |seen| match seen.method().as_str() {
        "tools/call" => vec![
            stream_head(),
            event(r#"{"jsonrpc":"2.0","id":"a","method":"elicitation/create","params":{"message":"?"}}"#),
            Step::Wait(wait.clone()),
            event(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"a"}}"#),
            Step::Hang,
        ],
        _ => vec![response(202, "", "")],
    })
    .await;
    let (_connector, connected) = connect(options(&script)).await;
    let (sender, dropped) = oneshot::channel();
    let (_, handle) = Client::answering(never(put, sender));
    let mut call = call();
    call.client = handle;
    tokio::select! {
        reply = connected.peer.call(call) => panic!("{reply:?}"),
        outcome = soon(dropped) => outcome.unwrap(),
    }
}

#[tokio::test]
async fn a_user_who_thinks_is_no_silence_of_the_backend() {
    let script = asking("elicitation/create").await;
    let mut options = options(&script);
    options.idle_timeout = Duration::from_millis(100);
    let (_connector, connected) = connect(options).await;
    let (_, handle) = Client::answering(|_, params| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(400)).await;
            Ok(accepted(&params))
        })
    });
    let mut call = call();
    call.client = handle;
    run(&connected, call).await.unwrap();
}

#[tokio::test]
async fn each_session_declares_what_its_client_can_do() {
    let script = Script::calls(Some("s"), super::script::result).await;
    let (_connector, connected) = connect(options(&script)).await;
    let capabilities = r#"{"elicitation":{},"tasks":{},"experimental":{"x":1.0}}"#;
    let mut call = call();
    call.context.session = Some(Arc::new(Session {
        key: SessionKey(1),
        version: ProtocolVersion::LATEST_SESSION,
        declared: Arc::new(Declared::new(RawJson::from_static(capabilities), None)),
    }));
    run(&connected, call).await.unwrap();
    let opened: Vec<Seen> = script
        .seen()
        .into_iter()
        .filter(|seen| seen.method() == "initialize")
        .collect();
    let everything = Declared::everything().upward();
    for (seen, declared) in opened
        .iter()
        .zip([everything.as_str(), r#"{"elicitation":{},"experimental":{"x":1.0}}"#])
    {
        assert!(
            seen.body.contains(&format!(r#""capabilities":{declared},"#)),
            "{}",
            seen.body
        );
        assert!(
            seen.body.contains(r#""clientInfo":{"name":"mcp-proxy""#),
            "{}",
            seen.body
        );
    }
    assert_eq!(opened.len(), 2);
}

#[tokio::test]
async fn a_clients_notification_goes_to_its_own_session_only() {
    let script = Script::calls(Some("s"), super::script::result).await;
    let (_connector, connected) = connect(options(&script)).await;
    let roots_changed = || mcp_proxy_core::json::Notification {
        method: Method::RootsChanged,
        params: Params::absent(),
    };
    soon(connected.peer.notify(SessionKey(1), roots_changed()))
        .await
        .unwrap();
    run(&connected, of_session(call(), 1)).await.unwrap();
    soon(connected.peer.notify(SessionKey(2), roots_changed()))
        .await
        .unwrap();
    assert_eq!(
        script.count(|seen| seen.method() == "notifications/roots/list_changed"),
        0
    );
    soon(connected.peer.notify(SessionKey(1), roots_changed()))
        .await
        .unwrap();
    assert_eq!(
        script.count(|seen| seen.method() == "notifications/roots/list_changed"),
        1
    );
}
