//! Child processes of either era: found out, asked and answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mcp_proxy_core::{Call, Downstream, Principal, Reply};
use mcp_proxy_transport::client::options::SessionMode;
use mcp_proxy_transport::client::stdio::StdioConnector;
use mcp_proxy_transport::client::{Connected, Connector};
use tokio::task::JoinSet;

use crate::asking::{ALL, Client, SESSION, SESSIONLESS, call, check, text};
use crate::processes::Mark;
use crate::stdio::{fixture, shell_that, supervised};

async fn connect(connector: &StdioConnector) -> Connected {
    connector.connect(<dyn Downstream>::nobody()).await.unwrap()
}

#[tokio::test]
async fn each_era_is_found_out_and_asks_its_client() {
    let mark = Mark::new("eras");
    for (era, expected) in [
        ("session", SESSION),
        ("sessionless", SESSIONLESS),
        ("both", SESSIONLESS),
    ] {
        let connector = StdioConnector::new("child", fixture(&mark, &["--era", era]));
        check(&connector, expected).await;
    }
    assert_eq!(mark.alive(), [0; 0]);
}

#[tokio::test]
async fn a_child_that_ends_at_a_message_it_does_not_know_is_started_once_more() {
    let mark = Mark::new("strict");
    for options in [
        shell_that(&mark, "exit 3", "cat >&2"),
        supervised(shell_that(&mark, "exit 3", "cat >&2")),
    ] {
        let connector = StdioConnector::new("child", options);
        for _ in 0..2 {
            let connected = connect(&connector).await;
            assert_eq!(connected.hello.version, SESSION);
            connected.peer.close().await;
        }
    }
    assert_eq!(mark.alive(), [0; 0]);
}

#[tokio::test]
async fn callers_without_a_session_share_a_process_when_they_are_alike() {
    let mark = Mark::new("alike");
    for era in ["session", "sessionless"] {
        let mut options = fixture(&mark, &["--era", era]);
        options.session = SessionMode::PerClient;
        let connector = StdioConnector::new("child", options);
        let peer = connect(&connector).await.peer;
        let client = Client::new("?");
        let pid = async |call: Call| {
            let Reply::Result(result) = peer.call(call).await.unwrap() else {
                panic!("an error");
            };
            let content = result.get("structuredContent").unwrap();
            content.get("pid").unwrap().decode::<i32>().unwrap()
        };
        let of = |declared| call("pid", &client, SESSIONLESS, 0, declared);
        let one = pid(of(ALL)).await;
        assert_eq!(pid(of(ALL)).await, one);
        let less = pid(of("{}")).await;
        let mut stranger = of(ALL);
        stranger.context.principal = Arc::new(Principal {
            subject: "somebody".into(),
        });
        let stranger = pid(stranger).await;
        let session = pid(call("pid", &client, SESSION, 1, ALL)).await;
        let mut all = vec![one, less, stranger, session];
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4, "{era}");
        peer.close().await;
        assert_eq!(mark.alive(), [0; 0]);
    }
}

#[tokio::test]
async fn a_process_of_its_own_asks_what_its_client_declared_and_no_other() {
    let mark = Mark::new("own-questions");
    let mut options = fixture(&mark, &[]);
    options.session = SessionMode::PerClient;
    let connector = StdioConnector::new("child", options);
    let peer = connect(&connector).await.peer;
    // Side by side: each has a backend of its own, so there is nothing to mix up and nothing to refuse.
    let mut calls = JoinSet::new();
    for key in 0..4_u64 {
        let (peer, client) = (peer.clone(), Client::new(&format!("of {key}")));
        calls.spawn(async move {
            let said = text(&peer, call("test_elicitation", &client, SESSION, key, ALL)).await;
            assert!(said.contains("action=accept"), "{said}");
            assert_eq!(client.foreign.load(Ordering::SeqCst), 0);
        });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    peer.close().await;
    assert_eq!(mark.alive(), [0; 0]);
}

#[tokio::test]
async fn fifty_clients_of_one_process_never_get_each_others_questions() {
    let mark = Mark::new("fifty");
    let connector = StdioConnector::new("child", fixture(&mark, &["--era", "session"]));
    let peer = connect(&connector).await.peer;
    let mut calls = JoinSet::new();
    for key in 0..50_u64 {
        let (peer, client) = (peer.clone(), Client::new(&format!("of {key}")));
        let version = if key % 2 == 0 { SESSION } else { SESSIONLESS };
        calls.spawn(async move {
            for _ in 0..10 {
                text(&peer, call("test_elicitation", &client, version, key, ALL)).await;
            }
            let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
            (count(&client.answered), count(&client.foreign))
        });
    }
    let (mut answered, mut foreign) = (0, 0);
    while let Some(counts) = calls.join_next().await {
        let (own, others) = counts.unwrap();
        answered += own;
        foreign += others;
    }
    assert_eq!(foreign, 0, "{answered} found their client");
    // Alone, a client is asked.
    let client = Client::new("alone");
    let said = text(&peer, call("test_elicitation", &client, SESSION, 99, ALL)).await;
    assert!(said.contains("action=accept"), "{said}");
    peer.close().await;
}
