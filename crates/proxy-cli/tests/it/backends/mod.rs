//! Backends as they come: with sessions or without, with many pages, talkative, faulty, stubborn. Each fault stays with
//! the calls it concerns.

mod odd;
mod sockets;
mod wire;

use std::collections::BTreeSet;
use std::time::Duration;

use mcp_proxy_test::{Entry, Event, Faults, Fixture};
use serde_json::{Value, json};

use crate::support::{
    Config, ProxyUnderTest, Session, SessionError, command_line, eventually, fixture_command, with_mark,
};

async fn digest(session: &Session) -> String {
    let about = session.call("fixture__session", json!({})).await.expect("an answer");
    about["structuredContent"]["session"]
        .as_str()
        .expect("a digest")
        .to_owned()
}

async fn in_front_of(fixture: &Fixture, more: &str) -> ProxyUnderTest {
    let proxy = Config::new().http("fixture", &fixture.url(), more).start().await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    proxy
}

fn faulty(change: impl FnOnce(&mut Faults)) -> Faults {
    let mut faults = Faults::default();
    change(&mut faults);
    faults
}

#[tokio::test]
async fn each_client_has_an_upstream_session_of_its_own() {
    let fixture = Fixture::http().start().await.expect("a fixture");
    let proxy = in_front_of(&fixture, "").await;
    let (one, other) = (proxy.session().await, proxy.session().await);
    let first = digest(&one).await;
    assert_eq!(first, digest(&one).await, "a client keeps its upstream session");
    assert_ne!(first, digest(&other).await, "and shares it with nobody");
    let live = fixture.sessions_live();
    assert!(one.close().await.is_success());
    eventually("the upstream session to end", Duration::from_secs(5), || async {
        (fixture.sessions_live() < live).then_some(())
    })
    .await;
    digest(&other).await;
}

#[tokio::test]
async fn a_shared_session_is_shared() {
    let fixture = Fixture::http().start().await.expect("a fixture");
    let proxy = in_front_of(&fixture, "session = \"shared\"").await;
    let mut digests = BTreeSet::new();
    for _ in 0..5 {
        digests.insert(digest(&proxy.session().await).await);
    }
    assert_eq!(digests.len(), 1);
}

#[tokio::test]
async fn a_backend_without_session_ids_serves_everybody() {
    let fixture = Fixture::http().session_ids(false).start().await.expect("a fixture");
    let proxy = in_front_of(&fixture, "").await;
    for _ in 0..3 {
        proxy
            .session()
            .await
            .call("fixture__echo", json!({}))
            .await
            .expect("an answer");
    }
}

#[tokio::test]
async fn a_process_for_each_client_ends_with_its_client() {
    let proxy = Config::new()
        .stdio(
            "fixture",
            &fixture_command("mine").await,
            &[],
            "session = \"per_client\"",
        )
        .start()
        .await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let sessions = [proxy.session().await, proxy.session().await, proxy.session().await];
    let mut pids = BTreeSet::new();
    for session in &sessions {
        let about = session.call("fixture__pid", json!({})).await.expect("an answer");
        pids.insert(about["structuredContent"]["pid"].as_u64().expect("a process id"));
    }
    assert_eq!(pids.len(), 3, "each client talks to a process of its own");
    for session in sessions {
        session.close().await;
    }
    eventually(
        "the processes of clients that left to end",
        Duration::from_secs(15),
        || async {
            let living = with_mark(&proxy.mark);
            pids.iter().all(|pid| !living.contains(&(*pid as u32))).then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn lists_are_read_to_their_last_page_and_no_further() {
    let whole = Fixture::http().start().await.expect("a fixture");
    let paged = Fixture::http()
        .faults(faulty(|f| f.pages = Some(7)))
        .start()
        .await
        .expect("a fixture");
    let endless = Fixture::http()
        .faults(faulty(|f| {
            f.pages = Some(3);
            f.cyclic_cursor = true;
        }))
        .start()
        .await
        .expect("a fixture");
    let proxy = Config::new()
        .http("whole", &whole.url(), "")
        .http("paged", &paged.url(), "")
        .http("endless", &endless.url(), "")
        .start()
        .await;
    proxy.wait_for_tools_of(&["whole__", "paged__"]).await;
    let session = proxy.session().await;
    for (method, member) in [
        ("tools/list", "tools"),
        ("resources/list", "resources"),
        ("prompts/list", "prompts"),
    ] {
        let key = if member == "resources" { "uri" } else { "name" };
        let names = |list: &[Value], backend: &str| -> Vec<String> {
            let names = list.iter().filter_map(|item| item[key].as_str()?.strip_prefix(backend));
            names.map(str::to_owned).collect()
        };
        let list = session.list(method, member).await.expect("a list");
        let separator = if member == "resources" { "+" } else { "__" };
        let (whole, paged) = (
            names(&list, &format!("whole{separator}")),
            names(&list, &format!("paged{separator}")),
        );
        assert!(!whole.is_empty());
        assert_eq!(whole, paged, "{method}");
        // What a cursor that leads back to itself brings twice is in the list once, or not at all.
        let endless = names(&list, &format!("endless{separator}"));
        assert_eq!(
            endless.iter().collect::<BTreeSet<_>>().len(),
            endless.len(),
            "{method} {endless:?}"
        );
    }
}

#[tokio::test]
async fn a_stream_in_single_bytes_is_a_stream() {
    let fixture = Fixture::http()
        .faults(faulty(|f| {
            f.always_stream = true;
            f.byte_chunks = true;
        }))
        .start()
        .await
        .expect("a fixture");
    let proxy = in_front_of(&fixture, "").await;
    let session = proxy.session().await;
    let text = json!({ "text": "grüße, 世界 \u{1f980}\r\n\r\ndata: no field" });
    let echo = session.call("fixture__echo", text.clone()).await.expect("an answer");
    assert_eq!(echo["structuredContent"], text);
    let params =
        json!({ "name": "fixture__progress", "arguments": { "steps": 5, "ms": 1 }, "_meta": { "progressToken": 5 } });
    let exchange = session
        .exchange(json!("id"), "tools/call", params)
        .await
        .expect("an answer");
    assert_eq!(exchange.interim.len(), 5);
    assert!(
        exchange.interim.iter().all(|note| note["params"]["progressToken"] == 5),
        "{:?}",
        exchange.interim
    );
}

#[tokio::test]
async fn an_answer_that_is_none_is_an_error_and_soon_over() {
    type Change = fn(&mut Faults);
    let kinds: [(&str, Change); 5] = [
        ("malformed JSON", |f| f.malformed_json = true),
        ("a foreign id", |f| f.wrong_id = true),
        ("status 500", |f| f.status = Some(500)),
        ("status 503", |f| f.status = Some(503)),
        ("more than anybody wants", |f| f.oversized = Some(20 << 20)),
    ];
    let fixture = Fixture::http().start().await.expect("a fixture");
    let healthy = Fixture::http().start().await.expect("a fixture");
    let proxy = Config::new()
        .http("fixture", &fixture.url(), "")
        .http("healthy", &healthy.url(), "")
        .start()
        .await;
    proxy.wait_for_tools_of(&["fixture__", "healthy__"]).await;
    let session = proxy.session().await;
    session.call("fixture__echo", json!({})).await.expect("an answer");
    for (kind, change) in kinds {
        fixture.fault(change);
        let answer = tokio::time::timeout(Duration::from_secs(10), session.call("fixture__echo", json!({}))).await;
        match answer {
            Ok(Err(SessionError::Rpc(error))) => {
                let text = error.to_string();
                assert!(
                    !text.contains(&fixture.address().to_string()),
                    "{kind}: no address in {text}"
                );
            }
            other => panic!("{kind}: {other:?}"),
        }
        session
            .call("healthy__echo", json!({}))
            .await
            .unwrap_or_else(|error| panic!("{kind}: {error}"));
        fixture.fault(|faults| *faults = Faults::default());
        eventually(&format!("an answer after {kind}"), Duration::from_secs(15), || async {
            session.call("fixture__echo", json!({})).await.ok()
        })
        .await;
    }
}

#[tokio::test]
async fn healing_a_session_runs_nothing_twice() {
    let fixture = Fixture::http().start().await.expect("a fixture");
    let proxy = in_front_of(&fixture, "").await;
    let session = proxy.session().await;
    for _ in 0..3 {
        session
            .call("fixture__expire", json!({}))
            .await
            .expect("the last answer of that session");
        session
            .call("fixture__log", json!({ "n": 1 }))
            .await
            .expect("the proxy opens another session by itself");
    }
    let ran = |entry: &Entry| entry.event == Event::Executed && entry.tool.as_deref() == Some("log");
    assert_eq!(fixture.ledger().count(ran), 3, "each call ran once");
}

#[tokio::test]
async fn noise_on_the_pipe_is_passed_over() {
    let mut command = fixture_command("noisy").await;
    command.extend(["--fault".to_owned(), "noise".to_owned()]);
    let proxy = Config::new().stdio("fixture", &command, &[], "").start().await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let session = proxy.session().await;
    for _ in 0..5 {
        session.call("fixture__echo", json!({})).await.expect("an answer");
    }
}

#[tokio::test]
async fn a_child_process_sees_only_what_it_was_given() {
    let env = [("GIVEN", "yes"), ("WITH_QUOTES", "a \"b\" $HOME 'c'")];
    let proxy = Config::new()
        .stdio("fixture", &fixture_command("env").await, &env, "")
        .start()
        .await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let session = proxy.session().await;
    // Cargo has set this for the tests, so the proxy has it, and its children must not.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    for (name, want) in [
        ("GIVEN", json!("yes")),
        ("WITH_QUOTES", json!("a \"b\" $HOME 'c'")),
        ("PATH", json!(std::env::var("PATH").expect("a PATH"))),
        ("CARGO_MANIFEST_DIR", Value::Null),
    ] {
        let answer = session
            .call("fixture__env", json!({ "name": name }))
            .await
            .expect("an answer");
        assert_eq!(answer["structuredContent"]["value"], want, "{name}");
    }
}

#[tokio::test]
async fn names_without_a_prefix_and_a_uri_as_it_is() {
    let fixture = Fixture::http().start().await.expect("a fixture");
    let proxy = Config::new()
        .http("fixture", &fixture.url(), "namespace = \"\"")
        .start()
        .await;
    proxy.wait_for_tools_of(&["echo"]).await;
    let session = proxy.session().await;
    session.call("echo", json!({})).await.expect("an answer");
    let read = session
        .request("resources/read", json!({ "uri": "test://static-text" }))
        .await
        .expect("an answer");
    assert_eq!(read["contents"][0]["uri"], "test://static-text");
}

#[tokio::test]
async fn of_two_equal_names_the_first_is_served_and_the_other_left_out() {
    let first = Fixture::http().start().await.expect("a fixture");
    let second = Fixture::http().start().await.expect("a fixture");
    let proxy = Config::new()
        .http("first", &first.url(), "namespace = \"\"")
        .http("second", &second.url(), "namespace = \"\"")
        .http("third", &second.url(), "")
        .start()
        .await;
    proxy.wait_for_tools_of(&["echo", "third__"]).await;
    let session = proxy.session().await;
    let tools = session.list("tools/list", "tools").await.expect("a list");
    assert_eq!(tools.iter().filter(|tool| tool["name"] == "echo").count(), 1);
    let ran = |fixture: &Fixture| fixture.ledger().count(|entry| entry.tool.as_deref() == Some("echo"));
    for _ in 0..5 {
        session.call("echo", json!({})).await.expect("an answer");
    }
    assert!(ran(&first) >= 5);
    assert_eq!(ran(&second), 0);
    assert!(!proxy.log_lines("WARN").is_empty(), "the operator is told");
}

#[tokio::test]
async fn a_backend_that_is_switched_off_is_not_there() {
    let proxy = Config::new()
        .stdio("off", &fixture_command("off").await, &[], "enabled = false")
        .stdio("on", &fixture_command("on").await, &[], "")
        .start()
        .await;
    proxy.wait_for_tools_of(&["on__"]).await;
    let lines: Vec<String> = with_mark(&proxy.mark).into_iter().map(command_line).collect();
    assert!(lines.iter().any(|line| line.ends_with("--name on")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.ends_with("--name off")), "{lines:?}");
}

#[tokio::test]
async fn the_demo_backend_needs_nothing_else() {
    let proxy = Config::new()
        .backend("name = \"demo\"\ntransport = \"builtin\"")
        .start()
        .await;
    proxy.wait_for_tools_of(&["demo__"]).await;
    let session = proxy.session().await;
    let tools = session.list("tools/list", "tools").await.expect("a list");
    assert!(
        tools.iter().all(|tool| tool["inputSchema"]["type"] == "object"),
        "{tools:?}"
    );
}
