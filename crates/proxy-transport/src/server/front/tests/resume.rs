//! Streams that break and are read on: nothing is lost, nothing comes twice, and a gap is said.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::FrontBody;
use super::super::budget;
use super::super::outbox::MAX_MESSAGES;
use super::support::*;

/// An event that was read whole: its id and its message.
type Read = (String, Value);

/// The next event; `None` at the end of the stream. The event without data that begins a stream counts as one.
async fn read_event(body: &mut FrontBody) -> Option<Read> {
    let mut text = String::new();
    loop {
        text += &next(body).await?;
        let Some(whole) = text.strip_suffix("\n\n") else {
            continue;
        };
        let field = |name: &str| whole.lines().find_map(|line| line.strip_prefix(name));
        if let Some(id) = field("id: ") {
            let data = field("data: ").unwrap();
            let message = match data {
                "" => Value::Null,
                data => serde_json::from_str(data).unwrap(),
            };
            return Some((id.to_owned(), message));
        }
        text.clear();
    }
}

/// All that is left of a stream.
async fn rest(body: &mut FrontBody) -> Vec<Read> {
    let mut events = Vec::new();
    while let Some(event) = read_event(body).await {
        events.push(event);
    }
    events
}

/// The progress that a message tells of; `None` for the answer.
fn step(event: &Read) -> Option<u64> {
    event.1["params"]["progress"].as_u64()
}

impl World {
    async fn stream_of(&self, session: &str, id: &str, tool: &str) -> FrontBody {
        let headers = [("mcp-session-id", session)];
        let response = self.begin(Method::POST, &headers, call(id, tool)).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        response.into_body()
    }

    async fn resume(&self, session: &str, last: &str) -> Result<FrontBody, StatusCode> {
        let headers = [
            ("mcp-session-id", session),
            ("accept", "text/event-stream"),
            ("last-event-id", last),
        ];
        let response = self.begin(Method::GET, &headers, String::new()).await;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            status => Err(status),
        }
    }
}

#[tokio::test]
async fn a_call_whose_client_was_away_is_read_on_to_its_answer() {
    let world = world();
    let session = world.open().await;
    let mut body = world.stream_of(&session, "1", "talk_at_the_gate").await;
    let (primed, none) = read_event(&mut body).await.unwrap();
    assert_eq!((primed.as_str(), none), ("1-0", Value::Null));
    let last = read_event(&mut body).await.unwrap();
    assert_eq!((last.0.as_str(), step(&last)), ("1-1", Some(0)));
    drop(body);
    world.gate.add_permits(1);
    world.log.reaches(&world.log.finished, 1).await;
    // Also from the very beginning, and again: whoever lost the end of it asks once more.
    for (from, events) in [("1-1", 1), ("1-0", 2), ("1-1", 1), ("1-2", 0)] {
        let mut body = world.resume(&session, from).await.unwrap();
        let rest = rest(&mut body).await;
        assert_eq!(rest.len(), events, "{rest:?}");
        if let Some((id, answer)) = rest.last() {
            assert_eq!(id, "1-2");
            assert_eq!(answer["result"], json!({ "opened": true }));
        }
    }
    assert_eq!(world.front.running_calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_resumes_may_wait_as_long_as_the_call_takes() {
    let world = world();
    let session = world.open().await;
    drop(world.stream_of(&session, "1", "talk_at_the_gate").await);
    tokio::time::sleep(Duration::from_secs(9)).await;
    let mut body = world.resume(&session, "1-0").await.unwrap();
    assert_eq!(step(&read_event(&mut body).await.unwrap()), Some(0));
    for _ in 0..4 {
        assert_eq!(next(&mut body).await.as_deref(), Some(": keep-alive\n\n"));
    }
    // Left again, the time begins anew.
    drop(body);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(world.log.dropped.load(Ordering::SeqCst), 0);
    let mut body = world.resume(&session, "1-1").await.unwrap();
    world.gate.add_permits(1);
    assert_eq!(rest(&mut body).await[0].1["result"], json!({ "opened": true }));

    let began = Instant::now();
    drop(world.stream_of(&session, "2", "talk_at_the_gate").await);
    world.log.reaches(&world.log.dropped, 1).await;
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(world.resume(&session, "2-1").await.unwrap_err(), 400);
}

#[tokio::test]
async fn resuming_takes_the_stream_over_from_a_connection_that_still_lives() {
    let world = world();
    let session = world.open().await;
    let mut old = world.stream_of(&session, "1", "talk_at_the_gate").await;
    assert_eq!(rest_now(&mut old), 2);
    let mut new = world.resume(&session, "1-1").await.unwrap();
    world.gate.add_permits(1);
    // The old connection is not even polled, as one whose peer is gone.
    let rest_of_new = rest(&mut new).await;
    assert_eq!(rest_of_new.len(), 1);
    assert_eq!(rest_of_new[0].1["result"], json!({ "opened": true }));
    assert_eq!(read_event(&mut old).await, None);
    drop((old, new));
    while world.front.running_calls() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.log.finished.load(Ordering::SeqCst), 1);
}

/// How many pieces a stream has right now.
fn rest_now(body: &mut FrontBody) -> usize {
    std::iter::from_fn(|| now(body)).count()
}

#[tokio::test]
async fn a_call_that_nobody_will_finish_is_not_read_on() {
    let world = world();
    let session = world.open().await;
    let body = world.stream_of(&session, "1", "talk_at_the_gate").await;
    world.cancel(&session, "1").await;
    drop(body);
    assert_eq!(world.resume(&session, "1-0").await.unwrap_err(), 400);
    assert_eq!(world.front.running_calls(), 0);
}

#[tokio::test]
async fn a_single_message_may_be_larger_than_what_may_wait() {
    let world = world();
    let session = world.open().await;
    let mut own = world.listen(&session).await;
    let large = notification("notifications/message", &json!({ "data": "x".repeat(2_000_000) }));
    world.front.broadcast(&large);
    assert!(read_event(&mut own).await.is_some());
    // Two of them are one too many.
    world.front.broadcast(&large);
    world.front.broadcast(&large);
    assert!(read_event(&mut own).await.is_some());
    assert_eq!(read_event(&mut own).await, None);
    let mut own = world.resume(&session, "1-2").await.unwrap();
    assert_eq!(read_event(&mut own).await.unwrap().0, "1-3");
}

#[tokio::test]
async fn each_stream_replays_its_own() {
    let world = world();
    let session = world.open().await;
    let mut own = world.listen(&session).await;
    let mut talk = world.stream_of(&session, "7", "talk").await;
    let mut other = world.stream_of(&session, "8", "talk").await;
    world.front.broadcast(&tools_changed());
    for body in [&mut own, &mut talk, &mut other] {
        read_event(body).await.unwrap();
    }
    drop((own, talk, other));
    // Sent while nobody listened.
    world.front.broadcast(&progress(77));
    let methods = |events: &[Read]| -> Vec<Value> { events.iter().map(|event| event.1["method"].clone()).collect() };

    let mut own = world.resume(&session, "1-0").await.unwrap();
    let changed = read_event(&mut own).await.unwrap();
    let progress = read_event(&mut own).await.unwrap();
    assert_eq!(
        methods(&[changed, progress]),
        ["notifications/tools/list_changed", "notifications/progress"]
    );
    assert_eq!(now(&mut own), None, "it goes on");
    world.front.broadcast(&tools_changed());
    assert_eq!(read_event(&mut own).await.unwrap().0, "1-3");

    for (number, id) in [(2, 7), (3, 8)] {
        let mut call = world.resume(&session, &format!("{number}-0")).await.unwrap();
        let rest = rest(&mut call).await;
        assert_eq!(
            rest.iter().map(step).collect::<Vec<_>>(),
            [Some(0), Some(1), Some(2), None]
        );
        assert_eq!(rest[3].1["id"], id);
        assert!(rest.iter().all(|(event, _)| event.starts_with(&format!("{number}-"))));
    }
}

#[tokio::test]
async fn an_id_that_leads_nowhere_is_refused() {
    let world = world();
    let (session, other) = (world.open().await, world.open().await);
    drop(world.stream_of(&session, "1", "talk").await);
    for id in [
        "1",
        "1-",
        "-1",
        "1-9",
        "2-0",
        "0-0",
        "+1-0",
        "1-+0",
        "x-y",
        "1-0-0",
        "18446744073709551616-0",
        "1-18446744073709551615",
    ] {
        assert_eq!(world.resume(&session, id).await.unwrap_err(), 400, "{id}");
    }
    assert_eq!(
        world.resume(&other, "1-0").await.unwrap_err(),
        400,
        "of another session"
    );
    assert_eq!(
        world
            .resume("0123456789abcdef0123456789abcdef", "1-0")
            .await
            .unwrap_err(),
        404
    );
    // An empty one says that no event had an id.
    let mut new = world.resume(&session, "").await.unwrap();
    assert_eq!(prime(&mut new).await, 0);
}

#[tokio::test]
async fn older_revisions_get_ids_but_no_events_without_data() {
    let world = world();
    for version in ["2025-03-26", "2025-06-18"] {
        let session = world.initialize(version).await.header("mcp-session-id").to_owned();
        let mut body = world.stream_of(&session, "1", "talk").await;
        let first = read_event(&mut body).await.unwrap();
        assert_eq!((first.0.as_str(), step(&first)), ("1-1", Some(0)));
        drop(body);
        let mut body = world.resume(&session, "1-1").await.unwrap();
        assert_eq!(rest(&mut body).await.len(), 3);
    }
}

#[tokio::test]
async fn a_reader_too_slow_is_cut_off_and_resumes() {
    let world = world();
    let session = world.open().await;
    let mut body = world.stream_of(&session, "1", "flood_at_the_gate").await;
    assert_eq!(rest_now(&mut body), 2);
    world.gate.add_permits(1);
    let heard = rest(&mut body).await;
    assert_eq!(heard.len(), MAX_MESSAGES);
    assert_eq!(
        world.log.refused_messages.load(Ordering::SeqCst),
        0,
        "they wait in the log"
    );
    let last = heard.last().unwrap();
    drop(body);
    let mut body = world.resume(&session, &last.0).await.unwrap();
    let heard = rest(&mut body).await;
    assert_eq!(heard.len(), 5001 - MAX_MESSAGES);
    assert_eq!(step(&heard[0]), Some(step(last).unwrap() + 1));
    assert_eq!(heard.last().unwrap().1["result"], json!({}));
    assert_eq!(world.front.dropped_messages(), 0);
}

#[tokio::test]
async fn what_no_longer_fits_the_log_is_a_gap_and_said() {
    let world = world();
    let session = world.open().await;
    let mut own = world.listen(&session).await;
    for step in 0..10 {
        world.front.broadcast(&progress(step));
    }
    assert_eq!(rest_now(&mut own), 10);
    drop(own);
    for step in 10..budget::SESSION_EVENTS + 5 {
        world.front.broadcast(&progress(step));
    }
    // Those read went first; of those not read none is missing yet.
    assert_eq!(world.resume(&session, "1-4").await.unwrap_err(), 400);
    let mut own = world.resume(&session, "1-5").await.unwrap();
    assert_eq!(step(&read_event(&mut own).await.unwrap()), Some(5));
    drop(own);
    assert_eq!(world.front.dropped_messages(), 0);
    for step in 0..20 {
        world.front.broadcast(&progress(1_000_000 + step));
    }
    assert_eq!(world.resume(&session, "1-10").await.unwrap_err(), 400);
    assert!(world.front.dropped_messages() > 0);
    assert!(world.front.0.logs.bytes() <= budget::SESSION_BYTES + 1000);
    // A client that is told so can begin anew.
    let mut own = world.listen(&session).await;
    world.front.broadcast(&tools_changed());
    assert!(now(&mut own).unwrap().contains("tools/list_changed"));
}

#[tokio::test]
async fn all_sessions_together_hold_no_more_than_the_total() {
    let world = world();
    let mut sessions = Vec::new();
    let big = mcp_proxy_core::json::Notification {
        method: mcp_proxy_core::Method::LogMessage,
        params: mcp_proxy_core::json::Params::parse(format!("{{\"data\":\"{}\"}}", "x".repeat(500_000))).unwrap(),
    };
    for _ in 0..2 * budget::TOTAL_BYTES / budget::SESSION_BYTES {
        let session = world.open().await;
        drop(world.listen(&session).await);
        sessions.push(session);
    }
    for mark in 0..10 {
        world.front.broadcast(&progress(mark));
        world.front.broadcast(&mcp_proxy_core::json::Notification {
            method: big.method.clone(),
            params: mcp_proxy_core::json::Params::parse(format!(
                "{{\"mark\":{mark},\"data\":{}}}",
                "7".repeat(500_000)
            ))
            .unwrap(),
        });
    }
    assert!(world.front.0.logs.bytes() <= budget::TOTAL_BYTES);
    for session in &sessions {
        world.send(Method::DELETE, &[("mcp-session-id", session)], "").await;
    }
    assert_eq!(world.front.0.logs.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_kept_for_a_while_only() {
    let world = world();
    let session = world.open().await;
    for id in 0..100 {
        drop(world.stream_of(&session, &id.to_string(), "talk").await);
    }
    assert_eq!(world.resume(&session, "36-0").await.unwrap_err(), 400, "64 are kept");
    assert!(world.resume(&session, "37-0").await.is_ok());
    assert!(world.front.0.logs.bytes() > 0);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(world.resume(&session, "100-0").await.unwrap_err(), 400);
    assert_eq!(world.front.0.logs.bytes(), 0);
}

#[tokio::test]
async fn an_answer_as_json_costs_no_log() {
    let world = world();
    let session = world.open().await;
    world.call(&session, "1", "echo").await;
    world.call(&session, "2", "fail").await;
    assert_eq!(world.front.0.logs.bytes(), 0);
    let mut body = world.stream_of(&session, "3", "talk").await;
    assert_eq!(
        read_event(&mut body).await.unwrap().0,
        "1-0",
        "no stream was opened before"
    );
}

#[tokio::test]
async fn a_question_waits_for_whoever_resumes() {
    let world = world();
    let session = world.open_with(json!({ "roots": {} })).await;
    let mut body = world.stream_of(&session, "1", "ask_after_the_gate").await;
    assert_eq!(rest_now(&mut body), 2);
    drop(body);
    world.gate.add_permits(1);
    while world.front.0.sessions.all()[0].asking.len() == 0 {
        tokio::task::yield_now().await;
    }
    let mut body = world.resume(&session, "1-1").await.unwrap();
    let (_, question) = read_event(&mut body).await.unwrap();
    assert_eq!(question["method"], "roots/list");
    world.answer(&session, &question["id"], json!({ "roots": [] })).await;
    assert_eq!(rest(&mut body).await[0].1["result"], json!({ "roots": [] }));

    // A client that reads elsewhere is asked there.
    let mut own = world.listen(&session).await;
    drop(world.stream_of(&session, "2", "ask_after_the_gate").await);
    world.gate.add_permits(1);
    let question = event(&mut own).await.unwrap();
    assert_eq!(question["method"], "roots/list");
    world.answer(&session, &question["id"], json!({ "roots": [7] })).await;
    let mut body = world.resume(&session, "3-1").await.unwrap();
    assert_eq!(rest(&mut body).await[0].1["result"], json!({ "roots": [7] }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A client that loses its connection at any points, and perhaps part of what was on its way, hears everything once.
    #[test]
    fn nothing_is_lost_or_doubled_wherever_it_breaks(
        plan in prop::collection::vec((0usize..6, 0usize..4, any::<bool>()), 0..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let world = world();
            let session = world.open().await;
            let mut body = world.stream_of(&session, "1", "steps").await;
            let mut heard: Vec<Read> = Vec::new();
            let mut last = "1-0".to_owned();
            for (steps, reads, closes) in plan {
                // Each permit lets the call say one thing more.
                world.gate.add_permits(steps);
                for _ in 0..reads {
                    tokio::task::yield_now().await;
                    let Some(text) = poll_once(&mut body).flatten() else { break };
                    // An event that is not whole is not one.
                    if let Some((id, message)) = whole(&text) {
                        last = id.clone();
                        if !message.is_null() {
                            heard.push((id, message));
                        }
                    }
                }
                if closes {
                    let old = body;
                    body = world.resume(&session, &last).await.unwrap();
                    drop(old);
                } else {
                    drop(body);
                    tokio::task::yield_now().await;
                    body = world.resume(&session, &last).await.unwrap();
                }
            }
            world.gate.add_permits(100);
            heard.extend(rest(&mut body).await.into_iter().filter(|event| !event.1.is_null()));
            let steps: Vec<_> = heard.iter().map(step).collect();
            let expected: Vec<_> = (0..20).map(Some).chain([None]).collect();
            prop_assert_eq!(steps, expected);
            prop_assert_eq!(&heard[20].1["result"], &json!({ "steps": 20 }));
            Ok(())
        })?;
    }
}

/// What a stream has: `None` for nothing yet, `Some(None)` for the end.
fn poll_once(body: &mut FrontBody) -> Option<Option<String>> {
    let mut next = std::pin::pin!(next(body));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match next.as_mut().poll(&mut cx) {
        std::task::Poll::Ready(piece) => Some(piece),
        std::task::Poll::Pending => None,
    }
}

fn whole(text: &str) -> Option<Read> {
    let whole = text.strip_suffix("\n\n")?;
    let field = |name: &str| whole.lines().find_map(|line| line.strip_prefix(name));
    let data = field("data: ")?;
    let message = if data.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(data).ok()?
    };
    Some((field("id: ")?.to_owned(), message))
}
