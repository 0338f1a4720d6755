//! Versions, statuses, headers: what is accepted, what is refused, in which words.

use http::{Method, StatusCode};
use serde_json::json;

use super::support::*;

#[tokio::test]
async fn a_session_speaks_the_version_that_was_asked_for_and_else_the_newest() {
    let world = world();
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let answer = world.initialize(version).await;
        assert_eq!(answer.status, StatusCode::OK);
        let result = &answer.json()["result"];
        assert_eq!(result["protocolVersion"], version);
        assert_eq!(result["serverInfo"]["name"], "fake");
        assert_eq!(result["instructions"], "say \"please\"");
        assert_eq!(result["capabilities"], json!({ "tools": { "listChanged": true } }));
        let id = answer.header("mcp-session-id");
        assert!(id.len() >= 32 && id.bytes().all(|byte| byte.is_ascii_graphic()), "{id}");
        let told = world.call(id, "1", "version").await;
        assert_eq!(told.json()["result"], version);
    }
    for version in ["1999-01-01", "2026-07-28", ""] {
        assert_eq!(
            world.initialize(version).await.json()["result"]["protocolVersion"],
            "2025-11-25"
        );
    }
    assert_eq!(world.front.session_count(), 7);
}

#[tokio::test]
async fn an_initialize_that_says_too_little_or_too_much_opens_nothing() {
    let world = with(|options| options.body_bytes = 1_000_000);
    for params in [
        r#""x":1"#.to_owned(),
        r#""params":{}"#.to_owned(),
        r#""params":{"protocolVersion":7}"#.to_owned(),
        r#""params":{"protocolVersion":"2025-11-25","capabilities":[]}"#.to_owned(),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize",{params}}}"#);
        world.post(&[], body).await.refused(400, -32602);
    }
    let body = initialize("2025-11-25").replace("test", &"x".repeat(70_000));
    world.post(&[], body).await.refused(400, -32600);
    let session = world.open().await;
    let again = world
        .post(&[("mcp-session-id", &session)], initialize("2025-11-25"))
        .await;
    again.refused(400, -32600);
    assert_eq!(world.front.session_count(), 1);
}

#[tokio::test]
async fn each_refusal_has_its_status() {
    let world = world();
    let session = world.open().await;
    let session = ("mcp-session-id", session.as_str());
    let ping = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;
    let post = async |headers: Headers<'_>, body: &str| world.post(headers, body).await;

    for kind in ["text/plain", "application/jsonp", "-", "application/json, text/plain"] {
        post(&[session, ("content-type", kind)], ping)
            .await
            .refused(415, -32600);
    }
    for accept in ["text/html", "image/*", "application/json;q=0"] {
        post(&[session, ("accept", accept)], ping).await.refused(406, -32600);
    }
    post(&[], ping).await.refused(400, -32600);
    post(&[("mcp-session-id", "x")], ping).await.refused(404, -32005);
    post(&[session, session], ping).await.refused(400, -32600);
    for version in ["1999-01-01", "", "2025-06-18"] {
        post(&[session, ("mcp-protocol-version", version)], ping)
            .await
            .refused(400, -32600);
    }
    post(&[session], "{").await.refused(400, -32700);
    post(&[session], "").await.refused(400, -32700);
    post(&[session], "7").await.refused(400, -32600);
    post(&[session], &" ".repeat(1001)).await.refused(413, -32600);
    let unreadable = post(&[session], r#"{"jsonrpc":"2.0","id":"p"}"#).await;
    unreadable.refused(400, -32600);
    assert_eq!(unreadable.json()["id"], "p");
    assert_eq!(post(&[session], "[").await.json()["id"], json!(null));

    let foreign = post(&[session, ("origin", "http://evil.example")], ping).await;
    foreign.refused(403, -32600);
    post(&[session, ("host", "evil.example")], ping)
        .await
        .refused(403, -32600);

    for method in [Method::PUT, Method::OPTIONS] {
        let answer = world.send(method, &[session], "").await;
        answer.refused(405, -32600);
        assert_eq!(answer.header("allow"), "GET, POST, DELETE");
    }
    let stream = ("accept", "text/event-stream");
    let json = ("accept", "application/json");
    world.send(Method::GET, &[session, json], "").await.refused(406, -32600);
    world.send(Method::GET, &[stream], "").await.refused(405, -32600);
    let unknown = ("mcp-session-id", "0123456789abcdef0123456789abcdef");
    world
        .send(Method::GET, &[unknown, stream], "")
        .await
        .refused(404, -32005);
    world.send(Method::DELETE, &[], "").await.refused(405, -32600);
    world.send(Method::DELETE, &[unknown], "").await.refused(404, -32005);

    let answer = post(&[session, ("mcp-protocol-version", "2025-11-25")], ping).await;
    assert_eq!(answer.text, r#"{"jsonrpc":"2.0","id":"p","result":{}}"#);
}

#[tokio::test]
async fn notifications_and_responses_are_accepted_without_a_word() {
    let world = world();
    let session = world.open().await;
    for body in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#,
        r#"{"jsonrpc":"2.0","id":5,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"x","error":{"code":1,"message":"no"}}"#,
    ] {
        let answer = world.post(&[("mcp-session-id", &session)], body).await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (StatusCode::ACCEPTED, ""),
            "{body}"
        );
        world.post(&[], body).await.refused(400, -32600);
    }
    let told = world.log.notified.lock().unwrap().clone();
    assert_eq!(told, ["notifications/initialized", "notifications/roots/list_changed"]);
}

#[tokio::test]
async fn without_required_sessions_a_call_is_served_once() {
    let world = with(|options| options.session.required = false);
    let answer = world
        .post(&[("mcp-protocol-version", "2025-06-18")], call("1", "version"))
        .await;
    assert_eq!(answer.json()["result"], "2025-06-18");
    assert_eq!(
        world.post(&[], call("1", "version")).await.json()["result"],
        "2025-03-26"
    );
    world
        .post(&[("mcp-session-id", "x")], call("1", "echo"))
        .await
        .refused(404, -32005);
    let stream = world.send(Method::GET, &[("accept", "text/event-stream")], "").await;
    stream.refused(405, -32600);
}

#[tokio::test]
async fn batches_belong_to_one_revision() {
    let world = world();
    let newest = world.open().await;
    let old = world.initialize("2025-03-26").await.header("mcp-session-id").to_owned();
    let old = [("mcp-session-id", old.as_str())];
    let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let mixed = format!(
        r#"[{},{note},{},{},7,{},{{"jsonrpc":"2.0","id":4,"method":"ping"}}]"#,
        call("1", "talk"),
        call("1", "echo"),
        initialize("2025-03-26").replace("\"id\":1", "\"id\":9"),
        call("2", "fail"),
    );
    world
        .post(&[("mcp-session-id", &newest)], mixed.clone())
        .await
        .refused(400, -32600);
    for bad in ["[]".to_owned(), format!("[{}]", vec!["1"; 101].join(","))] {
        world.post(&old, bad).await.refused(400, -32600);
    }
    world.post(&old, "[1,").await.refused(400, -32700);
    let notes = world.post(&old, format!("[{note}, {note}]")).await;
    assert_eq!((notes.status, notes.text.as_str()), (StatusCode::ACCEPTED, ""));

    // `talk` expects to be heard, so it is not fit for a batch; the call fails alone.
    let mixed = mixed.replace("\"talk\"", "\"gate\"");
    world.gate.add_permits(1);
    let answer = world.post(&old, mixed).await;
    assert_eq!(answer.status, StatusCode::OK);
    let answers = answer.json();
    let seen: Vec<_> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["id"].clone(), one["error"]["code"].as_i64()))
        .collect();
    let expected = [
        (json!(1), None),
        (json!(1), Some(-32600)),
        (json!(9), Some(-32600)),
        (json!(null), Some(-32600)),
        (json!(2), Some(-32602)),
        (json!(4), None),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn the_pages_about_ourselves_tell_what_is_missing() {
    let world = world();
    let page = async |path: &str| {
        let request = http::Request::builder()
            .uri(path)
            .body(http_body_util::Empty::new())
            .unwrap();
        read(world.front.handle(request).await).await
    };
    for path in ["/livez", "/readyz", "/health"] {
        assert_eq!(page(path).await.status, StatusCode::OK, "{path}");
        assert!(world.front.serves(path));
    }
    world.log.missing.lock().unwrap().push("backend `files`".to_owned());
    let ready = page("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ready.json()["missing"], json!(["backend `files`"]));
    assert_eq!(page("/livez").await.status, StatusCode::OK);
    assert_eq!(page("/health").await.json()["status"], "degraded");
    page("/elsewhere").await.refused(404, -32600);
    assert!(!world.front.serves("/elsewhere"));
}
