//! What a backend of this era announces, on the one stream that all share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mcp_proxy_core::catalogue::Kind;
use mcp_proxy_core::{Call, ErrorKind, Method};
use mcp_proxy_test::{Era, Event, Fixture};
use mcp_proxy_transport::client::options::HttpOptions;
use mcp_proxy_transport::client::{Connected, PeerEvent};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::super::script::{Script, Seen, Step, event, response, stream_head};
use super::super::{options, run, soon, tool};
use super::scripted::{discovered, replied};
use super::{Clients, listening};

fn uris(uris: &[&str]) -> Arc<[Box<str>]> {
    uris.iter().map(|uri| (*uri).into()).collect()
}

fn filter(seen: &Seen) -> Value {
    seen.json()["params"]["notifications"].clone()
}

fn acknowledged(seen: &Seen) -> Step {
    told(
        seen,
        "subscriptions/acknowledged",
        &json!({ "notifications": filter(seen) }),
    )
}

fn told(seen: &Seen, what: &str, params: &Value) -> Step {
    let mut params = params.clone();
    params["_meta"] = json!({ "io.modelcontextprotocol/subscriptionId": seen.id() });
    event(json!({ "jsonrpc": "2.0", "method": format!("notifications/{what}"), "params": params }))
}

/// A backend whose streams begin properly and go on as `steps` say, by the number of the stream.
async fn script(steps: impl Fn(usize, &Seen) -> Vec<Step> + Send + Sync + 'static) -> Script {
    let streams = AtomicUsize::new(0);
    Script::of_any_era(move |seen| match seen.method().as_str() {
        "server/discover" => discovered(seen),
        "subscriptions/listen" => {
            let mut all = vec![stream_head(), acknowledged(seen)];
            all.extend(steps(streams.fetch_add(1, Ordering::SeqCst), seen));
            all
        }
        _ => replied(seen, &json!({})),
    })
    .await
}

fn listens(seen: &Seen) -> bool {
    seen.method() == "subscriptions/listen"
}

async fn change(connected: &mut Connected) -> Kind {
    match soon(connected.events.recv()).await {
        Some(PeerEvent::ListChanged(kind)) => kind,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn changes_and_updates_arrive_from_a_real_server() {
    let fixture = Fixture::http().era(Era::Sessionless).await.unwrap();
    let clients = Clients::new();
    let (_connector, mut connected) = listening(HttpOptions::new(fixture.url().parse().unwrap()), &clients).await;
    let listening = |count: usize| {
        let fixture = &fixture;
        async move {
            let of_listen = move |entry: &mcp_proxy_test::Entry| entry.method == "subscriptions/listen";
            soon(
                fixture
                    .ledger()
                    .wait_for(move |entry| of_listen(entry) && entry.event == Event::Received),
            )
            .await;
            while fixture.ledger().count(of_listen) < count {
                tokio::task::yield_now().await;
            }
        }
    };
    listening(1).await;
    let named = |name: &str| tool(&json!({ "name": name, "arguments": {} }).to_string());
    // The acknowledgement may still be on its way: a change before it is not announced.
    let added = async {
        loop {
            run(&connected, named("list_change")).await.unwrap();
            tokio::task::yield_now().await;
            if let Ok(PeerEvent::ListChanged(kind)) = connected.events.try_recv() {
                return kind;
            }
        }
    };
    assert_eq!(soon(added).await, Kind::Tool);
    connected.peer.watch(uris(&["test://watched-resource"])).await.unwrap();
    // The stream is open by now, so the very next update is heard.
    run(&connected, named("update_resource")).await.unwrap();
    let heard = clients.wait_for(1).await;
    assert_eq!(
        heard[0],
        (
            None,
            "notifications/resources/updated".to_owned(),
            r#"{"uri":"test://watched-resource"}"#.to_owned()
        )
    );
}

#[tokio::test]
async fn one_stream_asks_for_what_was_promised_and_is_wanted() {
    let gate = Arc::new(Notify::new());
    let until = gate.clone();
    let script = script(move |n, seen| match n {
        0 => vec![
            told(seen, "resources/updated", &json!({ "uri": "old:1" })),
            told(seen, "progress", &json!({ "progressToken": 1, "progress": 1 })),
            Step::Wait(until.clone()),
            Step::Hang,
        ],
        _ => vec![told(seen, "resources/updated", &json!({ "uri": "a:1" })), Step::Hang],
    })
    .await;
    let clients = Clients::new();
    let (_connector, connected) = listening(options(&script), &clients).await;
    let first = soon(script.wait_for(listens)).await;
    assert_eq!(filter(&first), json!({ "toolsListChanged": true }));
    assert_eq!(first.header("mcp-method"), Some("subscriptions/listen"));
    clients.wait_for(1).await;
    connected.peer.watch(uris(&["a:1", "b:2"])).await.unwrap();
    let second = soon(script.wait_for(|seen| listens(seen) && seen.id() != first.id())).await;
    assert_eq!(
        filter(&second),
        json!({ "toolsListChanged": true, "resourceSubscriptions": ["a:1", "b:2"] })
    );
    let heard = clients.wait_for(2).await;
    assert_eq!(heard[1].2, r#"{"uri":"a:1"}"#, "{heard:?}");
    gate.notify_one();
    // The old one is closed now, and only now.
    soon(script.wait_for_closed(1)).await;
    assert_eq!(script.count(listens), 2);
}

#[tokio::test]
async fn a_stream_that_ends_is_opened_again_and_what_was_missed_looked_up() {
    for graceful in [false, true] {
        let script = script(move |n, seen| match n {
            0 if graceful => vec![
                event(json!({ "jsonrpc": "2.0", "id": seen.id(), "result": { "resultType": "complete" } })),
                Step::Hang,
            ],
            0 => vec![Step::Close],
            _ => vec![Step::Hang],
        })
        .await;
        let (_connector, mut connected) = listening(options(&script), &Clients::new()).await;
        assert_eq!(change(&mut connected).await, Kind::Tool);
        assert_eq!(script.count(listens), 2);
    }
}

#[tokio::test]
async fn without_such_streams_everything_else_works() {
    for status in [404, 405, 400, 501] {
        let script = Script::of_any_era(move |seen| match seen.method().as_str() {
            "server/discover" => discovered(seen),
            "subscriptions/listen" => vec![response(status, "", "")],
            _ => replied(seen, &json!({})),
        })
        .await;
        let (_connector, mut connected) = listening(options(&script), &Clients::new()).await;
        soon(script.wait_for(listens)).await;
        run(&connected, Call::new(Method::ToolsList)).await.unwrap();
        assert!(connected.events.try_recv().is_err(), "nothing is told of {status}");
        assert_eq!(script.count(listens), 1);
    }
}

#[tokio::test]
async fn a_backend_that_dies_is_noticed_without_a_call() {
    let mut script = script(|_, _| vec![Step::Hang]).await;
    let (_connector, mut connected) = listening(options(&script), &Clients::new()).await;
    soon(script.wait_for(listens)).await;
    soon(script.stop()).await;
    match soon(connected.events.recv()).await {
        Some(PeerEvent::Closed(error)) => assert_eq!(error.kind(), ErrorKind::NotSent),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_closed_peer_leaves_no_stream_behind() {
    let script = script(|_, _| vec![Step::Hang]).await;
    let (_connector, connected) = listening(options(&script), &Clients::new()).await;
    soon(script.wait_for(listens)).await;
    soon(connected.peer.close()).await;
    assert!(!connected.peer.is_open());
    soon(script.wait_for_closed(1)).await;
}
