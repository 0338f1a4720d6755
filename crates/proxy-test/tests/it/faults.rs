//! The fixture misbehaving on demand.

use std::time::Duration;

use http::{Method, StatusCode};
use mcp_proxy_test::{Faults, Fixture};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::client::{Client, within};

#[tokio::test]
async fn answers_can_be_large_wrong_or_broken() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-11-25").await;
    fixture.fault(|faults| faults.oversized = Some(100_000));
    assert!(client.request("ping", json!({})).await.text().await.len() > 100_000);
    fixture.fault(|faults| *faults = Faults::default());
    fixture.fault(|faults| faults.wrong_id = true);
    assert_eq!(
        client.request("ping", json!({})).await.json().await["id"],
        "nobody-asked-this"
    );
    fixture.fault(|faults| *faults = Faults::default());
    fixture.fault(|faults| faults.malformed_json = true);
    let text = client.request("ping", json!({})).await.text().await;
    assert!(serde_json::from_str::<Value>(&text).is_err());
    fixture.fault(|faults| *faults = Faults::default());
    assert_eq!(
        client.request("ping", json!({})).await.json().await["result"],
        json!({})
    );
}

#[tokio::test]
async fn sessions_can_be_forgotten_and_statuses_forced() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-11-25").await;
    fixture.fault(|faults| faults.forget_sessions = true);
    assert_eq!(client.request("ping", json!({})).await.status, StatusCode::NOT_FOUND);
    fixture.fault(|faults| faults.status = Some(503));
    assert_eq!(
        client.initialize("2025-11-25").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    fixture.fault(|faults| *faults = Faults::default());
    assert_eq!(client.request("ping", json!({})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn every_answer_can_be_a_stream_of_single_bytes() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-11-25").await;
    fixture.fault(|faults| {
        faults.always_stream = true;
        faults.byte_chunks = true;
    });
    let reply = client.call("raw_result", json!({})).await;
    assert!(reply.is_stream());
    assert_eq!(within(reply.json()).await["result"]["content"][0]["text"], "raw A/");
}

#[tokio::test]
async fn connections_can_be_dropped_or_hang() {
    let fixture = Fixture::http().await.unwrap();
    fixture.fault(|faults| faults.drop_connections = true);
    let mut client = Client::new(fixture.address());
    assert!(
        within(client.try_send(Method::POST, "/mcp", String::new()))
            .await
            .is_err()
    );

    fixture.fault(|faults| {
        faults.drop_connections = false;
        faults.hang_on_connect = true;
    });
    let mut hung = TcpStream::connect(fixture.address()).await.unwrap();
    let mut byte = [0];
    let silence = tokio::time::timeout(Duration::from_millis(50), hung.read(&mut byte)).await;
    assert!(silence.is_err(), "a hung connection says nothing");
    fixture.fault(|faults| faults.hang_on_connect = false);
    assert_eq!(within(hung.read(&mut byte)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_crash_in_a_test_ends_the_fixture_and_not_the_test() {
    let mut fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-11-25").await;
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "crash" } });
    assert!(
        within(client.try_send(Method::POST, "/mcp", body.to_string()))
            .await
            .is_err()
    );
    within(fixture.ended()).await;
    assert!(TcpStream::connect(fixture.address()).await.is_err());
}

#[tokio::test]
async fn requests_can_be_held_back() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-11-25").await;
    fixture.fault(|faults| faults.hang_requests = true);
    let asked = client.request("ping", json!({}));
    tokio::pin!(asked);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), &mut asked)
            .await
            .is_err(),
        "nothing is answered"
    );
    fixture.fault(|faults| {
        faults.hang_requests = false;
        faults.always_stream = true;
    });
    assert_eq!(within(asked).await.status, StatusCode::OK);
    let hello = within(Client::new(fixture.address()).initialize("2025-11-25")).await;
    assert!(hello.is_stream() && hello.headers.contains_key("mcp-session-id"));
}
