//! What a backend asks in the middle of a call reaches the client of that call and nobody else, and only that client's
//! answer, the first one, reaches the backend.

use std::time::Duration;

use mcp_proxy_test::{Era as Eras, Event, Fixture};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::super::support::{Arriving, Config, Era, HttpServer, ProxyUnderTest, Session, Speaker, fixture_command};

const CLIENTS: u64 = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_with_sessions_of_their_own_are_asked_what_their_calls_ask() {
    let server = HttpServer::fixture(0, &[]).await;
    let proxy = Config::new().http("fixture", &server.url(), "").start().await;
    assert_eq!(everyone_is_asked_their_own(&proxy).await, CLIENTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_of_a_sessionless_backend_are_asked_what_their_calls_ask() {
    let server = HttpServer::fixture(0, &["--era", "sessionless"]).await;
    let proxy = Config::new().http("fixture", &server.url(), "").start().await;
    assert_eq!(everyone_is_asked_their_own(&proxy).await, CLIENTS);
}

/// On one pipe a question does not say which call it belongs to. It is asked where only one client can be meant; nobody is
/// asked what another's call wants to know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_of_one_shared_process_are_never_asked_what_another_call_asks() {
    let command = fixture_command("fixture").await;
    let proxy = Config::new()
        .stdio("fixture", &command, &[], "session = \"shared\"")
        .start()
        .await;
    everyone_is_asked_their_own(&proxy).await;
    // Alone, a client is asked.
    let mut alone = Speaker::open(proxy.http(), Era::Session, "fixture").await;
    let heard = alone.call("test_elicitation", json!({ "message": "alone" })).await;
    assert_eq!(heard.asked.len(), 1, "{}", heard.outcome);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_of_one_shared_socket_are_never_asked_what_another_call_asks() {
    let server = HttpServer::web_socket_fixture(&[]).await;
    let table = format!(
        "name = \"fixture\"\ntransport = \"websocket\"\nurl = \"ws://{}/mcp\"",
        server.address
    );
    let proxy = Config::new().backend(&table).start().await;
    everyone_is_asked_their_own(&proxy).await;
}

/// Clients of both eras at once, each asking the backend to ask it something that names it. Returns how many were asked.
async fn everyone_is_asked_their_own(proxy: &ProxyUnderTest) -> u64 {
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let http = proxy.http();
        clients.spawn(async move {
            let era = Era::ALL[(number % 2) as usize];
            let mut client = Speaker::open(http, era, "fixture").await;
            let name = format!("client {number}");
            let sampled = client.call("test_sampling", json!({ "prompt": name })).await;
            let elicited = client.call("test_elicitation", json!({ "message": name })).await;
            (name, sampled, elicited)
        });
    }
    let mut asked = 0;
    while let Some(done) = clients.join_next().await {
        let (name, sampled, elicited) = done.expect("a client does not panic");
        for question in &sampled.asked {
            assert_eq!(question["params"]["messages"][0]["content"]["text"], name, "{question}");
        }
        for question in &elicited.asked {
            assert!(text(&question["params"]["message"]).contains(&name), "{question}");
        }
        if !sampled.asked.is_empty() && !elicited.asked.is_empty() {
            asked += 1;
            let said = &sampled.outcome["result"]["content"][0]["text"];
            assert_eq!(text(said), format!("LLM response: heard: {name}"));
        }
    }
    asked
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A session that can answer, and a call of it that waits for an answer.
async fn asked(proxy: &ProxyUnderTest, id: &str) -> (Session, Arriving, Value) {
    let capabilities = json!({ "elicitation": {}, "sampling": {} });
    let session = Session::open_with(proxy.http(), "2025-11-25", capabilities)
        .await
        .expect("a session");
    let params = json!({ "name": "fixture__test_elicitation", "arguments": { "message": id } });
    let call = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
    let mut answer = session.begin(&call).await.expect("an answer begins");
    let question = answer.next_message().await.expect("a question");
    assert_eq!(question["method"], "elicitation/create", "{question}");
    (session, answer, question["id"].clone())
}

fn accept(id: &Value, username: &str) -> Value {
    let content = json!({ "username": username, "email": "e@example.com" });
    json!({ "jsonrpc": "2.0", "id": id, "result": { "action": "accept", "content": content } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_others_second_answers_and_late_ones_are_dropped() {
    let fixture = Fixture::http().start().await.expect("a fixture");
    let proxy = Config::new().http("fixture", &fixture.url(), "").start().await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let (first, mut first_call, first_question) = asked(&proxy, "first").await;
    let (second, mut second_call, second_question) = asked(&proxy, "second").await;

    // Ids of questions are a session's own, so one who was asked nothing can guess them. Whatever the proxy says to that,
    // it must not count; nor may an answer to what nobody asked.
    let stranger = proxy.session().await;
    for id in [&first_question, &second_question, &json!("nobody asked this")] {
        let _ = stranger.post(&accept(id, "evil")).await;
    }
    let _ = second.post(&accept(&json!("nobody asked this"), "evil")).await;
    first
        .post(&accept(&first_question, "first"))
        .await
        .expect("it is taken");
    let _ = first.post(&accept(&first_question, "twice")).await;
    let ended = first_call.next_message().await.expect("the call ends");
    assert!(said(&ended).contains(r#""username":"first""#), "{ended}");
    let _ = first.post(&accept(&first_question, "late")).await;

    second
        .post(&accept(&second_question, "second"))
        .await
        .expect("it is taken");
    let ended = second_call.next_message().await.expect("the call ends");
    assert!(said(&ended).contains(r#""username":"second""#), "{ended}");
    // Both sessions still work.
    for session in [first, second] {
        session.call("fixture__echo", json!({})).await.expect("an answer");
    }
}

fn said(message: &Value) -> String {
    text(&message["result"]["content"][0]["text"]).to_owned()
}

/// A request that no call has caused, on the stream that belongs to a session: its only client is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_backend_asks_outside_calls_reaches_the_client_of_that_session() {
    let fixture = Fixture::http().era(Eras::Session).start().await.expect("a fixture");
    let proxy = Config::new().http("fixture", &fixture.url(), "").start().await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let mut clients = Vec::new();
    for number in 0..4 {
        let mut client = Speaker::open(proxy.http(), Era::Session, "fixture").await;
        client.call("echo", json!({ "number": number })).await;
        clients.push(client);
    }
    let params = json!({ "message": "anybody there?", "requestedSchema": { "type": "object", "properties": {} } });
    let asking = fixture.ask_clients("elicitation/create", &params);
    let answers = tokio::time::timeout(Duration::from_secs(20), asking)
        .await
        .expect("answers");
    let accepted = answers
        .iter()
        .flatten()
        .filter(|answer| answer["action"] == "accept")
        .count();
    assert_eq!(accepted, clients.len(), "each client's own session: {answers:?}");
    for client in &clients {
        assert_eq!(client.asked_outside().len(), 1, "each was asked once");
    }
    let echoed = fixture
        .ledger()
        .count(|entry| entry.tool.as_deref() == Some("echo") && entry.event == Event::Executed);
    assert_eq!(echoed, clients.len());
}
