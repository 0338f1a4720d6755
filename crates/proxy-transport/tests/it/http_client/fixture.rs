//! Against a real MCP server: everything arrives as it was sent, and faults are what they are called.

use mcp_proxy_core::{ErrorKind, Method, Reply};
use mcp_proxy_test::{Event, Fixture, RAW_RESULT};
use mcp_proxy_transport::client::Connected;
use mcp_proxy_transport::client::http::HttpConnector;
use mcp_proxy_transport::client::options::HttpOptions;

use super::{Client, assert_kind, connect, of_session, run, soon, text, tool};

async fn start(change: impl FnOnce(&mut HttpOptions)) -> (Fixture, HttpConnector, Connected) {
    let fixture = Fixture::http().await.unwrap();
    let mut options = HttpOptions::new(fixture.url().parse().unwrap());
    change(&mut options);
    let (connector, connected) = connect(options).await;
    (fixture, connector, connected)
}

fn named(name: &str) -> mcp_proxy_core::Call {
    tool(&format!(r#"{{"name":"{name}","arguments":{{}}}}"#))
}

#[tokio::test]
async fn results_arrive_to_the_byte() {
    let (fixture, _connector, connected) = start(|_| {}).await;
    assert_eq!(text(&run(&connected, named("raw_result")).await.unwrap()), RAW_RESULT);
    fixture.fault(|faults| (faults.always_stream, faults.byte_chunks) = (true, true));
    assert_eq!(text(&run(&connected, named("raw_result")).await.unwrap()), RAW_RESULT);
    fixture.fault(|faults| faults.byte_chunks = false);
    let big = tool(r#"{"name":"big","arguments":{"bytes":5000000}}"#);
    assert!(text(&run(&connected, big.clone()).await.unwrap()).len() > 5_000_000);
    fixture.fault(|faults| faults.always_stream = false);
    assert!(text(&run(&connected, big).await.unwrap()).len() > 5_000_000);
}

#[tokio::test]
async fn streams_give_their_connection_back() {
    let (fixture, connector, connected) = start(|_| {}).await;
    fixture.fault(|faults| faults.always_stream = true);
    for _ in 0..10 {
        run(&connected, named("echo")).await.unwrap();
    }
    let (dialled, reused) = connector.connections();
    assert!(dialled <= 4 && reused >= 8, "{dialled} opened, {reused} reused");
}

#[tokio::test]
async fn progress_comes_before_the_answer() {
    let (_fixture, _connector, connected) = start(|_| {}).await;
    let (client, handle) = Client::handle();
    let mut call = tool(r#"{"name":"progress","arguments":{"steps":3,"ms":1},"_meta":{"progressToken":17}}"#);
    call.client = handle;
    run(&connected, call).await.unwrap();
    let told = client.told();
    assert_eq!(told.len(), 3, "{told:?}");
    for (method, params) in told {
        assert_eq!(method, "notifications/progress");
        let params: serde_json::Value = serde_json::from_str(&params).unwrap();
        assert_eq!(params["progressToken"], 17);
    }
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_once_and_not_run() {
    let (fixture, _connector, connected) = start(|_| {}).await;
    {
        let call = connected.peer.call(named("silent"));
        tokio::select! {
            reply = call => panic!("{reply:?}"),
            _ = soon(fixture.ledger().wait_for(|entry| entry.tool.as_deref() == Some("silent"))) => {}
        }
    }
    let of_silent = |entry: &mcp_proxy_test::Entry| entry.tool.as_deref() == Some("silent");
    soon(fixture.ledger().wait_for(|entry| entry.event == Event::Cancelled)).await;
    let executed = fixture
        .ledger()
        .count(|entry| of_silent(entry) && entry.event == Event::Executed);
    assert_eq!(executed, 0);
}

#[tokio::test]
async fn an_expired_session_is_healed_unseen() {
    let (fixture, _connector, connected) = start(|_| {}).await;
    run(&connected, of_session(named("expire"), 1)).await.unwrap();
    run(&connected, of_session(named("echo"), 1)).await.unwrap();
    assert_eq!(fixture.sessions_opened(), 3);
}

#[tokio::test]
async fn faults_have_their_class() {
    let (fixture, _connector, connected) = start(|options| options.max_message_bytes = 100_000).await;
    fixture.fault(|faults| faults.wrong_id = true);
    assert_kind(run(&connected, named("echo")).await, ErrorKind::ServerFault);
    fixture.fault(|faults| (faults.wrong_id, faults.malformed_json) = (false, true));
    assert_kind(run(&connected, named("echo")).await, ErrorKind::ServerFault);
    fixture.fault(|faults| (faults.malformed_json, faults.oversized) = (false, Some(200_000)));
    assert_kind(run(&connected, named("echo")).await, ErrorKind::ServerFault);
    fixture.fault(|faults| (faults.oversized, faults.status) = (None, Some(502)));
    assert_kind(run(&connected, named("echo")).await, ErrorKind::ServerFault);
    fixture.fault(|faults| (faults.status, faults.forget_sessions) = (None, true));
    assert_kind(run(&connected, named("echo")).await, ErrorKind::ServerFault);
    fixture.fault(|faults| faults.forget_sessions = false);
    run(&connected, named("echo")).await.unwrap();
}

#[tokio::test]
async fn a_backend_that_accepts_and_says_nothing_is_left_in_time() {
    let fixture = Fixture::http().await.unwrap();
    fixture.fault(|faults| faults.hang_on_connect = true);
    let mut options = HttpOptions::new(fixture.url().parse().unwrap());
    options.idle_timeout = std::time::Duration::from_millis(100);
    let connector = HttpConnector::new(options);
    let Err(error) = soon(mcp_proxy_transport::client::Connector::connect(
        &connector,
        <dyn mcp_proxy_core::Downstream>::nobody(),
    ))
    .await
    else {
        panic!("connected to a wall")
    };
    assert!(error.is_timeout(), "{error}");
}

#[tokio::test]
async fn errors_of_the_backend_are_answers() {
    let (_fixture, _connector, connected) = start(|_| {}).await;
    let reply = run(&connected, mcp_proxy_core::Call::new(Method::from("no/such")))
        .await
        .unwrap();
    let Reply::Error(error) = reply else {
        panic!("{reply:?}")
    };
    assert_eq!(error.code(), -32601);
}
