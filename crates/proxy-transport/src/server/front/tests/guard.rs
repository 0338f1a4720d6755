//! `Host`, `Origin` and `Accept`, without a front around them.

use http::{HeaderMap, HeaderValue, Uri};

use super::super::guard::{Accept, Guard};

#[track_caller]
fn check(guard: &Guard, host: &str, origin: Option<&str>, allowed: bool) {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_str(host).unwrap());
    if let Some(origin) = origin {
        headers.insert("origin", HeaderValue::from_str(origin).unwrap());
    }
    let judged = guard.check(&Uri::from_static("/mcp"), &headers);
    assert_eq!(judged.is_ok(), allowed, "{host} {origin:?} {judged:?}");
}

#[test]
fn only_this_machine_is_answered_unless_told_otherwise() {
    let guard = Guard::new(&[], &[]);
    for host in [
        "localhost",
        "LOCALHOST:1",
        "127.0.0.1",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:9",
    ] {
        check(&guard, host, None, true);
    }
    for host in [
        "",
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "::1",
        "10.0.0.1",
        "é",
    ] {
        check(&guard, host, None, false);
    }
    for origin in ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:5"] {
        check(&guard, "localhost", Some(origin), true);
    }
    for origin in [
        "null",
        "",
        "http://evil.example",
        "http://localhost.evil.example",
        "file://localhost",
        "http://user@evil.example:80",
        "http://localhost@evil.example",
        "http://localhost/../x",
    ] {
        check(&guard, "localhost", Some(origin), false);
    }
}

#[test]
fn hosts_and_origins_can_be_allowed() {
    let list = |list: &[&str]| list.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>();
    let guard = Guard::new(
        &list(&["mcp.example", "two.example:81"]),
        &list(&["https://app.example"]),
    );
    check(&guard, "MCP.example:443", Some("https://APP.example"), true);
    check(&guard, "two.example:81", None, true);
    check(&guard, "two.example:82", None, false);
    check(&guard, "mcp.example", Some("http://app.example"), false);
    check(
        &Guard::new(&list(&["*"]), &list(&["*"])),
        "any.example",
        Some("null"),
        true,
    );
}

#[test]
fn a_repeated_or_missing_host_is_refused() {
    let guard = Guard::new(&[], &[]);
    let mut headers = HeaderMap::new();
    assert!(guard.check(&Uri::from_static("/mcp"), &headers).is_err());
    headers.append("host", HeaderValue::from_static("localhost"));
    headers.append("host", HeaderValue::from_static("localhost"));
    assert!(guard.check(&Uri::from_static("/mcp"), &headers).is_err());
}

#[test]
fn accept_is_read_as_rfc_9110_has_it() {
    for (text, json, stream) in [
        ("*/*", true, true),
        ("application/json", true, false),
        ("Text/Event-Stream", false, true),
        ("application/* , text/*;q=0.5", true, true),
        ("application/json;q=0, text/event-stream;charset=utf-8", false, true),
        ("application/json;q=0.0", false, false),
        ("text/html,application/xml", false, false),
        ("", false, false),
        (",;,=;q", false, false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert("accept", HeaderValue::from_str(text).unwrap());
        assert_eq!(Accept::of(&headers), Accept { json, stream }, "{text:?}");
    }
    assert_eq!(
        Accept::of(&HeaderMap::new()),
        Accept {
            json: true,
            stream: true
        }
    );
}
