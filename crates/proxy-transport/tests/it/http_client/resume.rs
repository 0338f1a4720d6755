//! Streams of calls that break off: gone on with where their events bear ids.

use mcp_proxy_core::ErrorKind;

use super::script::{Script, Seen, Step, event, response, send, stream_head, welcome};
use super::{Client, assert_kind, call, connect, options, run, soon, text};

/// A backend that answers a call with `first` and each GET after the event `n` with the n-th of `rest`. The id of the
/// call stands for `ID` in them.
async fn cut(first: &'static str, rest: &'static [&'static str]) -> Script {
    let id = std::sync::Mutex::new(0);
    let fill = |text: &str, id: u64| send(text.replace("ID", &id.to_string()));
    Script::start(move |seen: &Seen| match (seen.verb(), seen.method().as_str()) {
        ("GET", _) => match seen.header("last-event-id") {
            None => vec![response(405, "", "")],
            Some(at) => match rest.get(at.parse::<usize>().unwrap() - 1) {
                Some(rest) => vec![stream_head(), fill(rest, *id.lock().unwrap()), Step::Close],
                None => vec![response(400, "", "")],
            },
        },
        (_, "initialize") => welcome(seen, Some("s")),
        (_, "tools/call") => {
            *id.lock().unwrap() = seen.id();
            vec![stream_head(), fill(first, seen.id()), Step::Close]
        }
        _ => vec![response(202, "", "")],
    })
    .await
}

const ANSWER: &str = "data: {\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":{\"late\":true}}\n\n";

fn resumptions(script: &Script) -> usize {
    script.count(|seen| seen.header("last-event-id").is_some())
}

#[tokio::test]
async fn the_rest_of_a_stream_is_fetched() {
    let script = cut("id: 1\nretry: 20\ndata:\n\n", &[ANSWER]).await;
    let (_connector, connected) = connect(options(&script)).await;
    assert_eq!(text(&run(&connected, call()).await.unwrap()), r#"{"late":true}"#);
    assert_eq!(resumptions(&script), 1);
    let get = soon(script.wait_for(|seen| seen.header("last-event-id").is_some())).await;
    assert_eq!(get.header("mcp-session-id"), Some("s"));
    assert_eq!(
        script.count(|seen| seen.method() == "tools/call"),
        1,
        "it is not sent again"
    );
    assert_eq!(script.count(|seen| seen.method() == "notifications/cancelled"), 0);
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_comes_twice() {
    // Each connection ends in the middle of the next event.
    let script = cut(
        "retry: 10\nid: 1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"n\":1}}\n\nid: 2\ndata: {\"jso",
        &[
            "id: 2\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"n\":2}}\n\nid: 3\nda",
            "id: 3\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"n\":3}}\n\nid: 4\ndata: {\"jsonrpc\":\"2.0\",\"id\":ID,",
            "id: 4\ndata: {\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":{}}\n\n",
        ],
    )
    .await;
    let (_connector, connected) = connect(options(&script)).await;
    let (client, handle) = Client::handle();
    let mut call = call();
    call.client = handle;
    run(&connected, call).await.unwrap();
    let told: Vec<String> = client.told().into_iter().map(|(_, params)| params).collect();
    assert_eq!(told, [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]);
    assert_eq!(resumptions(&script), 3);
}

#[tokio::test]
async fn without_ids_nothing_is_known() {
    let script = cut("retry: 10\n: x\n\n", &[ANSWER]).await;
    let (_connector, connected) = connect(options(&script)).await;
    assert_kind(run(&connected, call()).await, ErrorKind::SentUnknown);
    assert_eq!(resumptions(&script), 0);
}

#[tokio::test]
async fn a_backend_that_has_nothing_kept_is_not_asked_again() {
    let script = cut("retry: 10\nid: 1\n\n", &[]).await;
    let (_connector, connected) = connect(options(&script)).await;
    assert_kind(run(&connected, call()).await, ErrorKind::SentUnknown);
    assert_eq!(resumptions(&script), 1);
    soon(script.wait_for(|seen| seen.method() == "notifications/cancelled")).await;
}

#[tokio::test]
async fn empty_streams_are_silence() {
    let script = cut("retry: 10\nid: 1\n\n", &[""]).await;
    let mut options = options(&script);
    options.idle_timeout = std::time::Duration::from_millis(300);
    let (_connector, connected) = connect(options).await;
    let outcome = run(&connected, call()).await;
    assert_kind(outcome, ErrorKind::Timeout { sent: true });
    assert!(resumptions(&script) > 1);
}

#[tokio::test]
async fn a_question_outlives_the_connection_it_came_on() {
    let script = Script::start(|seen: &Seen| match (seen.verb(), seen.method().as_str()) {
        ("GET", _) if seen.header("last-event-id").is_none() => vec![response(405, "", "")],
        ("GET", _) => vec![stream_head(), Step::Hang],
        (_, "initialize") => welcome(seen, Some("s")),
        (_, "tools/call") => vec![
            stream_head(),
            send("retry: 10\nid: 1\n"),
            event(r#"{"jsonrpc":"2.0","id":"q","method":"roots/list"}"#),
            Step::Close,
        ],
        _ => vec![response(202, "", "")],
    })
    .await;
    let (_connector, connected) = connect(options(&script)).await;
    let gate = std::sync::Arc::new(tokio::sync::Notify::new());
    let answered = gate.clone();
    let (_, handle) = Client::answering(move |_, _| {
        let gate = gate.clone();
        Box::pin(async move {
            gate.notified().await;
            Ok(super::Reply::Result(mcp_proxy_core::json::RawJson::from_static("{}")))
        })
    });
    let mut call = call();
    call.client = handle;
    let watched = async {
        script.wait_for(|seen| seen.header("last-event-id").is_some()).await;
        answered.notify_one();
        script.wait_for(|seen| seen.body.contains(r#""id":"q","result""#)).await;
    };
    tokio::select! {
        reply = connected.peer.call(call) => panic!("{reply:?}"),
        () = soon(watched) => {}
    }
}
