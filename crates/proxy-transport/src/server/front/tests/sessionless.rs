//! Requests of the sessionless era: what they must say, what they are answered.

use std::future::Future as _;

use http::Method;
use serde_json::{Value, json};

use super::support::*;

/// A request with all that the era wants in its body.
pub(super) fn body(id: &Value, method: &str, mut params: Value) -> String {
    let meta = params
        .as_object_mut()
        .unwrap()
        .entry("_meta")
        .or_insert_with(|| json!({}));
    for (key, value) in [
        ("io.modelcontextprotocol/protocolVersion", json!("2026-07-28")),
        ("io.modelcontextprotocol/clientCapabilities", json!({})),
    ] {
        let meta = meta.as_object_mut().unwrap();
        if meta.get(key).is_none() {
            meta.insert(key.to_owned(), value);
        }
    }
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

/// The headers that go with it.
pub(super) fn heads<'a>(method: &'a str, name: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut heads = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
    if !name.is_empty() {
        heads.push(("mcp-name", name));
    }
    heads
}

/// Calls a tool, with more members of `params`.
pub(super) fn tool(name: &str, more: Value) -> String {
    let mut params = json!({ "name": name });
    params
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body(&json!(7), "tools/call", params)
}

impl World {
    /// Calls a tool and reads the whole answer.
    pub(super) async fn run(&self, name: &str, more: Value) -> Answer {
        self.post(&heads("tools/call", name), tool(name, more)).await
    }
}

#[tokio::test]
async fn a_call_needs_no_session_and_its_answer_says_what_it_is() {
    let world = world();
    let answer = world.run("echo", json!({})).await;
    assert_eq!((answer.status.as_u16(), answer.is_stream()), (200, false));
    assert_eq!(answer.header("mcp-session-id"), "");
    let json = answer.json();
    assert_eq!(
        (&json["id"], &json["result"]["resultType"]),
        (&json!(7), &json!("complete"))
    );
    assert_eq!(
        json["result"]["_meta"]["io.modelcontextprotocol/serverInfo"],
        json!({ "name": "fake", "version": "1" })
    );
    assert_eq!(json["result"].get("ttlMs"), None);

    // A session's id means nothing here, not even a foreign one.
    let mut headers = heads("tools/call", "echo");
    headers.extend([("mcp-session-id", "x"), ("last-event-id", "1"), ("accept", "-")]);
    assert_eq!(world.post(&headers, tool("echo", json!({}))).await.status, 200);
    assert_eq!(world.front.session_count(), 0);
    let again = world.call(&world.open().await, "1", "echo").await;
    assert_eq!(
        again.json()["result"].get("resultType"),
        None,
        "the other era stays as it is"
    );
}

#[tokio::test]
async fn what_the_request_declares_is_what_the_call_carries() {
    let world = world();
    let meta = json!({ "_meta": {
        "io.modelcontextprotocol/clientCapabilities": { "sampling": {} },
        "io.modelcontextprotocol/clientInfo": { "name": "c" },
        "io.modelcontextprotocol/logLevel": "error",
    } });
    let result = world.run("declared", meta).await.json()["result"].clone();
    assert_eq!(result["session"], false);
    assert_eq!(result["capabilities"], json!({ "sampling": {} }));
    assert_eq!(result["info"], json!({ "name": "c" }));
    assert_eq!(
        (&result["level"], &result["version"]),
        (&json!("error"), &json!("2026-07-28"))
    );
}

#[tokio::test]
async fn headers_that_differ_from_the_body_are_refused_before_anything_runs() {
    let world = world();
    let version = ("mcp-protocol-version", "2026-07-28");
    let method = ("mcp-method", "tools/call");
    let name = ("mcp-name", "echo");
    let call = tool("echo", json!({}));
    for headers in [
        &[method, name][..],
        &[version, name],
        &[version, method],
        &[("mcp-protocol-version", "2027-01-01"), method, name],
        &[("mcp-protocol-version", "2025-11-25"), method, name],
        &[version, ("mcp-method", "tools/list"), name],
        &[version, ("mcp-method", "Tools/Call"), name],
        &[version, method, ("mcp-name", "other")],
        &[version, method, ("mcp-name", "=?base64?%%?=")],
        &[version, method, ("mcp-name", "h\u{e9}")],
        &[version, method, name, name],
    ] {
        let answer = world.post(headers, call.clone()).await;
        answer.refused(400, -32020);
        assert_eq!(answer.json()["id"], 7, "{headers:?}");
    }
    world
        .post(&heads("tools/call", "echo"), body(&json!(7), "tools/call", json!({})))
        .await
        .refused(400, -32020);
    assert_eq!(world.log.started.load(std::sync::atomic::Ordering::SeqCst), 0);

    let encoded = [version, method, ("mcp-name", "=?base64?ZWNobw==?=")];
    assert_eq!(world.post(&encoded, call.clone()).await.status, 200);
    let padded = [version, method, ("mcp-name", "  echo\t"), ("mcp-param-nobody", "knows")];
    assert_eq!(world.post(&padded, call).await.status, 200);
}

#[tokio::test]
async fn arguments_in_headers_agree_with_the_body() {
    let world = world();
    let arguments = json!({ "arguments": { "region": "zür", "level": 7 } });
    let encoded = "=?base64?esO8cg==?=";
    for (region, level, good) in [
        (encoded, "7", true),
        (encoded, "07", true),
        (encoded, "8", false),
        (encoded, "-", false),
        ("-", "7", false),
        ("zur", "7", false),
        ("=?base64?%?=", "7", false),
    ] {
        let mut headers = heads("tools/call", "mirrored");
        headers.extend([("Mcp-Param-Region", region), ("mcp-param-level", level)]);
        let answer = world.post(&headers, tool("mirrored", arguments.clone())).await;
        if good {
            assert_eq!(answer.status, 200, "{region} {level}: {answer:?}");
        } else {
            answer.refused(400, -32020);
        }
    }
    let mut headers = heads("tools/call", "mirrored");
    assert_eq!(world.post(&headers, tool("mirrored", json!({}))).await.status, 200);
    headers.push(("mcp-param-level", "1"));
    let absent = json!({ "arguments": { "level": null } });
    world
        .post(&headers, tool("mirrored", absent))
        .await
        .refused(400, -32020);
}

#[tokio::test]
async fn a_request_without_what_the_era_demands_is_refused() {
    let world = world();
    let heads = heads("tools/list", "");
    let list = |meta: Value| {
        json!({ "jsonrpc": "2.0", "id": "l", "method": "tools/list", "params": { "_meta": meta } }).to_string()
    };
    let (version, capabilities) = (
        "io.modelcontextprotocol/protocolVersion",
        "io.modelcontextprotocol/clientCapabilities",
    );
    for meta in [
        json!({}),
        json!([]),
        json!({ version: 3, capabilities: {} }),
        json!({ capabilities: {} }),
        json!({ version: "2026-07-28" }),
        json!({ version: "2026-07-28", capabilities: [] }),
        json!({ version: "2026-07-28", capabilities: {}, "io.modelcontextprotocol/logLevel": "loud" }),
        json!({ version: "2026-07-28", capabilities: {}, "io.modelcontextprotocol/logLevel": 1 }),
    ] {
        let answer = world.post(&heads, list(meta)).await;
        answer.refused(400, -32602);
        assert_eq!(answer.json()["id"], "l");
    }
    world
        .post(&heads, r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#)
        .await
        .refused(400, -32602);
    let wide = with(|options| options.body_bytes = 1_000_000);
    let boast = json!({ version: "2026-07-28", capabilities: { "x": "y".repeat(70_000) } });
    wide.post(&heads, list(boast)).await.refused(400, -32602);
    for revision in ["2099-01-01", "1999-01-01", "2025-11-25", "draft"] {
        let headers = [("mcp-protocol-version", revision), ("mcp-method", "tools/list")];
        let answer = world
            .post(&headers, list(json!({ version: revision, capabilities: {} })))
            .await;
        answer.refused(400, -32022);
        assert_eq!(
            answer.json()["error"]["data"],
            json!({ "supported": ["2026-07-28"], "requested": revision })
        );
    }
    for text in [
        "[]",
        r#"[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"tools/list"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
    ] {
        world.post(&heads, text).await.refused(400, -32600);
    }
    world.post(&heads, "{").await.refused(400, -32700);
    let plain = [heads[0], heads[1], ("content-type", "text/plain")];
    world.post(&plain, list(json!({}))).await.refused(415, -32600);
}

#[tokio::test]
async fn methods_that_are_not_of_the_era_are_not_found() {
    let world = world();
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/result",
        "tasks/list",
        "sampling/createMessage",
        "notifications/cancelled",
        "no/such",
    ] {
        let answer = world.post(&heads(method, ""), body(&json!(1), method, json!({}))).await;
        answer.refused(404, -32601);
        assert_eq!(answer.json()["id"], 1);
    }
    for method in ["notifications/initialized", "notifications/roots/list_changed"] {
        let text = json!({ "jsonrpc": "2.0", "method": method }).to_string();
        let answer = world.post(&heads(method, ""), text).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (202, ""));
    }
    let session = world.open().await;
    for method in [Method::GET, Method::DELETE] {
        let version = ("mcp-protocol-version", "2026-07-28");
        for headers in [&[version, ("mcp-session-id", &*session)][..], &[version], &[]] {
            let answer = world.send(method.clone(), headers, "").await;
            answer.refused(405, -32600);
            assert_eq!(answer.header("allow"), "POST");
        }
    }
    assert_eq!(world.front.session_count(), 1);
}

#[tokio::test]
async fn tasks_are_for_clients_that_declare_them() {
    let world = world();
    let extension = json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } });
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let mut params = json!({ "taskId": "t" });
        let refused = world
            .post(&heads(method, "t"), body(&json!(1), method, params.clone()))
            .await;
        refused.refused(400, -32021);
        assert_eq!(refused.json()["error"]["data"]["requiredCapabilities"], extension);
        params["_meta"] = json!({ "io.modelcontextprotocol/clientCapabilities": extension });
        let answer = world.post(&heads(method, "t"), body(&json!(1), method, params)).await;
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn an_initialize_without_the_marks_of_the_era_opens_a_session_as_ever() {
    let world = world();
    let answer = world.initialize("2026-07-28").await;
    assert_eq!(answer.json()["result"]["protocolVersion"], "2025-11-25");
    // A `_meta` that names an old revision, in a session: the session's business.
    let session = answer.header("mcp-session-id").to_owned();
    let meta = json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": "2025-11-25" } });
    let answer = world.post(&[("mcp-session-id", &session)], tool("echo", meta)).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn discovery_tells_what_is_served() {
    let world = world();
    let method = "server/discover";
    let answer = world
        .post(&heads(method, ""), body(&json!("d"), method, json!({})))
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({ "jsonrpc": "2.0", "id": "d", "result": {
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": { "tools": { "listChanged": true } },
            "instructions": "say \"please\"",
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "fake", "version": "1" } },
        } })
    );
    assert_eq!(world.log.started.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn results_keep_what_they_say_and_get_what_they_lack() {
    let world = world();
    let server = json!({ "name": "fake", "version": "1" });
    let key = "io.modelcontextprotocol/serverInfo";
    let big = "x".repeat(20_000);
    let wide = with(|options| options.body_bytes = 1_000_000);
    for (given, wanted) in [
        (json!({}), json!({ "resultType": "complete", "_meta": { key: server } })),
        (
            json!({ "_meta": {}, "a": 1 }),
            json!({ "resultType": "complete", "a": 1, "_meta": { key: server } }),
        ),
        (
            json!({ "_meta": { key: { "name": "own" } }, "resultType": "task", "taskId": "t" }),
            json!({ "_meta": { key: { "name": "own" } }, "resultType": "task", "taskId": "t" }),
        ),
        (
            json!({ "resultType": "input_required", "inputRequests": {}, "_meta": { "x": 1 } }),
            json!({ "resultType": "input_required", "inputRequests": {}, "_meta": { "x": 1, key: server } }),
        ),
        (
            json!({ "_meta": { "first": 1 }, "text": big }),
            json!({ "_meta": { "first": 1, key: server }, "text": big, "resultType": "complete" }),
        ),
        (
            json!({ "text": big, "z": { "_meta": 1 }, "_meta": { "last": 1 } }),
            json!({ "text": big, "z": { "_meta": 1 }, "_meta": { "last": 1, key: server }, "resultType": "complete" }),
        ),
        (
            json!({ "a": big, "_meta": {}, "b": big }),
            json!({ "a": big, "b": big, "_meta": { key: server }, "resultType": "complete" }),
        ),
    ] {
        let answer = wide.run("raw", json!({ "arguments": { "result": given } })).await;
        assert_eq!(answer.json()["result"], wanted);
    }
    let list = async |method: &str, name: &str| {
        let params = json!({ "name": name });
        world.post(&heads(method, ""), body(&json!(1), method, params)).await
    };
    for method in [
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
    ] {
        let result = list(method, "echo").await.json()["result"].clone();
        assert_eq!(
            (&result["ttlMs"], &result["cacheScope"]),
            (&json!(0), &json!("private")),
            "{method}"
        );
    }
    assert_eq!(
        list("completion/complete", "echo").await.json()["result"].get("ttlMs"),
        None
    );
}

#[tokio::test]
async fn errors_have_the_codes_and_the_statuses_of_the_era() {
    let world = world();
    let uri = "test://nowhere";
    let read = world
        .post(
            &heads("resources/read", uri),
            body(&json!(1), "resources/read", json!({ "uri": uri })),
        )
        .await;
    read.refused(200, -32602);
    assert_eq!(read.json()["error"]["data"], json!({ "uri": uri }));
    for (code, status) in [
        (-32602, 200),
        (-32603, 200),
        (-32601, 404),
        (-32020, 400),
        (-32021, 400),
        (-31001, 200),
    ] {
        let error = json!({ "code": code, "message": "told by the backend", "data": { "kept": true } });
        let answer = world.run("raw", json!({ "arguments": { "error": error } })).await;
        answer.refused(status, code);
        assert_eq!(answer.json()["error"], error);
    }
    world.run("panic", json!({})).await.refused(200, -32603);
}

#[tokio::test]
async fn the_answer_is_a_stream_only_when_something_came_before_it() {
    let world = world();
    let meta = json!({ "_meta": { "progressToken": 1 } });
    let answer = world.run("talk", meta.clone()).await;
    assert!(answer.is_stream());
    assert_eq!(answer.header("x-accel-buffering"), "no");
    assert!(
        !answer.text.contains("\nid:") && !answer.text.starts_with("id:"),
        "{answer:?}"
    );
    assert_eq!(answer.text.matches("notifications/progress").count(), 3);
    assert_eq!(answer.json()["result"]["resultType"], "complete");

    let mut headers = heads("tools/call", "echo");
    headers.push(("accept", "text/event-stream"));
    assert!(world.post(&headers, tool("echo", json!({}))).await.is_stream());
}

#[tokio::test]
async fn a_client_that_leaves_has_cancelled() {
    let world = world();
    let headers = heads("tools/call", "hang");
    let mut waiting = Box::pin(world.begin(Method::POST, &headers, tool("hang", json!({}))));
    assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await);
    // The body is there at the second look.
    assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await);
    assert_eq!(world.front.running_calls(), 1);
    drop(waiting);
    assert_eq!(world.front.running_calls(), 0);
    assert_eq!(world.log.dropped.load(std::sync::atomic::Ordering::SeqCst), 1);

    let talking = heads("tools/call", "talk_at_the_gate");
    let response = world
        .begin(Method::POST, &talking, tool("talk_at_the_gate", json!({})))
        .await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    drop(response);
    assert_eq!(world.front.running_calls(), 0);
    assert_eq!(world.log.dropped.load(std::sync::atomic::Ordering::SeqCst), 2);
}
