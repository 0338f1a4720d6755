//! The life of a call: JSON or stream, cancelled, abandoned, drained.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::outbox;
use super::support::*;

#[tokio::test]
async fn an_answer_is_json_until_something_comes_in_between() {
    let world = world();
    let session = world.open().await;
    let quiet = world.call(&session, "\"ü\\\"\"", "echo").await;
    assert_eq!(quiet.header("content-type"), "application/json");
    assert_eq!(
        quiet.text,
        "{\"jsonrpc\":\"2.0\",\"id\":\"ü\\\"\",\"result\":{\"echo\":{\"name\":\"echo\"}}}"
    );

    let talkative = world.call(&session, "2", "talk").await;
    assert!(talkative.is_stream());
    assert_eq!(talkative.header("x-accel-buffering"), "no");
    assert_eq!(talkative.header("cache-control"), "no-cache, no-transform");
    let first = "id: 1-0\nretry: 1000\ndata: \n\n\
                 id: 1-1\nevent: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\
                 \"params\":{\"progress\":0, \"progressToken\":1}}\n\n";
    assert!(talkative.text.starts_with(first), "{}", talkative.text);
    assert_eq!(talkative.text.matches("data: ").count(), 5);
    assert_eq!(
        talkative.json(),
        json!({ "jsonrpc": "2.0", "id": 2, "result": { "said": 3 } })
    );
}

#[tokio::test]
async fn the_client_has_the_last_word_about_the_form() {
    let world = world();
    let session = world.open().await;
    let session = ("mcp-session-id", session.as_str());
    let only_json = world
        .post(&[session, ("accept", "application/json")], call("1", "flood"))
        .await;
    assert!(!only_json.is_stream());
    assert_eq!(world.log.refused_messages.load(Ordering::SeqCst), 5000);
    for body in [
        call("1", "echo"),
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_owned(),
    ] {
        let only_stream = world.post(&[session, ("accept", "text/event-stream")], body).await;
        assert!(only_stream.is_stream());
        assert_eq!(only_stream.json()["id"], 1);
    }
    let opened = world
        .post(&[("accept", "text/event-stream")], initialize("2025-11-25"))
        .await;
    assert!(opened.is_stream() && !opened.header("mcp-session-id").is_empty());
}

#[tokio::test]
async fn large_results_keep_every_byte_and_stay_one_event() {
    let world = world();
    let session = world.open().await;
    let plain = world.call(&session, "1", "big").await;
    assert!(
        plain
            .text
            .starts_with("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\n\"text\":\r\n\"xxx")
    );
    assert_eq!(plain.json()["result"]["text"].as_str().unwrap().len(), 100_000);
    let headers = [("mcp-session-id", session.as_str()), ("accept", "text/event-stream")];
    let event = world.post(&headers, call("1", "big")).await;
    assert_eq!(
        event.text.matches('\n').count(),
        4 + 4,
        "id, retry, data, end; id, event, data, end"
    );
    assert_eq!(event.json(), plain.json());
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_comments() {
    let world = world();
    let session = world.open().await;
    let began = Instant::now();
    let response = world
        .begin(Method::POST, &[("mcp-session-id", &session)], call("1", "gate"))
        .await;
    assert_eq!(began.elapsed().as_secs(), 15);
    let mut body = response.into_body();
    assert_eq!(prime(&mut body).await, 0);
    for count in 1..3 {
        assert_eq!(next(&mut body).await.as_deref(), Some(": keep-alive\n\n"));
        assert_eq!(began.elapsed().as_secs(), 15 + 15 * count);
    }
    world.gate.add_permits(1);
    assert_eq!(
        next(&mut body).await.as_deref(),
        Some("id: 1-1\nevent: message\ndata: ")
    );
    let answer = next(&mut body).await.unwrap();
    assert_eq!(answer, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"opened\":true}}");
    assert_eq!(next(&mut body).await.as_deref(), Some("\n\n"));
    assert_eq!(next(&mut body).await, None);
    let mut stream = world.listen(&session).await;
    assert_eq!(next(&mut stream).await.as_deref(), Some(": keep-alive\n\n"));
}

#[tokio::test]
async fn a_cancellation_ends_exactly_one_call() {
    let world = world();
    let (mine, other) = (world.open().await, world.open().await);
    let cancel = async {
        world.log.reaches(&world.log.started, 3).await;
        world.cancel(&mine, "1").await;
        world.log.reaches(&world.log.dropped, 1).await;
        assert_eq!(world.log.dropped.load(Ordering::SeqCst), 1);
        world.gate.add_permits(2);
    };
    let (doomed, kept, foreign, ()) = tokio::join!(
        world.call(&mine, "1", "hang"),
        world.call(&mine, "\"1\"", "gate"),
        world.call(&other, "1", "gate"),
        cancel
    );
    assert!(doomed.is_stream());
    assert_eq!(
        doomed.text, "id: 1-0\nretry: 1000\ndata: \n\n: cancelled\n\n",
        "no answer to what was cancelled"
    );
    assert_eq!(kept.json()["result"]["opened"], true);
    assert_eq!(foreign.json()["result"]["opened"], true);

    // A client that takes JSON alone has to be told something.
    let headers = [("mcp-session-id", mine.as_str()), ("accept", "application/json")];
    let cancel = async {
        world.log.reaches(&world.log.started, 4).await;
        world.cancel(&mine, "7").await;
    };
    let (doomed, ()) = tokio::join!(world.post(&headers, call("7", "hang")), cancel);
    doomed.refused(200, -31005);
    assert_eq!(doomed.json()["id"], 7);
}

#[tokio::test]
async fn a_stream_that_nobody_reads_does_not_delay_a_cancellation() {
    let world = world();
    let session = world.open().await;
    let headers = [("mcp-session-id", session.as_str())];
    let body = world.begin(Method::POST, &headers, call("1", "talk_at_the_gate")).await;
    world.cancel(&session, "1").await;
    assert_eq!(
        world.log.dropped.load(Ordering::SeqCst),
        1,
        "at once, not when the body is read"
    );
    assert!(read(body).await.text.ends_with(": cancelled\n\n"));
}

#[tokio::test]
async fn an_id_is_free_again_once_it_was_answered() {
    let world = world();
    let session = world.open().await;
    let twice = async {
        world.log.reaches(&world.log.started, 1).await;
        world.call(&session, "1", "echo").await.refused(400, -32600);
        world.gate.add_permits(1);
    };
    let (first, ()) = tokio::join!(world.call(&session, "1", "gate"), twice);
    assert_eq!(first.json()["result"]["opened"], true);
    assert_eq!(world.call(&session, "1", "echo").await.status, 200);
    assert_eq!(world.front.running_calls(), 0);
}

#[tokio::test]
async fn a_hundred_sessions_may_use_the_same_id() {
    let world = Arc::new(world());
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let (world, session) = (world.clone(), world.open().await);
        calls.spawn(async move { world.call(&session, "1", "gate").await });
    }
    world.log.reaches(&world.log.started, 100).await;
    world.gate.add_permits(100);
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.unwrap().json()["result"]["opened"], true);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_disconnects_has_not_cancelled() {
    let world = world();
    let session = world.open().await;
    let headers = [("mcp-session-id", session.as_str())];
    // Dropped before the response, and dropped as a stream.
    {
        let response = world.begin(Method::POST, &headers, call("1", "gate"));
        tokio::select! {
            biased;
            _ = response => panic!("the gate is closed"),
            () = world.log.reaches(&world.log.started, 1) => {}
        }
    }
    drop(world.begin(Method::POST, &headers, call("2", "talk_at_the_gate")).await);
    assert_eq!(world.front.running_calls(), 2);
    assert_eq!(
        world.call(&session, "1", "echo").await.status,
        400,
        "it is still running"
    );
    world.gate.add_permits(2);
    world.log.reaches(&world.log.finished, 2).await;
    assert_eq!(world.log.dropped.load(Ordering::SeqCst), 0);

    // What does not end in time is cancelled.
    let began = Instant::now();
    drop(world.begin(Method::POST, &headers, call("3", "talk_at_the_gate")).await);
    world.log.reaches(&world.log.dropped, 1).await;
    assert_eq!(began.elapsed().as_secs(), 10);
    // The id can be cancelled while its client is away.
    drop(world.begin(Method::POST, &headers, call("4", "talk_at_the_gate")).await);
    world.cancel(&session, "4").await;
    world.log.reaches(&world.log.dropped, 2).await;
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn a_burst_before_the_response_is_no_slow_reader() {
    let world = world();
    let session = world.open().await;
    let answer = world.call(&session, "1", "flood").await;
    assert_eq!(answer.text.matches("notifications/progress").count(), 5000);
    assert_eq!(answer.json()["result"], json!({}));
    // Where nothing is kept to be resumed, the newest go.
    let world = with(|options| options.session.resume = Duration::ZERO);
    let session = world.open().await;
    let answer = world.call(&session, "1", "flood").await;
    assert_eq!(
        answer.text.matches("notifications/progress").count(),
        outbox::MAX_MESSAGES
    );
    assert_eq!(answer.json()["result"], json!({}));
    assert!(!answer.text.contains("id: "), "nothing could be resumed by it");
    assert_eq!(world.log.refused_messages.load(Ordering::SeqCst), 4000);
    assert_eq!(world.front.dropped_messages(), 4000);
}

#[tokio::test]
async fn a_panic_stays_in_its_call() {
    let world = world();
    let session = world.open().await;
    world.call(&session, "1", "panic").await.refused(200, -32603);
    assert_eq!(world.call(&session, "1", "echo").await.status, 200);
    assert_eq!(world.front.running_calls(), 0);
}

#[tokio::test]
async fn errors_of_calls_are_answers() {
    let world = world();
    let session = world.open().await;
    world.call(&session, "1", "fail").await.refused(200, -32602);
    world.call(&session, "1", "ask").await.refused(200, -32601);
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"notifications/initialized"}"#;
    world
        .post(&[("mcp-session-id", &session)], body)
        .await
        .refused(200, -32601);
}

#[tokio::test(start_paused = true)]
async fn draining_lets_calls_end_and_cancels_the_rest() {
    let world = world();
    let session = world.open().await;
    let mut stream = world.listen(&session).await;
    let began = Instant::now();
    let drain = async {
        world.log.reaches(&world.log.started, 2).await;
        let drain = world.front.drain(Instant::now() + Duration::from_secs(5));
        let meanwhile = async {
            assert_eq!(next(&mut stream).await, None, "streams end at once");
            world.call(&session, "3", "echo").await.refused(503, -31004);
            world.initialize("2025-11-25").await.refused(503, -31004);
            world.gate.add_permits(1);
        };
        tokio::join!(drain, meanwhile);
    };
    let (kept, doomed, ()) = tokio::join!(
        world.call(&session, "1", "gate"),
        world.call(&session, "2", "hang"),
        drain
    );
    assert_eq!(kept.json()["result"]["opened"], true);
    doomed.refused(200, -31005);
    assert_eq!(began.elapsed().as_secs(), 5);
    assert_eq!(world.front.session_count(), 0);
    assert_eq!(world.log.closed.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_call_leaves_anything_behind() {
    let world = world();
    let session = world.open().await;
    let headers = [("mcp-session-id", session.as_str())];
    for tool in ["echo", "talk", "flood", "panic", "ask", "fail"] {
        world.call(&session, "1", tool).await;
    }
    for id in ["2", "3"] {
        drop(world.begin(Method::POST, &headers, call(id, "talk_at_the_gate")).await);
    }
    world.cancel(&session, "2").await;
    world.log.reaches(&world.log.dropped, 2).await;
    world.gate.add_permits(1);
    world.log.reaches(&world.log.finished, 6).await;
    drop(world.listen(&session).await);
    // The calls without a client end in tasks of their own.
    while world.front.running_calls() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(Arc::strong_count(&world.front.0), 1, "a call's state holds its front");
}
