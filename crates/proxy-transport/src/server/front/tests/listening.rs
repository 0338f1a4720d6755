//! `subscriptions/listen`: acknowledged first, tagged, filtered, ended in good order.

use std::future::Future as _;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use http::Method;
use mcp_proxy_core::json::{Notification, Params};
use mcp_proxy_core::{Method as Rpc, SessionKey};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::FrontBody;
use super::sessionless::{body, heads};
use super::support::*;

const LISTEN: &str = "subscriptions/listen";

async fn listen(world: &World, id: Value, filter: Value) -> FrontBody {
    let text = body(&id, LISTEN, json!({ "notifications": filter }));
    let response = world.begin(Method::POST, &heads(LISTEN, ""), text).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    response.into_body()
}

fn says(method: Rpc, params: &Value) -> Notification {
    Notification {
        method,
        params: Params::parse(params.to_string()).unwrap(),
    }
}

fn key(world: &World, at: usize) -> SessionKey {
    world.log.keys.lock().unwrap()[at]
}

fn tag(id: Value) -> Value {
    json!({ "io.modelcontextprotocol/subscriptionId": id })
}

#[tokio::test]
async fn a_listener_hears_what_it_asked_for_and_that_only() {
    let world = world();
    let filter = json!({ "toolsListChanged": true, "resourcesListChanged": false, "promptsListChanged": true,
        "resourceSubscriptions": ["test://a"] });
    let mut tools = listen(&world, json!("l-1"), filter).await;
    let honoured = json!({ "toolsListChanged": true, "resourcesListChanged": false,
        "resourceSubscriptions": ["test://a"] });
    assert_eq!(
        event(&mut tools).await.unwrap(),
        json!({ "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
            "params": { "notifications": honoured, "_meta": tag(json!("l-1")) } })
    );
    let mut tasks = listen(&world, json!(2), json!({ "taskIds": ["t"] })).await;
    assert_eq!(event(&mut tasks).await.unwrap()["params"]["_meta"], tag(json!(2)));

    for method in [Rpc::PromptsChanged, Rpc::ResourcesChanged, Rpc::LogMessage] {
        world.front.broadcast(&says(method.clone(), &json!({})));
        assert!(!world.front.tell(key(&world, 0), &says(method, &json!({}))));
    }
    assert!(!world.front.tell(key(&world, 0), &says(Rpc::TaskChanged, &json!({}))));
    assert!(
        !world
            .front
            .tell(key(&world, 1), &says(Rpc::ResourceUpdated, &json!({})))
    );
    assert_eq!((now(&mut tools), now(&mut tasks)), (None, None));

    world.front.broadcast(&tools_changed());
    world.front.broadcast(&tools_changed());
    let updated = says(Rpc::ResourceUpdated, &json!({ "uri": "test://a", "_meta": { "x": 1 } }));
    assert!(world.front.tell(key(&world, 0), &updated));
    assert!(
        world
            .front
            .tell(key(&world, 1), &says(Rpc::TaskChanged, &json!({ "taskId": "t" })))
    );
    assert_eq!(
        event(&mut tools).await.unwrap(),
        json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": { "_meta": tag(json!("l-1")) } })
    );
    let mut meta = tag(json!("l-1"));
    meta["x"] = json!(1);
    assert_eq!(
        event(&mut tools).await.unwrap()["params"],
        json!({ "uri": "test://a", "_meta": meta })
    );
    assert_eq!(
        event(&mut tasks).await.unwrap()["params"],
        json!({ "taskId": "t", "_meta": tag(json!(2)) })
    );
    assert_eq!((now(&mut tools), now(&mut tasks)), (None, None), "said once");

    drop(tools);
    assert_eq!(*world.log.closed.lock().unwrap(), [key(&world, 0)]);
    assert!(!world.front.tell(key(&world, 0), &updated));
    assert!(world.front.terminate(key(&world, 1)));
    assert_eq!(event(&mut tasks).await, None, "without a word");
    drop(tasks);
    assert_eq!(world.log.closed.lock().unwrap().len(), 2);
    assert_eq!(world.front.session_count(), 0);
}

#[tokio::test]
async fn nothing_to_listen_to_is_an_end_at_once() {
    let world = world();
    for filter in [
        json!({}),
        json!({ "toolsListChanged": false, "resourceSubscriptions": [] }),
    ] {
        let mut body = listen(&world, json!(3), filter).await;
        let acknowledged = event(&mut body).await.unwrap();
        assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
        let mut meta = tag(json!(3));
        meta["io.modelcontextprotocol/serverInfo"] = json!({ "name": "fake", "version": "1" });
        assert_eq!(
            event(&mut body).await.unwrap(),
            json!({ "jsonrpc": "2.0", "id": 3, "result": { "resultType": "complete", "_meta": meta } })
        );
        assert_eq!(event(&mut body).await, None);
    }
    assert_eq!(world.log.closed.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_no_filter_is_refused() {
    let world = world();
    for params in [json!({}), json!({ "notifications": [] })] {
        let answer = world.post(&heads(LISTEN, ""), body(&json!(1), LISTEN, params)).await;
        answer.refused(200, -32602);
    }
    let mut headers = heads(LISTEN, "");
    headers.push(("accept", "application/json"));
    let params = json!({ "notifications": { "toolsListChanged": true } });
    world
        .post(&headers, body(&json!(1), LISTEN, params))
        .await
        .refused(406, -32600);
    assert_eq!(world.log.opened.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn draining_ends_a_listener_with_its_result() {
    let world = world();
    let mut body = listen(&world, json!(4), json!({ "toolsListChanged": true })).await;
    event(&mut body).await.unwrap();
    world.front.drain(Instant::now() + Duration::from_secs(1)).await;
    assert_eq!(event(&mut body).await.unwrap()["result"]["resultType"], "complete");
    assert_eq!(event(&mut body).await, None);
    let late = world
        .post(
            &heads(LISTEN, ""),
            super::sessionless::body(&json!(5), LISTEN, json!({ "notifications": {} })),
        )
        .await;
    late.refused(503, -31004);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_acknowledgement_leaves_nothing() {
    let world = world();
    let headers = heads(LISTEN, "");
    let text = body(&json!(6), LISTEN, json!({ "notifications": { "hang": [1] } }));
    let mut waiting = Box::pin(world.begin(Method::POST, &headers, text));
    for _ in 0..2 {
        assert!(std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await);
    }
    assert_eq!(world.log.started.load(Ordering::SeqCst), 1);
    drop(waiting);
    assert_eq!(*world.log.closed.lock().unwrap(), [key(&world, 0)]);
    assert_eq!(world.log.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_listener_that_does_not_read_is_let_go() {
    let world = world();
    let mut body = listen(&world, json!(7), json!({ "resourceSubscriptions": ["a"] })).await;
    let mut taken = 0;
    while world.front.tell(
        key(&world, 0),
        &says(Rpc::ResourceUpdated, &json!({ "uri": format!("test://{taken}") })),
    ) {
        taken += 1;
        assert!(taken < 2000);
    }
    let mut heard = 0;
    while event(&mut body).await.is_some() {
        heard += 1;
    }
    assert_eq!(heard, taken + 1, "all that was taken, and no result");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_listener_is_kept_alive_by_comments() {
    let world = world();
    let mut body = listen(&world, json!(8), json!({ "toolsListChanged": true })).await;
    event(&mut body).await.unwrap();
    assert_eq!(next(&mut body).await.as_deref(), Some(": keep-alive\n\n"));
}
