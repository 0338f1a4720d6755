//! Who is let in: versions, sessions, methods, media types, `Host` and `Origin`.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{expect, proxy, request, still_serves};
use crate::support::{Config, Session};

#[tokio::test]
async fn every_version_of_the_session_era_is_echoed() {
    let proxy = proxy(Config::new()).await;
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let session = Session::open(proxy.http(), version).await.expect("a session opens");
        assert_eq!(session.welcome["protocolVersion"], version);
        let id = session.id.clone().expect("a session has an id");
        assert!(id.len() >= 22, "128 bits take 22 characters at the least: {id}");
        assert!(id.bytes().all(|byte| byte.is_ascii_graphic()), "{id}");
        session
            .call("fixture__echo", json!({}))
            .await
            .expect("the session serves");
    }
    // What the proxy does not know is answered with its newest, and the client decides.
    for version in ["1999-01-01", "2026-07-28", "2030-01-01"] {
        let body =
            json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": { "name": "it", "version": "1" } });
        let answer = proxy.http().post(&[], request(1, "initialize", body)).await;
        expect(&answer, 200, None);
        assert_eq!(
            answer.json()["result"]["protocolVersion"],
            "2025-11-25",
            "asked for {version}"
        );
    }
}

#[tokio::test]
async fn an_opened_session_tells_what_the_backends_can_do() {
    let proxy = proxy(Config::new().proxy("instructions = \"Use it well.\"")).await;
    let session = proxy.session().await;
    let welcome = &session.welcome;
    assert_eq!(welcome["serverInfo"]["name"], "it");
    for capability in ["tools", "resources", "prompts", "completions", "logging"] {
        assert!(
            welcome["capabilities"].get(capability).is_some(),
            "{capability} in {welcome}"
        );
    }
    assert_eq!(welcome["capabilities"]["tools"]["listChanged"], true);
    assert!(
        welcome["instructions"]
            .as_str()
            .is_some_and(|text| text.contains("Use it well.")),
        "{welcome}"
    );
}

#[tokio::test]
async fn sessions_are_required_known_and_ended() {
    let mut proxy = proxy(Config::new()).await;
    let (session, http) = (proxy.session().await, proxy.http());
    let list = || request(1, "tools/list", json!({}));

    expect(&http.post(&[], list()).await, 400, None);
    expect(
        &http
            .post(
                &[],
                json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string(),
            )
            .await,
        400,
        None,
    );
    let stream = [("accept", "text/event-stream")];
    expect(&http.send(Method::GET, &stream, "").await, 405, None);
    expect(&http.send(Method::DELETE, &[], "").await, 405, None);

    let unknown = [
        ("mcp-session-id", "0123456789abcdef0123456789abcdef"),
        ("accept", "text/event-stream"),
    ];
    expect(&http.post(&unknown[..1], list()).await, 404, None);
    expect(&http.send(Method::GET, &unknown, "").await, 404, None);
    expect(&http.send(Method::DELETE, &unknown[..1], "").await, 404, None);
    for id in ["", "x", "../../etc/passwd", &"9".repeat(4000)] {
        let status = http.post(&[("mcp-session-id", id)], list()).await.status.as_u16();
        assert!(matches!(status, 400 | 404), "{status} for the session id {id:?}");
    }

    let ended = proxy.session().await;
    assert!(ended.clone().close().await.is_success(), "DELETE ends a session");
    for _ in 0..2 {
        expect(&http.post(&ended.headers(), list()).await, 404, None);
    }
    expect(&http.send(Method::DELETE, &ended.headers(), "").await, 404, None);
    still_serves(&mut proxy, &session).await;
}

#[tokio::test]
async fn methods_and_media_types_outside_the_protocol_are_named_as_such() {
    let mut proxy = proxy(Config::new()).await;
    let (session, http) = (proxy.session().await, proxy.http());
    let headers = |more: &[(&'static str, &'static str)]| {
        session
            .headers()
            .into_iter()
            .chain(more.iter().copied())
            .collect::<Vec<_>>()
    };
    let list = || request(1, "tools/list", json!({}));

    for method in [Method::PUT, Method::PATCH, Method::TRACE] {
        let answer = http.send(method, &session.headers(), "").await;
        expect(&answer, 405, None);
        let allow = answer.header("allow").unwrap_or_default().to_owned();
        assert!(
            ["GET", "POST", "DELETE"].iter().all(|method| allow.contains(method)),
            "RFC 9110 wants Allow: {allow}"
        );
    }
    for accept in ["text/html", "image/png", "application/xml"] {
        let mut headers = session.headers();
        headers.push(("accept", accept));
        expect(&http.post(&headers, list()).await, 406, None);
    }
    expect(
        &http
            .send(Method::GET, &headers(&[("accept", "application/json")]), "")
            .await,
        406,
        None,
    );
    for accept in [
        "*/*",
        "application/*, text/event-stream;q=0.5",
        "text/event-stream, application/json",
    ] {
        let mut headers = session.headers();
        headers.push(("accept", accept));
        expect(&http.post(&headers, list()).await, 200, None);
    }
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "multipart/form-data",
    ] {
        let mut headers = session.headers();
        headers.push(("content-type", kind));
        expect(&http.post(&headers, list()).await, 415, None);
    }
    let answer = http
        .post(&headers(&[("content-type", "application/json; charset=utf-8")]), list())
        .await;
    expect(&answer, 200, None);
    expect(&http.at("/nowhere").post(&session.headers(), list()).await, 404, None);
    still_serves(&mut proxy, &session).await;
}

#[tokio::test]
async fn older_clients_of_the_family_are_answered_on_the_root() {
    let proxy = proxy(Config::new()).await;
    let session = Session::open(proxy.http().at("/"), "2025-03-26")
        .await
        .expect("a session on /");
    session
        .call("fixture__echo", json!({}))
        .await
        .expect("the session serves");
}

#[tokio::test]
async fn a_foreign_origin_or_host_is_forbidden() {
    let mut proxy = proxy(Config::new()).await;
    let (session, http) = (proxy.session().await, proxy.http());
    let body = || request(1, "tools/list", json!({}));
    let own = format!("http://{}", proxy.address);
    let port = proxy.address.port();
    let (local, local_host) = (format!("http://localhost:{port}"), format!("localhost:{port}"));
    for (name, value, status) in [
        ("origin", "http://evil.example", 403),
        ("origin", "https://127.0.0.1.evil.example", 403),
        ("origin", "http://localhost.evil.example:8080", 403),
        ("origin", "null", 403),
        ("origin", own.as_str(), 200),
        ("origin", local.as_str(), 200),
        ("host", "evil.example", 403),
        ("host", "evil.example:80", 403),
        ("host", "127.0.0.1.evil.example", 403),
        ("host", local_host.as_str(), 200),
        ("host", "[::1]", 200),
    ] {
        let mut headers = session.headers();
        headers.push((name, value));
        let answer = http.post(&headers, body()).await;
        assert_eq!(answer.status.as_u16(), status, "{name}: {value}: {:?}", answer.body);
        headers.push(("accept", "text/event-stream"));
        let stream = http.open(Method::GET, &headers, "").await.expect("an answer");
        assert_eq!(stream.status.as_u16(), status, "GET with {name}: {value}");
    }
    still_serves(&mut proxy, &session).await;
}

#[tokio::test]
async fn a_version_header_that_is_none_is_refused() {
    let proxy = proxy(Config::new()).await;
    let session = proxy.session().await;
    let id = session.id.as_deref().expect("a session has an id");
    for version in ["1999-01-01", "latest"] {
        let headers = [("mcp-session-id", id), ("mcp-protocol-version", version)];
        expect(
            &proxy.http().post(&headers, request(1, "ping", json!({}))).await,
            400,
            None,
        );
    }
    // A client of the first revisions sends none.
    expect(
        &proxy
            .http()
            .post(&[("mcp-session-id", id)], request(1, "ping", json!({})))
            .await,
        200,
        None,
    );
}

#[tokio::test]
async fn health_is_told_to_those_who_ask() {
    let proxy = proxy(Config::new()).await;
    for path in ["/livez", "/readyz", "/health"] {
        let answer = proxy.http().at(path).send(Method::GET, &[], "").await;
        assert_eq!(answer.status, StatusCode::OK, "{path} {:?}", answer.body);
    }
}

#[tokio::test]
async fn sessions_are_bounded_and_the_longest_idle_goes_first() {
    let proxy = proxy(Config::new().proxy("session.max = 3")).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(proxy.session().await);
    }
    // The first is now the one used last.
    sessions[0].request("ping", json!({})).await.expect("it is open");
    let newest = proxy.session().await;
    newest.request("ping", json!({})).await.expect("it is open");
    sessions[0].request("ping", json!({})).await.expect("it is open");
    let answer = proxy
        .http()
        .post(&sessions[1].headers(), request(1, "ping", json!({})))
        .await;
    expect(&answer, 404, None);
}

#[tokio::test]
async fn a_silent_stream_is_kept_alive() {
    let proxy = proxy(Config::new().listen("keep_alive_seconds = 1")).await;
    let session = proxy.session().await;
    let mut stream = session.listen().await;
    let comment = stream.next_chunk().await.expect("the stream stays open");
    assert!(
        comment.starts_with(':') || comment.contains("data:"),
        "a comment line: {comment:?}"
    );

    // A call that takes longer than that becomes a stream, and its answer comes all the same.
    let params = json!({ "name": "fixture__slow", "arguments": { "ms": 2500 } });
    let answer = session
        .post(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }))
        .await;
    let answer = answer.expect("an answer");
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/event-stream"), "{answer:?}");
    assert!(answer.json().get("result").is_some(), "{answer:?}");
}

#[tokio::test]
async fn a_unix_socket_serves_beside_the_port() {
    let proxy = proxy(Config::new().listen("unix = \"mcp.sock\"")).await;
    let path = proxy.folder().join("mcp.sock");
    let mode = std::fs::metadata(&path)
        .expect("the socket is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "the socket belongs to its owner alone: {mode:o}");
    let mut stream = UnixStream::connect(&path).await.expect("a connection");
    let params =
        json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "it", "version": "1" } });
    let body = request(1, "initialize", params);
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all((head + &body).as_bytes())
        .await
        .expect("the bytes leave");
    let mut said = String::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut said)).await;
    read.expect("the connection closes").expect("UTF-8");
    assert!(
        said.starts_with("HTTP/1.1 200") && said.contains("\"2025-11-25\""),
        "{said}"
    );
}
