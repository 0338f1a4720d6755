//! What a backend answers, and what it is taken for.

use mcp_proxy_core::{ErrorKind, Reply};
use std::time::Duration;

use super::script::{Script, Seen, Step, event, json, response, result, send, stream_head};
use super::{assert_kind, call, connect, options, run, text, tool};

/// Plays `play` for one call of a backend that takes at most 10,000 bytes.
async fn outcome(play: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Result<Reply, mcp_proxy_core::Error> {
    let script = Script::calls(None, play).await;
    let mut options = options(&script);
    options.max_message_bytes = 10_000;
    let (_connector, connected) = connect(options).await;
    run(&connected, call()).await
}

#[tokio::test]
async fn a_call_goes_out_as_the_specification_says() {
    let script = Script::calls(Some("s-1"), result).await;
    let mut options = options(&script);
    options.bearer = Some(mcp_proxy_core::Secret::new("t0ken"));
    options.headers = vec![
        ("x-team".parse().unwrap(), "blue".parse().unwrap()),
        ("accept".parse().unwrap(), "text/plain".parse().unwrap()),
    ];
    let (_connector, connected) = connect(options).await;
    let reply = run(&connected, tool(r#"{"name":"a\u0041","arguments":{"n":1.0e2}}"#))
        .await
        .unwrap();
    assert_eq!(text(&reply), r#"{"ok":true}"#);
    let seen = script.wait_for(|seen| seen.method() == "tools/call").await;
    assert!(seen.head.starts_with("POST /mcp?x=1 HTTP/1.1\r\n"), "{}", seen.head);
    for (name, value) in [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("authorization", "Bearer t0ken"),
        ("x-team", "blue"),
        ("mcp-session-id", "s-1"),
        ("mcp-protocol-version", "2025-06-18"),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    assert!(seen.header("host").unwrap().starts_with("127.0.0.1:"));
    let id = seen.id();
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"a\u0041","arguments":{{"n":1.0e2}}}}}}"#
    );
    assert_eq!(seen.body, body);
    let hello = script.wait_for(|seen| seen.method() == "initialize").await;
    assert_eq!(hello.json()["params"]["protocolVersion"], "2025-11-25");
    assert_eq!(hello.header("mcp-session-id"), None);
    let ready = script
        .wait_for(|seen| seen.method() == "notifications/initialized")
        .await;
    assert_eq!(ready.header("mcp-session-id"), Some("s-1"));
}

#[tokio::test]
async fn statuses_are_judged() {
    let pushback = |seconds| ErrorKind::Pushback {
        retry_after: Some(Duration::from_secs(seconds)),
    };
    for (status, headers, kind) in [
        (401, "", ErrorKind::Refused),
        (404, "", ErrorKind::Refused),
        (429, "retry-after: 3\r\n", pushback(3)),
        (503, "retry-after: 4\r\n", pushback(4)),
        (503, "", ErrorKind::ServerFault),
        (500, "", ErrorKind::ServerFault),
        (302, "location: http://127.0.0.1:1/\r\n", ErrorKind::ServerFault),
        (202, "", ErrorKind::ServerFault),
        (408, "", ErrorKind::SentUnknown),
    ] {
        assert_kind(outcome(move |_| vec![response(status, headers, "oops")]).await, kind);
    }
}

#[tokio::test]
async fn an_error_in_a_refusal_is_the_answer_if_it_has_our_id() {
    let refusal = |id: String| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32602,"message":"no","data":[1]}}}}"#);
        vec![response(400, "content-type: application/json\r\n", &body)]
    };
    let reply = outcome(move |seen| refusal(seen.id().to_string())).await.unwrap();
    let Reply::Error(error) = reply else {
        panic!("{reply:?}")
    };
    assert_eq!(error.raw().as_str(), r#"{"code":-32602,"message":"no","data":[1]}"#);
    assert_kind(outcome(move |_| refusal("null".to_owned())).await, ErrorKind::Refused);
    assert_kind(outcome(move |_| refusal("99".to_owned())).await, ErrorKind::Refused);
}

#[tokio::test]
async fn what_is_no_answer_is_the_backends_fault() {
    assert_kind(outcome(|_| json("{")).await, ErrorKind::ServerFault);
    assert_kind(outcome(|_| json("")).await, ErrorKind::ServerFault);
    assert_kind(outcome(|_| json("[]")).await, ErrorKind::ServerFault);
    let foreign = r#"{"jsonrpc":"2.0","id":4711,"result":{}}"#;
    assert_kind(outcome(move |_| json(foreign)).await, ErrorKind::ServerFault);
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/message"}"#;
    assert_kind(outcome(move |_| json(notification)).await, ErrorKind::ServerFault);
    let as_text = |seen: &Seen| format!(r#"{{"jsonrpc":"2.0","id":"{}","result":{{}}}}"#, seen.id());
    assert_kind(outcome(move |seen| json(&as_text(seen))).await, ErrorKind::ServerFault);
    let page = |_: &Seen| vec![response(200, "content-type: text/html\r\n", "<p>hi")];
    assert_kind(outcome(page).await, ErrorKind::ServerFault);
    let broken_event = |_: &Seen| vec![stream_head(), event("{"), Step::Hang];
    assert_kind(outcome(broken_event).await, ErrorKind::ServerFault);
}

#[tokio::test]
async fn size_is_bounded() {
    let announced = |_: &Seen| {
        vec![
            send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n{"),
            Step::Hang,
        ]
    };
    assert_kind(outcome(announced).await, ErrorKind::ServerFault);
    let chunked = |_: &Seen| {
        let mut steps = vec![send(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        )];
        steps.extend(vec![send(format!("3e8\r\n{}\r\n", " ".repeat(1000))); 100]);
        steps.push(Step::Hang);
        steps
    };
    assert_kind(outcome(chunked).await, ErrorKind::ServerFault);
    let long_event = |_: &Seen| vec![stream_head(), send("data: "), send("x".repeat(20_000)), Step::Hang];
    assert_kind(outcome(long_event).await, ErrorKind::ServerFault);
    let exact = |seen: &Seen| {
        let start = format!(r#"{{"jsonrpc":"2.0","id":{},"result":""#, seen.id());
        json(&format!("{start}{}\"}}", "x".repeat(10_000 - start.len() - 2)))
    };
    assert!(outcome(exact).await.is_ok());
}

#[tokio::test]
async fn a_connection_that_breaks_off_leaves_the_outcome_open() {
    assert_kind(outcome(|_| vec![Step::Close]).await, ErrorKind::SentUnknown);
    let half_head = |_: &Seen| vec![send("HTTP/1.1 200 OK\r\ncontent-ty"), Step::Close];
    assert_kind(outcome(half_head).await, ErrorKind::SentUnknown);
    let half_body = |_: &Seen| {
        vec![
            send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{\"jsonrpc\""),
            Step::Close,
        ]
    };
    assert_kind(outcome(half_body).await, ErrorKind::SentUnknown);
    let half_chunk = |_: &Seen| {
        vec![
            send("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n30\r\n{"),
            Step::Close,
        ]
    };
    assert_kind(outcome(half_chunk).await, ErrorKind::SentUnknown);
    let silent_end = |_: &Seen| vec![stream_head(), event(""), send(": bye\n\n"), Step::Close];
    assert_kind(outcome(silent_end).await, ErrorKind::SentUnknown);
    assert_kind(
        outcome(|_| vec![send("SSH-2.0-x\r\n"), Step::Hang]).await,
        ErrorKind::SentUnknown,
    );
}

#[tokio::test]
async fn slow_pieces_make_a_whole() {
    let trickle = |seen: &Seen| {
        let Some(Step::Send(bytes)) = result(seen).pop() else {
            panic!()
        };
        bytes.into_iter().map(|byte| Step::Send(vec![byte])).collect()
    };
    assert_eq!(text(&outcome(trickle).await.unwrap()), r#"{"ok":true}"#);
    let events = |seen: &Seen| {
        let answer = format!(
            "data: {{\"jsonrpc\":\"2.0\",\ndata: \"id\":{},\ndata: \"result\":[]}}\n\n",
            seen.id()
        );
        let mut steps = vec![stream_head()];
        steps.extend(answer.bytes().map(|byte| Step::Send(vec![byte])));
        steps.push(Step::Hang);
        steps
    };
    assert_eq!(text(&outcome(events).await.unwrap()), "[]");
}

#[tokio::test]
async fn informational_responses_are_skipped() {
    let chatty = |seen: &Seen| {
        let mut steps = vec![send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"); 5];
        steps.extend(result(seen));
        steps
    };
    assert!(outcome(chatty).await.is_ok());
}
