//! Which messages are taken: good ones with any id, and what becomes of bytes that are none.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{expect, proxy, request, still_serves};
use crate::support::{Config, ProxyUnderTest, Session};

#[tokio::test]
async fn ids_come_back_as_they_were_sent() {
    let proxy = proxy(Config::new()).await;
    let session = proxy.session().await;
    for id in [
        json!(0),
        json!(-5),
        json!(9_007_199_254_740_993_i64),
        json!("0"),
        json!(""),
        json!("ü\"\\"),
    ] {
        for (method, params) in [("ping", json!({})), ("tools/call", json!({ "name": "fixture__echo" }))] {
            let exchange = session.exchange(id.clone(), method, params).await.expect("an answer");
            assert_eq!(exchange.reply["id"], id, "{method}");
        }
    }
}

#[tokio::test]
async fn notifications_and_stray_responses_are_accepted_without_a_word() {
    let mut proxy = proxy(Config::new()).await;
    let session = proxy.session().await;
    for method in [
        "notifications/initialized",
        "notifications/roots/list_changed",
        "notifications/unheard_of",
    ] {
        session.notify(method, json!({})).await.expect("202");
    }
    session
        .notify("notifications/cancelled", json!({ "requestId": 12345 }))
        .await
        .expect("202");
    for stray in [
        json!({ "jsonrpc": "2.0", "id": 77, "result": {} }),
        json!({ "jsonrpc": "2.0", "id": "x", "error": { "code": 1, "message": "no" } }),
    ] {
        let answer = session.post(&stray).await.expect("an answer");
        // Nobody waits for it: accepted, or refused for that, but never an error of the proxy's.
        assert!(matches!(answer.status.as_u16(), 202 | 400), "{answer:?}");
    }
    still_serves(&mut proxy, &session).await;
}

#[tokio::test]
async fn bodies_that_are_no_message_get_an_error_and_change_nothing() {
    let mut proxy = proxy(Config::new()).await;
    let (session, http) = (proxy.session().await, proxy.http());
    let post = async |body: Vec<u8>| http.post(&session.headers(), Bytes::from(body)).await;

    for malformed in [
        "",
        "{",
        "nonsense",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"",
        "{}{}",
        "\u{feff}{}",
        "[1,",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",}",
        "{'jsonrpc':'2.0'}",
        "{\"jsonrpc\":\"2.0\",\"id\":01,\"method\":\"ping\"}",
    ] {
        let answer = post(malformed.into()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (400, Some(-32700)),
            "{malformed:?} {:?}",
            answer.body
        );
    }
    let mut not_utf8 = request(
        1,
        "tools/call",
        json!({ "name": "fixture__echo", "arguments": { "a": "@" } }),
    )
    .into_bytes();
    let at = not_utf8.iter().position(|byte| *byte == b'@').expect("it is there");
    not_utf8[at] = 0xff;
    expect(&post(not_utf8).await, 400, Some(-32700));

    for invalid in [
        json!([]),
        json!(7),
        json!("text"),
        json!(null),
        json!({}),
        json!([{ "jsonrpc": "2.0", "id": 1, "method": "ping" }]),
        json!({ "jsonrpc": "2.0", "id": null, "method": "ping" }),
        json!({ "jsonrpc": "2.0", "id": true, "method": "ping" }),
        json!({ "jsonrpc": "2.0", "id": {}, "method": "ping" }),
        json!({ "jsonrpc": "2.0", "id": 1, "method": 5 }),
        json!({ "jsonrpc": "1.0", "id": 1, "method": "ping" }),
        json!({ "id": 1, "method": "ping" }),
        json!({ "jsonrpc": "2.0", "id": 1 }),
    ] {
        let answer = post(invalid.to_string().into()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (400, Some(-32600)),
            "{invalid} {:?}",
            answer.body
        );
    }
    for repeated in [
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{},"params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"fixture__echo","name":"fixture__crash"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"fixture__echo","\u006eame":"fixture__crash"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:b","uri":"c:d"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"fixture__echo","_meta":{},"_meta":{}}}"#,
    ] {
        let answer = post(repeated.into()).await;
        let code = answer.code();
        assert!(matches!(answer.status.as_u16(), 200 | 400), "{repeated} {answer:?}");
        assert!(
            matches!(code, Some(-32600 | -32602)),
            "never first or last wins: {repeated} {answer:?}"
        );
    }
    still_serves(&mut proxy, &session).await;
}

#[tokio::test]
async fn a_batch_is_answered_in_the_one_revision_that_has_batches() {
    let mut proxy = proxy(Config::new()).await;
    let session = Session::open(proxy.http(), "2025-03-26")
        .await
        .expect("a session opens");
    let ping = |id: u64| json!({ "jsonrpc": "2.0", "id": id, "method": "ping" });
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/roots/list_changed" });
    let answer = session.post(&json!([ping(1), note, ping(2)])).await.expect("an answer");
    assert_eq!(answer.status.as_u16(), 200, "{:?}", answer.body);
    let mut ids: Vec<Value> = match answer.json() {
        Value::Array(answers) => answers.into_iter().map(|answer| answer["id"].clone()).collect(),
        other => panic!("an array is answered with an array: {other}"),
    };
    ids.sort_by_key(Value::as_u64);
    assert_eq!(ids, [1, 2]);
    let answer = session.post(&json!([note, note])).await.expect("an answer");
    assert_eq!(answer.status.as_u16(), 202, "{:?}", answer.body);
    still_serves(&mut proxy, &session).await;
}

#[tokio::test]
async fn depth_and_size_are_bounded() {
    let mut proxy = proxy(Config::new().listen("body_bytes = 300000")).await;
    let (session, http) = (proxy.session().await, proxy.http());

    let deep = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        let start =
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"fixture__echo","arguments":{"a":"#;
        format!("{start}{open}{close}}}}}}}")
    };
    let answer = http.post(&session.headers(), deep(100_000)).await;
    assert!(
        matches!((answer.status.as_u16(), answer.code()), (400, Some(-32700 | -32600))),
        "{answer:?}"
    );
    for unclosed in ["[".repeat(200_000), "{\"a\":".repeat(50_000)] {
        let answer = http.post(&session.headers(), unclosed).await;
        assert!(
            matches!((answer.status.as_u16(), answer.code()), (400, Some(-32700 | -32600))),
            "{:?}",
            answer.status
        );
    }
    expect(&http.post(&session.headers(), deep(20)).await, 200, None);

    let large = request(
        1,
        "tools/call",
        json!({ "name": "fixture__echo", "arguments": { "a": "x".repeat(200_000) } }),
    );
    expect(&http.post(&session.headers(), large).await, 200, None);
    let too_large = request(
        1,
        "tools/call",
        json!({ "name": "fixture__echo", "arguments": { "a": "x".repeat(300_000) } }),
    );
    expect(&http.post(&session.headers(), too_large).await, 413, None);
    // Announced only: refused before it is sent, so that nobody has to send it.
    let said = raw(&proxy, &format!(
        "POST /mcp HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         mcp-session-id: {}\r\ncontent-length: 900000000\r\n\r\n",
        proxy.address, session.id.as_deref().unwrap_or_default()
    )).await;
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    still_serves(&mut proxy, &session).await;
}

#[tokio::test]
async fn requests_that_are_no_http_harm_nobody() {
    let mut proxy = proxy(Config::new()).await;
    let session = proxy.session().await;
    for bytes in [
        "GARBAGE\r\n\r\n",
        "GET /mcp HTTP/9.9\r\n\r\n",
        "POST /mcp HTTP/1.1\r\n\r\n",
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n{}{}{}",
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\nhost: evil.example\r\ncontent-length: 2\r\n\r\n{}",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\r\n\r\n",
    ] {
        let said = raw(&proxy, bytes).await;
        assert!(
            said.is_empty()
                || said.starts_with("HTTP/1.1 4")
                || said.starts_with("HTTP/1.0 4")
                || said.starts_with("HTTP/1.1 5"),
            "{bytes:?} {said}"
        );
    }
    still_serves(&mut proxy, &session).await;
}

/// Writes bytes on a connection and reads what comes back, for a while.
async fn raw(proxy: &ProxyUnderTest, bytes: &str) -> String {
    let mut stream = TcpStream::connect(proxy.address).await.expect("a connection");
    stream.write_all(bytes.as_bytes()).await.expect("the bytes leave");
    let mut said = vec![0; 4096];
    // A server that refuses says so at once or hangs up.
    match tokio::time::timeout(Duration::from_secs(10), stream.read(&mut said)).await {
        Ok(Ok(length)) => String::from_utf8_lossy(&said[..length]).into_owned(),
        Ok(Err(_)) => String::new(),
        Err(_) => "nothing within ten seconds".to_owned(),
    }
}
