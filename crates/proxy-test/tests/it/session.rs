//! The session era over HTTP: revisions, sessions, refusals, exact bytes.

use http::{Method, StatusCode};
use mcp_proxy_test::{Event, Fixture, RAW_RESULT};
use serde_json::{Value, json};

use crate::client::{Client, within};

#[tokio::test]
async fn every_revision_is_echoed_and_an_unknown_one_gets_the_newest() {
    let fixture = Fixture::http().await.unwrap();
    for (asked, answered) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
    ] {
        let reply = within(Client::new(fixture.address()).initialize(asked)).await;
        assert!(reply.headers.contains_key("mcp-session-id"));
        assert_eq!(reply.json().await["result"]["protocolVersion"], answered, "{asked}");
    }
    assert_eq!(fixture.sessions_live(), 6);
}

#[tokio::test]
async fn a_session_is_needed_and_ends_with_delete() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-06-18").await;
    let id = client.session().to_owned();
    assert_eq!(
        client.request("ping", json!({})).await.json().await["result"],
        json!({})
    );

    client.set("mcp-session-id", "nobody");
    assert_eq!(client.request("ping", json!({})).await.status, StatusCode::NOT_FOUND);
    client.unset("mcp-session-id");
    assert_eq!(client.request("ping", json!({})).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(client.get().await.status, StatusCode::BAD_REQUEST);

    client.set("mcp-session-id", &id);
    assert_eq!(client.send(Method::DELETE, String::new()).await.status, StatusCode::OK);
    assert_eq!(client.request("ping", json!({})).await.status, StatusCode::NOT_FOUND);
    assert_eq!(
        client.send(Method::DELETE, String::new()).await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(fixture.ledger().count(|entry| entry.event == Event::Closed), 1);
}

#[tokio::test]
async fn a_wrong_revision_header_is_refused() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-06-18").await;
    for version in ["1999-01-01", "2026-07-28", "2025-11-25"] {
        client.set("mcp-protocol-version", version);
        assert_eq!(
            client.request("ping", json!({})).await.status,
            StatusCode::BAD_REQUEST,
            "{version}"
        );
    }
    client.unset("mcp-protocol-version");
    assert_eq!(client.request("ping", json!({})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_proper_request_is_refused() {
    let fixture = Fixture::http().await.unwrap();
    let address = fixture.address();
    let refused = async |change: fn(&mut Client), method: Method, path: &str| {
        let mut client = Client::new(address);
        change(&mut client);
        client
            .try_send(method, path, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_owned())
            .await
            .unwrap()
            .status
    };
    assert_eq!(
        refused(|c| c.set("host", "evil.example"), Method::POST, "/mcp").await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        refused(|c| c.set("origin", "http://evil.example"), Method::POST, "/mcp").await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        refused(|c| c.set("accept", "text/plain"), Method::POST, "/mcp").await,
        StatusCode::NOT_ACCEPTABLE
    );
    assert_eq!(
        refused(|c| c.set("content-type", "text/plain"), Method::POST, "/mcp").await,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    assert_eq!(
        refused(|_| {}, Method::PUT, "/mcp").await,
        StatusCode::METHOD_NOT_ALLOWED
    );
    assert_eq!(refused(|_| {}, Method::POST, "/other").await, StatusCode::NOT_FOUND);
    for body in ["{", "[]", "42", r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#] {
        let mut client = Client::new(address);
        assert_eq!(
            client.send(Method::POST, body.to_owned()).await.status,
            StatusCode::BAD_REQUEST,
            "{body}"
        );
    }
}

#[tokio::test]
async fn arguments_ids_and_raw_results_keep_their_bytes() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-11-25").await;
    let arguments = r#"{"z":1.0e2,"a":12345678901234567890,"\u0041":[ ]}"#;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1.50,"method":"tools/call","params":{{"name":"echo","arguments":{arguments}}}}}"#
    );
    let text = client.send(Method::POST, body).await.text().await;
    assert!(text.starts_with(r#"{"jsonrpc":"2.0","id":1.50,"#), "{text}");
    assert!(text.contains(&format!(r#""structuredContent":{arguments}"#)), "{text}");
    let text = client.call("raw_result", json!({})).await.text().await;
    assert_eq!(text, format!(r#"{{"jsonrpc":"2.0","id":2,"result":{RAW_RESULT}}}"#));
}

#[tokio::test]
async fn unknown_things_are_errors_of_the_session_era() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-11-25").await;
    let absent = "test://nonexistent-resource-for-conformance-testing";
    for (method, params, code) in [
        ("no/such/method", json!({}), -32601),
        ("tools/call", json!({ "name": "no_such_tool" }), -32602),
        ("tools/call", json!({ "name": "echo", "arguments": [] }), -32602),
        ("prompts/get", json!({ "name": "no_such_prompt" }), -32602),
        ("resources/read", json!({ "uri": absent }), -32002),
        ("tools/list", json!({ "cursor": "made up" }), -32602),
        ("logging/setLevel", json!({ "level": "loud" }), -32602),
    ] {
        let reply = client.request(method, params).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.json().await["error"]["code"], code, "{method}");
    }
}

#[tokio::test]
async fn an_expired_session_is_unknown_to_the_next_request() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-11-25").await;
    let about = client.call("session", json!({})).await.json().await;
    let about = &about["result"]["structuredContent"];
    assert_eq!(about["opened"], 1);
    assert_eq!(about["session"], Fixture::digest(client.session()));
    assert_eq!(client.call("expire", json!({})).await.status, StatusCode::OK);
    assert_eq!(client.request("ping", json!({})).await.status, StatusCode::NOT_FOUND);
    assert_eq!((fixture.sessions_opened(), fixture.sessions_live()), (1, 0));
}

#[tokio::test]
async fn without_session_ids_all_clients_share_one_session() {
    let fixture = Fixture::http().session_ids(false).await.unwrap();
    let mut client = Client::new(fixture.address());
    assert_eq!(client.request("ping", json!({})).await.status, StatusCode::BAD_REQUEST);
    let reply = client.initialize("2025-11-25").await;
    assert!(!reply.headers.contains_key("mcp-session-id"));
    assert_eq!(client.request("ping", json!({})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_batch_is_answered_in_the_one_revision_that_has_them() {
    let fixture = Fixture::http().await.unwrap();
    let batch = json!([
        { "jsonrpc": "2.0", "id": "a", "method": "ping" },
        { "jsonrpc": "2.0", "method": "notifications/roots/list_changed" },
        { "jsonrpc": "2.0", "id": "b", "method": "ping" }
    ]);
    let mut client = Client::open(&fixture, "2025-03-26").await;
    let answers = within(client.post(&batch).await.messages()).await;
    let ids: Vec<_> = answers.iter().map(|answer| answer["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a", "b"]);
    let mut client = Client::open(&fixture, "2025-06-18").await;
    assert_eq!(client.post(&batch).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn lists_come_in_pages_when_told_to() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-11-25").await;
    let whole = client.request("tools/list", json!({})).await.json().await["result"]["tools"].clone();
    fixture.fault(|faults| faults.pages = Some(7));
    let (mut cursor, mut tools, mut pages) = (Value::Null, Vec::new(), 0);
    loop {
        let params = if cursor.is_null() {
            json!({})
        } else {
            json!({ "cursor": cursor })
        };
        let page = client.request("tools/list", params).await.json().await;
        tools.extend(page["result"]["tools"].as_array().unwrap().clone());
        pages += 1;
        match page["result"].get("nextCursor") {
            Some(next) => cursor = next.clone(),
            None => break,
        }
    }
    assert_eq!((pages, json!(tools)), (7, whole));
    fixture.fault(|faults| faults.cyclic_cursor = true);
    let page = client
        .request("tools/list", json!({ "cursor": "page-1" }))
        .await
        .json()
        .await;
    assert_eq!(page["result"]["nextCursor"], "page-1");
}
