//! Against a real server of this era.

use mcp_proxy_core::catalogue::Kind;
use mcp_proxy_core::json::{Params, RawJson};
use mcp_proxy_core::{Call, LogLevel, Method, ProtocolVersion, Reply, RpcError};
use mcp_proxy_test::{Entry, Era, Event, Fixture, RAW_RESULT};
use mcp_proxy_transport::client::options::HttpOptions;
use mcp_proxy_transport::client::{Connected, Connector, PeerEvent};
use serde_json::{Value, json};

use super::super::{Client, of_session, run, soon, text, tool};
use super::{Clients, listening, of_client, says};

async fn start(era: Era) -> (Fixture, Connected) {
    let fixture = Fixture::http().era(era).await.unwrap();
    let options = HttpOptions::new(fixture.url().parse().unwrap());
    let (_, connected) = listening(options, &Clients::new()).await;
    (fixture, connected)
}

fn named(name: &str) -> Call {
    tool(&format!(r#"{{"name":"{name}","arguments":{{}}}}"#))
}

fn value(reply: &Reply) -> Value {
    reply.result().expect("a result").decode().unwrap()
}

fn error(reply: Reply) -> RpcError {
    match reply {
        Reply::Error(error) => error,
        Reply::Result(result) => panic!("{result:?}"),
    }
}

#[tokio::test]
async fn each_era_is_spoken_to_in_its_own_words() {
    for (era, expected, sessions) in [
        (Era::Session, ProtocolVersion::V2025_11_25, 1),
        (Era::Sessionless, ProtocolVersion::V2026_07_28, 0),
        (Era::Both, ProtocolVersion::V2026_07_28, 0),
    ] {
        let (fixture, connected) = start(era).await;
        assert_eq!(connected.hello.version, expected, "{era:?}");
        assert_eq!(fixture.sessions_opened(), sessions, "{era:?}");
        let info: Value = connected.hello.server_info.unwrap().decode().unwrap();
        assert_eq!(info["name"], "mcp-fixture", "{era:?}");
        assert!(connected.hello.instructions.is_some(), "{era:?}");
        assert!(connected.hello.capabilities.get("logging").is_some(), "{era:?}");
    }
}

#[tokio::test]
async fn a_client_with_a_session_sees_nothing_of_the_era() {
    let (fixture, connected) = start(Era::Sessionless).await;
    let reply = run(&connected, of_session(named("raw_result"), 1)).await.unwrap();
    assert_eq!(text(&reply), RAW_RESULT);
    fixture.fault(|faults| (faults.always_stream, faults.byte_chunks) = (true, true));
    let reply = run(&connected, of_session(named("raw_result"), 1)).await.unwrap();
    assert_eq!(text(&reply), RAW_RESULT);
    fixture.fault(|faults| (faults.always_stream, faults.byte_chunks) = (false, false));
    for (method, list) in [
        (Method::ToolsList, "tools"),
        (Method::PromptsList, "prompts"),
        (Method::ResourcesList, "resources"),
        (Method::ResourceTemplatesList, "resourceTemplates"),
    ] {
        let reply = run(&connected, Call::new(method)).await.unwrap();
        let listed = value(&reply);
        let members: Vec<_> = listed.as_object().unwrap().keys().collect();
        assert_eq!(members, [list]);
        assert!(!listed[list].as_array().unwrap().is_empty());
    }
    let read = |uri: &str| {
        let params = Params::parse(json!({ "uri": uri }).to_string()).unwrap();
        Call::new(Method::ResourcesRead).with_params(params)
    };
    assert_eq!(error(run(&connected, read("no:such")).await.unwrap()).code(), -32002);
    let modern = of_client(read("no:such"), ProtocolVersion::V2026_07_28);
    assert_eq!(error(run(&connected, modern).await.unwrap()).code(), -32602);
    let unknown = run(&connected, Call::new(Method::from("no/such"))).await.unwrap();
    assert_eq!(error(unknown).code(), -32601, "an answer, whatever its status");
}

#[tokio::test]
async fn a_client_of_the_era_gets_results_as_they_are() {
    let (_fixture, connected) = start(Era::Both).await;
    let list = of_client(Call::new(Method::ToolsList), ProtocolVersion::V2026_07_28);
    let listed = value(&run(&connected, list).await.unwrap());
    assert_eq!(listed["resultType"], "complete");
    assert_eq!(
        (&listed["ttlMs"], &listed["cacheScope"]),
        (&json!(5000), &json!("public"))
    );
    let asks = of_client(
        named("test_input_required_result_elicitation"),
        ProtocolVersion::V2026_07_28,
    );
    let asked = value(&run(&connected, asks).await.unwrap());
    assert_eq!(asked["resultType"], "input_required");
    assert_eq!(asked["inputRequests"]["user_name"]["method"], "elicitation/create");
}

#[tokio::test]
async fn progress_and_log_come_before_the_answer() {
    let (_fixture, connected) = start(Era::Sessionless).await;
    let (client, handle) = Client::handle();
    let mut call = tool(r#"{"name":"progress","arguments":{"steps":3,"ms":1},"_meta":{"progressToken":"t"}}"#);
    call.client = handle.clone();
    run(&connected, call).await.unwrap();
    let tokens: Vec<Value> = client
        .told()
        .iter()
        .map(|(method, params)| {
            assert_eq!(method, "notifications/progress");
            serde_json::from_str::<Value>(params).unwrap()["progressToken"].clone()
        })
        .collect();
    assert_eq!(tokens, ["t", "t", "t"]);
    // A session that never set a level reads from `info` on.
    let logs = |level| {
        let mut call = tool(r#"{"name":"log","arguments":{"n":2}}"#);
        call.context.log_level = level;
        call
    };
    for (level, heard) in [(None, 2), (Some(LogLevel::Error), 0), (Some(LogLevel::Debug), 2)] {
        let (client, handle) = Client::handle();
        let mut call = logs(level);
        call.client = handle;
        run(&connected, call).await.unwrap();
        assert_eq!(client.told().len(), heard, "{level:?}");
    }
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_at_once() {
    let (fixture, connected) = start(Era::Sessionless).await;
    let of_silent = |entry: &Entry| entry.tool.as_deref() == Some("silent");
    {
        let call = connected.peer.call(named("silent"));
        tokio::select! {
            reply = call => panic!("{reply:?}"),
            _ = soon(fixture.ledger().wait_for(of_silent)) => {}
        }
    }
    soon(
        fixture
            .ledger()
            .wait_for(|entry| of_silent(entry) && entry.event == Event::Cancelled),
    )
    .await;
    assert_eq!(
        fixture
            .ledger()
            .count(|entry| of_silent(entry) && entry.event == Event::Executed),
        0
    );
    assert_eq!(
        fixture
            .ledger()
            .count(|entry| entry.method == "notifications/cancelled"),
        0,
        "the closed connection says it all"
    );
}

#[tokio::test]
async fn questions_reach_a_client_with_a_session_and_its_answers_the_backend() {
    let (fixture, connected) = start(Era::Sessionless).await;
    let answering = || {
        Client::answering(|method, _| {
            let answer = match method {
                Method::Elicit => json!({ "action": "accept", "content": { "name": "Ada", "color": "red" } }),
                Method::CreateMessage => {
                    json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "Paris" } })
                }
                _ => json!({ "roots": [{ "uri": "file:///a" }] }),
            };
            Box::pin(std::future::ready(Ok(Reply::Result(RawJson::encode(&answer)))))
        })
        .1
    };
    for (name, said) in [
        ("test_input_required_result_elicitation", "Hello, Ada!"),
        ("test_input_required_result_sampling", "Paris"),
        ("test_input_required_result_list_roots", "file:///a"),
        ("test_input_required_result_request_state", "state-ok"),
        ("test_input_required_result_multiple_inputs", "Paris Ada"),
        ("test_input_required_result_multi_round", "Ada likes red"),
    ] {
        let mut call = of_client(named(name), ProtocolVersion::V2025_11_25);
        call.client = answering();
        let reply = run(&connected, call).await.unwrap();
        assert!(text(&reply).contains(said), "{name}: {reply:?}");
    }
    let mut ids: Vec<_> = fixture
        .ledger()
        .entries()
        .into_iter()
        .filter(|entry| entry.event == Event::Received)
        .map(|entry| entry.id.unwrap().as_u64().unwrap())
        .collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "each round has an id of its own");
    // A client that can do none of it is not asked: the tool's answer says what it lacks.
    let mut call = of_session(named("test_sampling"), 1);
    call.client = answering();
    let reply = run(&connected, call).await.unwrap();
    let refused = value(&reply);
    assert_eq!(refused["isError"], true);
    assert!(text(&reply).contains("sampling"), "{reply:?}");
}

#[tokio::test]
async fn fifty_calls_with_questions_get_their_own_answers() {
    let (_fixture, connected) = start(Era::Sessionless).await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..50 {
        let (_, handle) = Client::answering(move |_, _| {
            let answer = json!({ "action": "accept", "content": { "name": format!("client {n}.") } });
            Box::pin(std::future::ready(Ok(Reply::Result(RawJson::encode(&answer)))))
        });
        let mut call = of_client(
            named("test_input_required_result_elicitation"),
            ProtocolVersion::V2025_06_18,
        );
        call.client = handle;
        let running = connected.peer.call(call);
        calls.spawn(async move { (n, running.await) });
    }
    while let Some(ended) = soon(calls.join_next()).await {
        let (n, reply) = ended.unwrap();
        let reply = reply.unwrap_or_else(|error| panic!("{}", says(&error)));
        assert!(text(&reply).contains(&format!("Hello, client {n}.!")), "{reply:?}");
    }
}

#[tokio::test]
async fn a_backend_that_comes_back_in_the_other_era_is_found_out() {
    let first = Fixture::http().era(Era::Sessionless).await.unwrap();
    let port = first.address().port();
    let clients = Clients::new();
    let options = HttpOptions::new(first.url().parse().unwrap());
    let (connector, mut connected) = listening(options, &clients).await;
    for (era, version) in [
        (Era::Session, ProtocolVersion::V2025_11_25),
        (Era::Sessionless, ProtocolVersion::V2026_07_28),
        (Era::Session, ProtocolVersion::V2025_11_25),
    ]
    .into_iter()
    .scan(Some(first), |running, (era, version)| {
        drop(running.take());
        Some((era, version))
    }) {
        let fixture = soon(restart(port, era)).await;
        // Whoever calls next finds out, unless the stream has before.
        let reply = soon(connected.peer.call(named("echo"))).await;
        assert!(reply.is_err(), "{reply:?}");
        loop {
            match soon(connected.events.recv()).await {
                Some(PeerEvent::Closed(_)) => break,
                Some(PeerEvent::ListChanged(Kind::Tool | Kind::Resource | Kind::Template | Kind::Prompt)) => {}
                None => panic!("it ended without a word"),
            }
        }
        let again = soon(connector.connect(clients.clone())).await;
        connected = again.unwrap_or_else(|error| panic!("{era:?}: {}", says(&error)));
        assert_eq!(connected.hello.version, version);
        run(&connected, named("echo")).await.unwrap();
        drop(fixture);
    }
}

/// The port may still be held by connections that are being closed.
async fn restart(port: u16, era: Era) -> Fixture {
    loop {
        match Fixture::http().port(port).era(era).await {
            Ok(fixture) => return fixture,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}
