//! Questions to a session's client: where they go, who may answer, and what is left of them.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use mcp_proxy_core::json::Params;
use mcp_proxy_core::{Asked, ErrorKind, Reply, SessionKey};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::ask;
use super::support::*;

/// How many questions of all sessions wait.
fn waiting(world: &World) -> usize {
    let all = world.front.0.sessions.all();
    all.iter().map(|entry| entry.asking.len()).sum()
}

fn roots(world: &World, key: SessionKey) -> Asked {
    world
        .front
        .ask(key, &mcp_proxy_core::Method::RootsList, &Params::absent())
}

fn poll(asked: &mut Asked) -> Option<Result<Reply, mcp_proxy_core::Error>> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match asked.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(outcome) => Some(outcome),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_question_goes_out_on_the_stream_of_its_call_and_the_answer_comes_back() {
    let world = world();
    let session = world.open_with(json!({ "roots": {} })).await;
    let mut own = world.listen(&session).await;
    let mut body = world
        .begin(Method::POST, &[("mcp-session-id", &session)], call("7", "ask"))
        .await
        .into_body();
    let question = event(&mut body).await.unwrap();
    assert_eq!(question["method"], "roots/list");
    assert_eq!(question.get("params"), None);
    let id = &question["id"];
    assert_eq!(
        world
            .answer(&session, id, json!({ "roots": [{ "uri": "file:///x" }] }))
            .await,
        202
    );
    let answer = event(&mut body).await.unwrap();
    assert_eq!(
        answer,
        json!({ "jsonrpc": "2.0", "id": 7, "result": { "roots": [{ "uri": "file:///x" }] } })
    );
    assert_eq!(event(&mut body).await, None);
    assert_eq!(now(&mut own), None, "one stream, not two");
    assert_eq!(waiting(&world), 0);
    assert_eq!(world.front.unwanted_answers(), 0);
}

#[tokio::test]
async fn an_answer_counts_once_and_only_from_the_session_that_was_asked() {
    let world = world();
    let session = world.open_with(json!({ "roots": {} })).await;
    let stranger = world.open_with(json!({ "roots": {} })).await;
    let mut body = world
        .begin(Method::POST, &[("mcp-session-id", &session)], call("7", "ask"))
        .await
        .into_body();
    let id = event(&mut body).await.unwrap()["id"].clone();
    assert_eq!(world.answer(&stranger, &id, json!({ "roots": ["forged"] })).await, 202);
    assert_eq!(world.answer(&session, &json!(1), json!({})).await, 202);
    assert_eq!(world.answer(&session, &json!(id.to_string()), json!({})).await, 202);
    assert_eq!(now(&mut body), None, "none of these is the answer");
    assert_eq!(world.answer(&session, &id, json!({ "roots": [] })).await, 202);
    assert_eq!(world.answer(&session, &id, json!({ "roots": ["again"] })).await, 202);
    assert_eq!(event(&mut body).await.unwrap()["result"], json!({ "roots": [] }));
    assert_eq!(world.answer(&session, &id, json!({ "roots": ["late"] })).await, 202);
    assert_eq!(world.front.unwanted_answers(), 5);
    assert_eq!(waiting(&world), 0);
}

#[tokio::test]
async fn an_error_is_an_answer_and_a_cancellation_ends_the_question() {
    let world = world();
    let session = world.open_with(json!({ "roots": {} })).await;
    let headers = [("mcp-session-id", session.as_str())];
    let mut body = world.begin(Method::POST, &headers, call("7", "ask")).await.into_body();
    let id = event(&mut body).await.unwrap()["id"].clone();
    let error = json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -1, "message": "no", "data": [1] } });
    assert_eq!(world.post(&headers, error.to_string()).await.status, 202);
    let answer = event(&mut body).await.unwrap();
    assert_eq!(answer["error"], json!({ "code": -1, "message": "no", "data": [1] }));

    let mut body = world.begin(Method::POST, &headers, call("8", "ask")).await.into_body();
    let id = event(&mut body).await.unwrap()["id"].clone();
    world.cancel(&session, &id.to_string()).await;
    let answer = event(&mut body).await.unwrap();
    assert_eq!(answer["error"]["code"], -31005, "{answer}");
    assert_eq!(waiting(&world), 0);
}

#[tokio::test]
async fn what_was_not_declared_is_never_asked() {
    let world = world();
    let session = world.open_with(json!({ "sampling": {} })).await;
    let mut own = world.listen(&session).await;
    world.call(&session, "1", "ask").await.refused(200, -32601);
    let key = world.front.sessions()[0].key;
    let refused = roots(&world, key).await.unwrap();
    assert!(matches!(refused, Reply::Error(error) if error.code() == -32601));
    assert_eq!(now(&mut own), None);
    assert_eq!(waiting(&world), 0);
}

#[tokio::test]
async fn where_the_response_cannot_carry_it_the_sessions_own_stream_does() {
    let world = world();
    let session = world.open_with(json!({ "roots": {} })).await;
    let headers = [("mcp-session-id", session.as_str()), ("accept", "application/json")];
    let alone = world.post(&headers, call("1", "ask")).await;
    alone.refused(200, -31005);
    assert_eq!(waiting(&world), 0);

    let mut own = world.listen(&session).await;
    let reply = async {
        let id = event(&mut own).await.unwrap()["id"].clone();
        world.answer(&session, &id, json!({ "roots": [] })).await;
    };
    let (answer, ()) = tokio::join!(world.post(&headers, call("2", "ask")), reply);
    assert_eq!(answer.json()["result"], json!({ "roots": [] }));
    assert!(!answer.is_stream());
}

#[tokio::test]
async fn outside_a_call_a_session_is_asked_by_its_key() {
    let world = world();
    let session = world.open_with(json!({ "roots": {} })).await;
    let key = world.front.sessions()[0].key;
    let gone = roots(&world, SessionKey(u64::MAX)).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Cancelled);
    let nowhere = roots(&world, key).await.unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::Cancelled);
    let mut own = world.listen(&session).await;
    let mut asked = roots(&world, key);
    let id = event(&mut own).await.unwrap()["id"].clone();
    assert!(poll(&mut asked).is_none());
    world.answer(&session, &id, json!({ "roots": [] })).await;
    assert!(matches!(asked.await, Ok(Reply::Result(roots)) if roots.as_str() == r#"{"roots":[]}"#));
}

#[tokio::test]
async fn a_dropped_question_is_withdrawn_where_it_was_asked() {
    let world = world();
    let session = world.open_with(json!({ "roots": {} })).await;
    let mut own = world.listen(&session).await;
    let asked = roots(&world, world.front.sessions()[0].key);
    let id = event(&mut own).await.unwrap()["id"].clone();
    drop(asked);
    let withdrawn = event(&mut own).await.unwrap();
    assert_eq!(withdrawn["method"], "notifications/cancelled");
    assert_eq!(withdrawn["params"]["requestId"], id);
    assert!(withdrawn["params"]["reason"].is_string());
    assert_eq!(waiting(&world), 0);
    world.answer(&session, &id, json!({})).await;
    assert_eq!(world.front.unwanted_answers(), 1);

    // The same for one that a call has asked and then gives up.
    let headers = [("mcp-session-id", session.as_str())];
    let mut body = world
        .begin(Method::POST, &headers, call("2", "ask_in_vain"))
        .await
        .into_body();
    let id = event(&mut body).await.unwrap()["id"].clone();
    world.gate.add_permits(1);
    let withdrawn = event(&mut body).await.unwrap();
    assert_eq!(withdrawn["params"]["requestId"], id);
    assert_eq!(event(&mut body).await.unwrap()["result"], json!({ "waited": true }));
    assert_eq!(now(&mut own), None);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_forever() {
    let world = world();
    let session = world.open_with(json!({ "roots": {} })).await;
    let mut own = world.listen(&session).await;
    let began = Instant::now();
    let late = roots(&world, world.front.sessions()[0].key).await.unwrap_err();
    assert!(late.is_timeout());
    assert_eq!(began.elapsed().as_secs(), ask::PATIENCE.as_secs());
    assert_eq!(event(&mut own).await.unwrap()["method"], "roots/list");
    assert_eq!(event(&mut own).await.unwrap()["method"], "notifications/cancelled");
    assert_eq!(waiting(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_mid_question_leaves_nothing() {
    let world = world();
    let session = world.open_with(json!({ "roots": {} })).await;
    let headers = [("mcp-session-id", session.as_str())];
    let mut body = world.begin(Method::POST, &headers, call("1", "ask")).await.into_body();
    event(&mut body).await.unwrap();
    drop(body);
    assert_eq!(waiting(&world), 1, "a disconnect is no cancellation");
    tokio::time::sleep(Duration::from_secs(11)).await;
    world.log.reaches(&world.log.dropped, 1).await;
    assert_eq!((waiting(&world), world.front.running_calls()), (0, 0));

    // A session that ends takes its questions along.
    let mut body = world.begin(Method::POST, &headers, call("2", "ask")).await.into_body();
    event(&mut body).await.unwrap();
    let mut own = world.listen(&session).await;
    let asked = roots(&world, world.front.sessions()[0].key);
    event(&mut own).await.unwrap();
    assert_eq!(waiting(&world), 2);
    let entry = world.front.0.sessions.all().remove(0);
    assert_eq!(world.send(Method::DELETE, &headers, "").await.status, 204);
    assert_eq!(asked.await.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(entry.asking.len(), 0);
    let last = loop {
        let message = event(&mut body).await.expect("an answer");
        if message.get("method").is_none() {
            break message;
        }
    };
    assert_eq!(last["error"]["code"], -31005);
    assert_eq!(world.front.running_calls(), 0);
}

#[tokio::test]
async fn questions_of_one_session_are_bounded() {
    let world = world();
    let session = world.open_with(json!({ "roots": {} })).await;
    let _own = world.listen(&session).await;
    let key = world.front.sessions()[0].key;
    let mut asked: Vec<Asked> = (0..ask::MAX_OPEN).map(|_| roots(&world, key)).collect();
    assert!(asked.iter_mut().all(|asked| poll(asked).is_none()));
    let refused = roots(&world, key).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Overloaded);
    asked.pop();
    assert!(poll(&mut roots(&world, key)).is_none());
    drop(asked);
    assert_eq!(waiting(&world), 0);
}

#[tokio::test]
async fn fifty_sessions_at_once_each_get_their_own_answer() {
    let world = world();
    let one = async |number: usize| {
        let session = world.open_with(json!({ "roots": {} })).await;
        let mut body = world
            .begin(Method::POST, &[("mcp-session-id", &session)], call("1", "ask"))
            .await
            .into_body();
        let question = event(&mut body).await.unwrap();
        world.log.reaches(&world.log.started, 50).await;
        world.answer(&session, &question["id"], json!({ "mine": number })).await;
        let answer: Value = event(&mut body).await.unwrap();
        assert_eq!(answer["result"], json!({ "mine": number }));
    };
    let mut all: Vec<_> = (0..50).map(|number| Box::pin(one(number))).collect();
    std::future::poll_fn(|cx| {
        all.retain_mut(|one| one.as_mut().poll(cx).is_pending());
        if all.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    drop(all);
    assert_eq!(waiting(&world), 0);
    assert_eq!(world.log.finished.load(Ordering::SeqCst), 50);
}
