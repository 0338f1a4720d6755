//! Calls whose backend asks something: the response that asks, the request that answers, and all that lies between.

use std::future::Future as _;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::sessionless::{body, heads, tool};
use super::support::*;

fn elicit(message: &str) -> Value {
    json!({ "method": "elicitation/create", "params": { "message": message, "requestedSchema": { "type": "object" } } })
}

/// What a client of these tests declares.
fn declaring() -> Value {
    json!({ "io.modelcontextprotocol/clientCapabilities": { "elicitation": {}, "roots": {} } })
}

fn params(steps: &Value, more: Value) -> Value {
    let mut params = json!({ "arguments": { "steps": steps }, "_meta": declaring() });
    params
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    params
}

/// A retry of the same call.
fn retry(steps: &Value, state: &Value, answers: Value) -> Value {
    params(steps, json!({ "requestState": state, "inputResponses": answers }))
}

fn wide() -> World {
    with(|options| options.body_bytes = 100_000)
}

/// The requests and the state of a response that asks.
#[track_caller]
fn asks(answer: &Answer) -> (Value, Value) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let result = &answer.json()["result"];
    assert_eq!(result["resultType"], "input_required", "{answer:?}");
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "fake");
    assert_eq!(result.get("ttlMs"), None);
    (result["inputRequests"].clone(), result["requestState"].clone())
}

/// Nothing is left of any call.
fn is_empty(world: &World) -> bool {
    world.front.suspended_calls() == 0
        && world.front.running_calls() == 0
        && world.log.started.load(Ordering::SeqCst)
            == world.log.finished.load(Ordering::SeqCst) + world.log.dropped.load(Ordering::SeqCst)
}

#[tokio::test]
async fn a_question_ends_the_response_and_the_next_request_answers_it() {
    let world = wide();
    let steps = json!([[elicit("name?")], [{ "method": "roots/list" }]]);
    let first = world.run("script", params(&steps, json!({}))).await;
    assert!(!first.is_stream());
    let (requests, state) = asks(&first);
    assert_eq!(requests, json!({ "question-1": elicit("name?") }));
    assert_eq!((world.front.suspended_calls(), world.front.running_calls()), (1, 0));

    let answers = json!({ "question-1": { "action": "accept", "content": { "n": 1 } }, "other": 5 });
    let second = world
        .post(
            &heads("tools/call", "script"),
            body(&json!("again"), "tools/call", {
                let mut retry = retry(&steps, &state, answers);
                retry["name"] = json!("script");
                retry
            }),
        )
        .await;
    assert_eq!(second.json()["id"], "again");
    let (requests, next) = asks(&second);
    assert_eq!(requests, json!({ "question-2": { "method": "roots/list" } }));
    assert_ne!(state, next);

    let answers = json!({ "question-2": { "roots": [] } });
    let last = world.run("script", retry(&steps, &next, answers)).await.json()["result"].clone();
    assert_eq!(
        last["answers"],
        json!([{ "action": "accept", "content": { "n": 1 } }, { "roots": [] }])
    );
    assert_eq!(last["resultType"], "complete");
    assert_eq!(world.log.started.load(Ordering::SeqCst), 1, "one call");
    assert!(is_empty(&world));
}

#[tokio::test]
async fn what_is_missing_is_asked_again_and_several_questions_are_one_round() {
    let world = wide();
    let steps = json!([[elicit("a"), elicit("b")]]);
    let (requests, state) = asks(&world.run("script", params(&steps, json!({}))).await);
    assert_eq!(
        requests,
        json!({ "question-1": elicit("a"), "question-2": elicit("b") })
    );
    let some = json!({ "question-2": { "action": "decline" } });
    let (requests, state) = asks(&world.run("script", retry(&steps, &state, some)).await);
    assert_eq!(requests, json!({ "question-1": elicit("a") }));
    let none = params(&steps, json!({ "requestState": state }));
    let (requests, state) = asks(&world.run("script", none).await);
    assert_eq!(requests, json!({ "question-1": elicit("a") }));

    for wrong in [json!({ "question-1": 1 }), json!([])] {
        let answer = world.run("script", retry(&steps, &state, wrong)).await;
        answer.refused(200, -32602);
    }
    let rest = json!({ "question-1": { "action": "cancel" } });
    let last = world.run("script", retry(&steps, &state, rest)).await;
    assert_eq!(
        last.json()["result"]["answers"],
        json!([{ "action": "cancel" }, { "action": "decline" }])
    );
    assert!(is_empty(&world));
}

#[tokio::test]
async fn a_state_counts_once_and_only_for_its_own_request() {
    let world = wide();
    let steps = json!([[elicit("a")], [elicit("b")]]);
    let (_, state) = asks(&world.run("script", params(&steps, json!({}))).await);
    let answers = json!({ "question-1": { "action": "accept" } });

    let text = state.as_str().unwrap();
    let mut forged = text.to_owned();
    forged.replace_range(forged.len() - 1.., if text.ends_with('A') { "B" } else { "A" });
    for forged in [json!(forged), json!("mcp-proxy.s."), json!("mcp-proxy.x")] {
        let answer = world.run("script", retry(&steps, &forged, answers.clone())).await;
        answer.refused(200, -32602);
    }
    let elsewhere = world.run("echo", retry(&steps, &state, answers.clone())).await;
    elsewhere.refused(200, -32602);
    let prompt = json!({ "name": "script", "requestState": state, "inputResponses": answers });
    let prompt = body(&json!(1), "prompts/get", prompt);
    world
        .post(&heads("prompts/get", "script"), prompt)
        .await
        .refused(200, -32602);
    let stranger = wide();
    stranger
        .run("script", retry(&steps, &state, answers.clone()))
        .await
        .refused(200, -32602);
    assert_eq!(world.log.started.load(Ordering::SeqCst), 1, "nothing was run");

    let (_, next) = asks(&world.run("script", retry(&steps, &state, answers.clone())).await);
    let used = world.run("script", retry(&steps, &state, answers)).await;
    used.refused(200, -32602);
    let answers = json!({ "question-2": { "action": "accept" } });
    let last = world.run("script", retry(&steps, &next, answers.clone())).await;
    assert_eq!(last.json()["result"]["answers"].as_array().unwrap().len(), 2);
    let late = world.run("script", retry(&steps, &next, answers)).await;
    late.refused(200, -32602);
    assert!(is_empty(&world));
}

#[tokio::test]
async fn a_state_of_a_backend_goes_through_as_it_is() {
    let world = wide();
    let foreign = json!({ "requestState": "theirs", "inputResponses": { "k": {} } });
    let echo = world.run("echo", foreign).await.json()["result"]["echo"].clone();
    assert_eq!(
        (&echo["requestState"], &echo["inputResponses"]),
        (&json!("theirs"), &json!({ "k": {} }))
    );

    // Also when the backend is a proxy like this one.
    let inner = json!({ "resultType": "input_required", "requestState": "mcp-proxy.s.inner" });
    let answer = world.run("raw", json!({ "arguments": { "result": inner } })).await;
    let state = answer.json()["result"]["requestState"].clone();
    let echo = world.run("echo", json!({ "requestState": state })).await;
    assert_eq!(echo.json()["result"]["echo"]["requestState"], "mcp-proxy.s.inner");
}

#[tokio::test]
async fn what_was_not_declared_is_told_and_ends_the_call() {
    let world = wide();
    let sampling = json!({ "method": "sampling/createMessage", "params": {} });
    let answer = world.run("script", params(&json!([[sampling]]), json!({}))).await;
    answer.refused(400, -32021);
    assert_eq!(
        answer.json()["error"]["data"],
        json!({ "requiredCapabilities": { "sampling": {} } })
    );
    // It could have waited for something else after the refusal.
    let waiting = json!([[sampling], "gate"]);
    let answer = world.run("script", params(&waiting, json!({}))).await;
    answer.refused(400, -32021);
    let url = json!({ "method": "elicitation/create", "params": { "mode": "url", "url": "https://x" } });
    let answer = world.run("script", params(&json!([[url]]), json!({}))).await;
    assert_eq!(
        answer.json()["error"]["data"]["requiredCapabilities"],
        json!({ "elicitation": { "url": {} } })
    );
    // What no client could have declared is the backend's mistake.
    let odd = json!([[{ "method": "tools/list" }]]);
    let answer = world.run("script", params(&odd, json!({}))).await;
    assert_eq!(answer.json()["result"]["answers"], json!([{ "refused": -32601 }]));
    assert!(is_empty(&world));
}

#[tokio::test]
async fn only_calls_that_the_era_lets_ask_can_ask() {
    let world = wide();
    let mut ask = params(&json!([[elicit("a")]]), json!({}));
    ask["name"] = json!("script");
    let answer = world
        .post(
            &heads("completion/complete", ""),
            body(&json!(1), "completion/complete", ask),
        )
        .await;
    assert_eq!(answer.json()["result"]["answers"], json!([{ "refused": -32601 }]));
    assert!(is_empty(&world));
}

#[tokio::test]
async fn the_retry_has_its_own_progress_token_and_log_level() {
    let world = wide();
    let steps = json!([0, "error", [elicit("a")], 1, "info", "error", [elicit("b")], 2, "error"]);
    let mut first = params(&steps, json!({}));
    first["_meta"]["progressToken"] = json!(1);
    let first = world.run("script", first).await;
    assert!(first.is_stream());
    assert_eq!(first.text.matches("notifications/message").count(), 0);
    assert_eq!(first.text.matches("notifications/progress").count(), 1);
    let (_, state) = asks(&first);

    let mut second = retry(&steps, &state, json!({ "question-1": {} }));
    second["_meta"]["progressToken"] = json!("second");
    second["_meta"]["io.modelcontextprotocol/logLevel"] = json!("warning");
    let second = world.run("script", second).await;
    assert_eq!(second.text.matches("notifications/message").count(), 1);
    let told = second
        .text
        .split("data: ")
        .find(|event| event.contains("progressToken"))
        .unwrap();
    let told: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!(told["params"], json!({ "progress": 1, "progressToken": "second" }));
    let (_, state) = asks(&second);

    // Without a token it hears of no progress, and without a level of no log.
    let last = world
        .run("script", retry(&steps, &state, json!({ "question-2": {} })))
        .await;
    assert!(!last.is_stream(), "{last:?}");
    assert!(is_empty(&world));
}

#[tokio::test]
async fn leaving_during_a_later_round_cancels_the_call() {
    let world = wide();
    let steps = json!([[elicit("a")], "gate"]);
    let (_, state) = asks(&world.run("script", params(&steps, json!({}))).await);
    let headers = heads("tools/call", "script");
    let text = tool("script", retry(&steps, &state, json!({ "question-1": {} })));
    let mut waiting = Box::pin(world.begin(Method::POST, &headers, text));
    for _ in 0..2 {
        assert!(std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await);
    }
    assert_eq!(world.front.running_calls(), 1);
    drop(waiting);
    assert!(is_empty(&world));
    assert_eq!(world.log.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_comes_back_leaves_nothing() {
    let world = with(|options| {
        options.body_bytes = 100_000;
        options.session.suspend = Duration::from_secs(60);
    });
    let steps = json!([[elicit("a")]]);
    let (_, state) = asks(&world.run("script", params(&steps, json!({}))).await);
    tokio::time::advance(Duration::from_secs(59)).await;
    tokio::task::yield_now().await;
    assert_eq!(world.front.suspended_calls(), 1);
    tokio::time::advance(Duration::from_secs(2)).await;
    world.log.reaches(&world.log.dropped, 1).await;
    assert!(is_empty(&world));
    world
        .run("script", retry(&steps, &state, json!({ "question-1": {} })))
        .await
        .refused(200, -32602);
    assert_eq!(world.front.0.tasks.len(), 0);
}

#[tokio::test]
async fn a_call_that_ends_while_nobody_waits_keeps_its_answer() {
    let world = wide();
    // The backend waits for the answer or for the gate, whichever is first.
    let meta = json!({ "_meta": declaring() });
    let (_, state) = asks(&world.run("ask_in_vain", meta.clone()).await);
    world.gate.add_permits(1);
    world.log.reaches(&world.log.finished, 1).await;
    let again = json!({ "_meta": declaring(), "requestState": state });
    let last = world.run("ask_in_vain", again).await;
    assert_eq!(last.json()["result"]["waited"], true);
    assert!(is_empty(&world));
}

#[tokio::test]
async fn the_number_of_suspended_calls_is_bounded() {
    let world = with(|options| {
        options.body_bytes = 100_000;
        options.session.max_suspended = 2;
    });
    let steps = json!([[elicit("a")]]);
    let (_, state) = asks(&world.run("script", params(&steps, json!({}))).await);
    asks(&world.run("script", params(&steps, json!({}))).await);
    world
        .run("script", params(&steps, json!({})))
        .await
        .refused(200, -31004);
    assert_eq!(world.front.suspended_calls(), 2);
    assert_eq!(world.log.dropped.load(Ordering::SeqCst), 1);
    world
        .run("script", retry(&steps, &state, json!({ "question-1": {} })))
        .await;
    asks(&world.run("script", params(&steps, json!({}))).await);
    assert_eq!(world.front.suspended_calls(), 2);
}

#[tokio::test]
async fn draining_ends_suspended_calls() {
    let world = wide();
    asks(&world.run("script", params(&json!([[elicit("a")]]), json!({}))).await);
    let begun = Instant::now();
    world.front.drain(begun + Duration::from_secs(30)).await;
    assert!(is_empty(&world));
    assert_eq!(world.front.0.tasks.len(), 0);
}

#[tokio::test]
async fn a_demand_for_urls_becomes_a_round_and_the_retry_runs_the_call_again() {
    let world = wide();
    let demand = json!({ "arguments": { "error": { "code": -32042, "message": "go there", "data": { "elicitations": [
        { "mode": "url", "elicitationId": "e1", "url": "https://a.example", "message": "sign in" }
    ] } } } });
    let mut able = demand.clone();
    able["_meta"] = json!({ "io.modelcontextprotocol/clientCapabilities": { "elicitation": { "url": {} } } });
    let (requests, state) = asks(&world.run("raw", able.clone()).await);
    assert_eq!(
        requests,
        json!({ "url-1": { "method": "elicitation/create",
            "params": { "mode": "url", "url": "https://a.example", "message": "sign in" } } })
    );
    assert!(is_empty(&world));
    let unable = world.run("raw", demand).await;
    unable.refused(400, -32021);
    assert_eq!(
        unable.json()["error"]["data"]["requiredCapabilities"],
        json!({ "elicitation": { "url": {} } })
    );

    let mut again = able;
    again["arguments"] = json!({ "result": { "done": true } });
    again["requestState"] = state;
    again["inputResponses"] = json!({ "url-1": { "action": "accept" } });
    let last = world.run("raw", again.clone()).await.json()["result"].clone();
    assert_eq!(last["done"], true);
    again["name"] = json!("echo");
    let echo = world.run("echo", again).await;
    echo.refused(200, -32602);
}
