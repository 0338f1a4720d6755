//! One two-way stream is one client: here lines over an in-memory pipe.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::Front;
use super::support::{World, call, initialize, tools_changed, with, world};

/// A client on its stream.
struct Talk {
    input: WriteHalf<DuplexStream>,
    output: Lines<BufReader<ReadHalf<DuplexStream>>>,
    served: JoinSet<()>,
}

impl Talk {
    /// Begins a conversation with nothing said yet.
    fn silent(front: &Front, pipe: usize) -> Self {
        let (ours, theirs) = tokio::io::duplex(pipe);
        let (read, write) = tokio::io::split(theirs);
        let front = front.clone();
        let mut served = JoinSet::new();
        served.spawn(async move { front.serve_lines(read, write, std::future::ready(())).await });
        let (read, write) = tokio::io::split(ours);
        Self {
            input: write,
            output: BufReader::new(read).lines(),
            served,
        }
    }

    /// Opens a session.
    async fn open(world: &World) -> Self {
        let mut talk = Self::silent(&world.front, 1024 * 1024);
        talk.say(initialize("2025-11-25")).await;
        assert_eq!(talk.next().await["result"]["protocolVersion"], "2025-11-25");
        talk
    }

    async fn say(&mut self, message: impl Into<String>) {
        let line = message.into() + "\n";
        self.input.write_all(line.as_bytes()).await.expect("the front reads");
    }

    async fn next(&mut self) -> Value {
        let line = self.output.next_line().await.expect("the front writes lines");
        serde_json::from_str(&line.expect("the front says something")).expect("each line is one message")
    }

    async fn ends(mut self) {
        drop((self.input, self.output));
        let served = self.served.join_next().await.expect("it was started");
        served.expect("a conversation does not panic");
    }
}

fn code(message: &Value) -> i64 {
    message["error"]["code"].as_i64().unwrap_or_default()
}

#[tokio::test]
async fn a_session_lives_as_long_as_its_stream() {
    let world = world();
    let mut talk = Talk::silent(&world.front, 4096);
    talk.say(call("1", "echo")).await;
    assert_eq!(code(&talk.next().await), -32600, "`initialize` comes first");
    talk.say(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#).await;
    assert_eq!(talk.next().await, json!({"jsonrpc": "2.0", "id": "p", "result": {}}));
    talk.say(initialize("2025-06-18")).await;
    assert_eq!(talk.next().await["result"]["protocolVersion"], "2025-06-18");
    talk.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
        .await;
    talk.say(call("2", "version")).await;
    assert_eq!(talk.next().await["result"], "2025-06-18");
    talk.say(initialize("2025-06-18")).await;
    assert_eq!(code(&talk.next().await), -32600, "only one session a stream");
    assert_eq!(*world.log.notified.lock().unwrap(), ["notifications/initialized"]);
    assert_eq!(world.front.session_count(), 1);
    talk.ends().await;
    assert_eq!(world.front.session_count(), 0);
    assert_eq!(world.log.closed.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn calls_run_side_by_side_and_say_all_in_order() {
    let world = world();
    let mut talk = Talk::open(&world).await;
    talk.say(call("1", "gate")).await;
    talk.say(call("2", "talk")).await;
    for step in 0..3 {
        assert_eq!(talk.next().await["params"]["progress"], step);
    }
    assert_eq!(talk.next().await["id"], 2, "the one that waits keeps nobody waiting");
    world.gate.add_permits(1);
    assert_eq!(talk.next().await["id"], 1);
    talk.say(call("3", "big")).await;
    assert_eq!(talk.next().await["result"]["text"].as_str().unwrap().len(), 100_000);
}

#[tokio::test]
async fn what_is_no_message_is_answered_and_the_talk_goes_on() {
    let world = world();
    let mut talk = Talk::open(&world).await;
    for (message, want) in [
        ("{nonsense", -32700),
        ("7", -32600),
        (r#"{"jsonrpc":"2.0"}"#, -32600),
        ("[]", -32600),
    ] {
        talk.say(message).await;
        let answer = talk.next().await;
        assert_eq!((code(&answer), &answer["id"]), (want, &Value::Null), "{message}");
    }
    talk.say(call("1", "echo")).await;
    assert_eq!(talk.next().await["id"], 1);
}

#[tokio::test]
async fn a_batch_is_answered_together_where_there_are_batches() {
    let world = world();
    let mut talk = Talk::silent(&world.front, 4096);
    talk.say(initialize("2025-03-26")).await;
    talk.next().await;
    talk.say(format!("[{},{}]", call("1", "echo"), call("2", "fail"))).await;
    let answers = talk.next().await;
    assert_eq!((answers[0]["id"].clone(), code(&answers[1])), (json!(1), -32602));
}

#[tokio::test]
async fn a_message_beyond_the_bound_ends_the_talk() {
    let world = world();
    let mut talk = Talk::open(&world).await;
    talk.say(format!("\"{}\"", "x".repeat(2000))).await;
    let answer = talk.next().await;
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("1000 bytes"),
        "{answer}"
    );
    assert!(talk.output.next_line().await.unwrap().is_none());
    talk.ends().await;
    assert_eq!(world.front.session_count(), 0);
}

#[tokio::test]
async fn a_cancelled_call_is_not_answered() {
    let world = world();
    let mut talk = Talk::open(&world).await;
    talk.say(call("1", "hang")).await;
    world.log.reaches(&world.log.started, 1).await;
    talk.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#)
        .await;
    world.log.reaches(&world.log.dropped, 1).await;
    talk.say(call("2", "echo")).await;
    assert_eq!(talk.next().await["id"], 2);
}

#[tokio::test]
async fn the_end_of_the_stream_cancels_everything_at_once() {
    let world = world();
    let mut talk = Talk::open(&world).await;
    for id in 0..50 {
        talk.say(call(&id.to_string(), "hang")).await;
    }
    world.log.reaches(&world.log.started, 50).await;
    talk.ends().await;
    assert_eq!(world.log.dropped.load(Ordering::SeqCst), 50);
    assert_eq!((world.front.running_calls(), world.front.session_count()), (0, 0));
}

#[tokio::test]
async fn what_belongs_to_no_call_comes_on_the_same_stream() {
    let world = world();
    let mut talk = Talk::open(&world).await;
    world.front.broadcast(&tools_changed());
    assert_eq!(talk.next().await["method"], "notifications/tools/list_changed");
}

#[tokio::test]
async fn a_backend_asks_and_the_client_answers_on_the_same_stream() {
    let world = world();
    let mut talk = Talk::silent(&world.front, 4096);
    talk.say(initialize("2025-11-25").replace(r#""capabilities":{}"#, r#""capabilities":{"roots":{}}"#))
        .await;
    talk.next().await;
    talk.say(call("7", "ask")).await;
    let question = talk.next().await;
    assert_eq!(question["method"], "roots/list");
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "roots": [] } });
    talk.say(answer.to_string()).await;
    assert_eq!(
        talk.next().await,
        json!({ "jsonrpc": "2.0", "id": 7, "result": { "roots": [] } })
    );
    talk.say(answer.to_string()).await;
    talk.say(call("8", "echo")).await;
    assert_eq!(talk.next().await["id"], 8);
    assert_eq!(world.front.unwanted_answers(), 1, "the second answer is dropped");
}

#[tokio::test]
async fn a_terminated_session_ends_the_talk() {
    let world = world();
    let mut talk = Talk::open(&world).await;
    talk.say(call("1", "hang")).await;
    world.log.reaches(&world.log.started, 1).await;
    let key = world.front.sessions()[0].key;
    assert!(world.front.terminate(key));
    while let Some(line) = talk.output.next_line().await.unwrap() {
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["error"]["data"]["reason"], "cancelled");
    }
    talk.ends().await;
    assert_eq!(world.log.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn shutting_down_waits_for_calls_and_then_ends_the_talk() {
    let world = world();
    let mut talk = Talk::open(&world).await;
    talk.say(call("1", "gate")).await;
    talk.say(call("2", "hang")).await;
    world.log.reaches(&world.log.started, 2).await;
    let front = world.front.clone();
    let mut drained = JoinSet::new();
    drained.spawn(async move { front.drain(Instant::now() + Duration::from_millis(200)).await });
    while !world.front.0.is_draining() {
        tokio::task::yield_now().await;
    }
    talk.say(call("3", "echo")).await;
    let refused = talk.next().await;
    assert_eq!((&refused["id"], code(&refused)), (&json!(3), -31004));
    world.gate.add_permits(1);
    assert_eq!(talk.next().await["result"]["opened"], true);
    let cancelled = talk.next().await;
    assert_eq!((&cancelled["id"], code(&cancelled)), (&json!(2), -31005));
    drained.join_next().await.unwrap().unwrap();
    assert!(talk.output.next_line().await.unwrap().is_none());
    talk.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_off() {
    let world = with(|options| options.body_bytes = 1_000_000);
    let mut talk = Talk::silent(&world.front, 2000);
    talk.say(initialize("2025-11-25")).await;
    talk.next().await;
    talk.say(call("1", "big")).await;
    talk.say(call("2", "hang")).await;
    world.log.reaches(&world.log.started, 2).await;
    // The pipe holds less than the answer; only time can end this.
    world.log.reaches(&world.log.dropped, 1).await;
    assert_eq!(world.front.session_count(), 0);
    talk.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_loses_interim_messages_not_answers() {
    let world = world();
    let mut talk = Talk::silent(&world.front, 500);
    talk.say(initialize("2025-11-25")).await;
    talk.next().await;
    talk.say(call("1", "flood")).await;
    let mut told = 0;
    let last = loop {
        let message = talk.next().await;
        if message.get("method").is_none() {
            break message;
        }
        told += 1;
    };
    assert_eq!(last["id"], 1);
    assert_eq!(told + world.log.refused_messages.load(Ordering::SeqCst), 5000);
    assert!(told >= 1000, "{told}");
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_waits_until_the_proxy_is_ready() {
    let world = world();
    let (ours, theirs) = tokio::io::duplex(4096);
    let (read, write) = tokio::io::split(theirs);
    let front = world.front.clone();
    let ready = tokio::time::sleep(Duration::from_secs(5));
    let mut served = JoinSet::new();
    served.spawn(async move { front.serve_lines(read, write, ready).await });
    let (read, mut write) = tokio::io::split(ours);
    let began = Instant::now();
    write
        .write_all((initialize("2025-11-25") + "\n").as_bytes())
        .await
        .unwrap();
    let mut lines = BufReader::new(read).lines();
    lines.next_line().await.unwrap().unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    drop((lines, write));
    served.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn whoever_says_nothing_is_not_waited_for() {
    let front = world().front;
    front
        .serve_lines(tokio::io::empty(), tokio::io::sink(), std::future::pending())
        .await;
}

/// A request of the sessionless era.
fn complete(id: Value, method: &str, params: Value) -> String {
    super::sessionless::body(&id, method, params)
}

#[tokio::test]
async fn requests_that_are_complete_need_no_session() {
    let world = world();
    let mut talk = Talk::silent(&world.front, 1024 * 1024);
    talk.say(complete(json!("d"), "server/discover", json!({}))).await;
    let discovered = talk.next().await;
    assert_eq!(
        discovered["result"]["supportedVersions"],
        json!(["2026-07-28"]),
        "{discovered}"
    );
    talk.say(complete(json!(1), "tools/call", json!({ "name": "gate" })))
        .await;
    talk.say(complete(json!(2), "tools/call", json!({ "name": "talk" })))
        .await;
    for step in 0..3 {
        assert_eq!(talk.next().await["params"]["progress"], step);
    }
    let said = talk.next().await;
    assert_eq!(
        (&said["id"], &said["result"]["resultType"]),
        (&json!(2), &json!("complete"))
    );
    talk.say(complete(json!(1), "tools/list", json!({}))).await;
    assert_eq!(code(&talk.next().await), -32600, "the id is in use");
    world.gate.add_permits(1);
    assert_eq!(talk.next().await["id"], 1);
    talk.say(complete(json!(1), "tools/call", json!({ "name": "echo" })))
        .await;
    assert_eq!(talk.next().await["id"], 1, "the id is free again");
    talk.say(complete(json!(3), "ping", json!({}))).await;
    assert_eq!(code(&talk.next().await), -32601, "this revision has no ping");
    assert_eq!(world.front.session_count(), 0);
}

#[tokio::test]
async fn both_eras_share_a_stream() {
    let world = world();
    let mut talk = Talk::open(&world).await;
    talk.say(complete(json!(1), "tools/call", json!({ "name": "version" })))
        .await;
    assert_eq!(talk.next().await["result"], "2026-07-28");
    talk.say(call("1", "version")).await;
    assert_eq!(talk.next().await["result"], "2025-11-25");
}

#[tokio::test]
async fn a_revision_that_is_not_served_is_named() {
    let world = world();
    let mut talk = Talk::silent(&world.front, 4096);
    for version in ["2099-01-01", "2025-11-25"] {
        let request = complete(json!(1), "tools/list", json!({})).replace("2026-07-28", version);
        talk.say(request).await;
        let answer = talk.next().await;
        assert_eq!(code(&answer), -32022);
        assert_eq!(
            answer["error"]["data"],
            json!({ "supported": ["2026-07-28"], "requested": version })
        );
    }
}

#[tokio::test]
async fn a_complete_request_is_cancelled_by_its_id() {
    let world = world();
    let mut talk = Talk::silent(&world.front, 4096);
    for id in ["x", "y"] {
        talk.say(complete(json!(id), "tools/call", json!({ "name": "hang" })))
            .await;
    }
    world.log.reaches(&world.log.started, 2).await;
    talk.say(complete(json!("n"), "notifications/cancelled", json!({ "requestId": "x" })).replace(r#""id":"n","#, ""))
        .await;
    world.log.reaches(&world.log.dropped, 1).await;
    talk.say(complete(json!("x"), "tools/call", json!({ "name": "echo" })))
        .await;
    assert_eq!(
        talk.next().await["id"],
        "x",
        "the id is free, and nothing else was said"
    );
    talk.ends().await;
    assert_eq!(world.log.dropped.load(Ordering::SeqCst), 2, "the end cancels the other");
}

#[tokio::test]
async fn listening_streams_share_the_stream() {
    let world = world();
    let mut talk = Talk::silent(&world.front, 1024 * 1024);
    for id in [1, 2] {
        let filter = json!({ "notifications": { "toolsListChanged": true } });
        talk.say(complete(json!(id), "subscriptions/listen", filter)).await;
        assert_eq!(talk.next().await["method"], "notifications/subscriptions/acknowledged");
    }
    let tag = |message: &Value| {
        let meta = message["params"]["_meta"]
            .as_object()
            .or(message["result"]["_meta"].as_object());
        meta.expect("every message is tagged")["io.modelcontextprotocol/subscriptionId"].clone()
    };
    world.front.broadcast(&tools_changed());
    let mut told = [tag(&talk.next().await), tag(&talk.next().await)];
    told.sort_by_key(|id| id.as_i64());
    assert_eq!(told, [1, 2]);
    talk.say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#)
        .await;
    while world.log.closed.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    world.front.broadcast(&tools_changed());
    assert_eq!(tag(&talk.next().await), 2);
    world.front.drain(Instant::now()).await;
    let last = talk.next().await;
    assert_eq!((&last["id"], tag(&last)), (&json!(2), json!(2)));
    assert!(talk.output.next_line().await.unwrap().is_none());
    talk.ends().await;
    assert_eq!(world.log.closed.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_listening_stream_that_ends_early_is_said_to_have_ended() {
    let world = world();
    let mut talk = Talk::silent(&world.front, 4096);
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    talk.say(complete(json!("l"), "subscriptions/listen", filter)).await;
    talk.next().await;
    let key = world.log.keys.lock().unwrap()[0];
    assert!(world.front.terminate(key));
    let ended = talk.next().await;
    assert_eq!(ended["method"], "notifications/cancelled");
    assert_eq!(ended["params"], json!({ "requestId": "l" }));
}
