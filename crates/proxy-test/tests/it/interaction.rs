//! What happens between a call and its answer: progress, log, questions, change notices, streams left and resumed.

use http::{Method, StatusCode};
use mcp_proxy_test::Fixture;
use serde_json::{Value, json};

use crate::client::{Client, Reply, within};

#[tokio::test]
async fn progress_makes_the_answer_a_stream_and_keeps_the_token() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-11-25").await;
    let params = json!({ "name": "progress", "arguments": { "steps": 3 }, "_meta": { "progressToken": 7 } });
    let mut reply = client.request("tools/call", params).await;
    assert!(reply.is_stream());
    let priming = within(reply.event()).await.unwrap();
    assert_eq!((priming.id.as_deref(), priming.data.as_str()), (Some("1-0"), ""));
    let messages = within(reply.messages()).await;
    let steps: Vec<_> = messages
        .iter()
        .filter_map(|m| m["params"]["progress"].as_u64())
        .collect();
    assert_eq!(steps, [1, 2, 3]);
    assert_eq!(messages[0]["params"]["progressToken"], 7);
    assert_eq!(messages[3]["result"]["content"][0]["text"], "3 steps");
    // Nobody asked for progress: the answer comes alone.
    assert!(!client.call("progress", json!({ "steps": 3 })).await.is_stream());
}

#[tokio::test]
async fn older_revisions_see_no_empty_event() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-06-18").await;
    let mut reply = client.call("log", json!({ "n": 1 })).await;
    assert_ne!(within(reply.event()).await.unwrap().data, "");
}

#[tokio::test]
async fn the_log_level_filters() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-11-25").await;
    assert_eq!(
        within(client.call("log", json!({ "n": 2 })).await.messages())
            .await
            .len(),
        3
    );
    client.request("logging/setLevel", json!({ "level": "error" })).await;
    assert!(!client.call("log", json!({ "n": 2 })).await.is_stream());
}

#[tokio::test]
async fn a_question_goes_out_on_the_call_and_its_answer_comes_by_post() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-11-25").await;
    let mut reply = client.call("test_sampling", json!({ "prompt": "How are you?" })).await;
    let question = within(reply.message()).await.unwrap();
    assert_eq!(question["method"], "sampling/createMessage");
    assert_eq!(question["params"]["messages"][0]["content"]["text"], "How are you?");
    let answer = json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "Well." } });
    settle(&mut client, &question, answer).await;
    assert_eq!(text(reply).await, "LLM response: Well.");
}

#[tokio::test]
async fn two_rounds_are_two_questions_in_this_era() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-11-25").await;
    let mut reply = client.call("test_input_required_result_multi_round", json!({})).await;
    for (member, value) in [("name", "Alice"), ("color", "blue")] {
        let question = within(reply.message()).await.unwrap();
        settle(
            &mut client,
            &question,
            json!({ "action": "accept", "content": { member: value } }),
        )
        .await;
    }
    assert_eq!(text(reply).await, "Alice likes blue");
}

#[tokio::test]
async fn a_client_that_cannot_sample_is_not_asked() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::new(fixture.address());
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {} });
    let reply = client.request("initialize", params).await;
    client.set("mcp-session-id", reply.headers["mcp-session-id"].to_str().unwrap());
    let answer = client
        .call("test_sampling", json!({ "prompt": "x" }))
        .await
        .json()
        .await;
    assert_eq!(answer["result"]["isError"], true);
}

#[tokio::test]
async fn a_cut_stream_is_resumed_where_it_stopped() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-11-25").await;
    let mut reply = client.call("test_reconnection", json!({})).await;
    let last = within(reply.event()).await.unwrap().id.unwrap();
    assert_eq!(within(reply.event()).await, None);
    client.set("last-event-id", &last);
    let resumed = client.get().await;
    assert_eq!(resumed.status, StatusCode::OK);
    assert_eq!(text(resumed).await, "Reconnection test completed successfully");
    client.set("last-event-id", "99-0");
    assert_eq!(client.get().await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn changes_reach_the_standalone_streams_of_whoever_they_concern() {
    let fixture = Fixture::http().await.unwrap();
    let mut one = Client::open(&fixture, "2025-11-25").await;
    let mut two = Client::open(&fixture, "2025-11-25").await;
    let (mut one_hears, mut two_hears) = (one.get().await, two.get().await);
    one.request("resources/subscribe", json!({ "uri": "test://watched-resource" }))
        .await;
    two.call("update_resource", json!({})).await;
    two.call("list_change", json!({})).await;
    let message = within(one_hears.message()).await.unwrap();
    assert_eq!(message["method"], "notifications/resources/updated");
    assert_eq!(message["params"]["uri"], "test://watched-resource");
    for hears in [&mut one_hears, &mut two_hears] {
        let message = within(hears.message()).await.unwrap();
        assert_eq!(message["method"], "notifications/tools/list_changed");
    }
    let tools = one.request("tools/list", json!({})).await.json().await["result"]["tools"].clone();
    assert_eq!(tools.as_array().unwrap().last().unwrap()["name"], "added_1");
    assert_eq!(
        text(one.call("added_1", json!({})).await).await,
        "added_1 was added at run time"
    );
}

#[tokio::test]
async fn a_second_standalone_stream_begins_where_the_first_stopped() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-06-18").await;
    let mut first = client.get().await;
    client.call("list_change", json!({})).await;
    assert!(within(first.message()).await.is_some());
    client.call("test_trigger_prompt_change", json!({})).await;
    assert!(within(first.message()).await.is_some());
    let mut second = client.get().await;
    assert_eq!(within(first.message()).await, None);
    client.call("list_change", json!({})).await;
    assert_eq!(
        within(second.message()).await.unwrap()["method"],
        "notifications/tools/list_changed"
    );
    client.send(Method::DELETE, String::new()).await;
    assert_eq!(within(second.message()).await, None);
}

#[tokio::test]
async fn a_question_of_no_call_goes_out_on_the_standalone_stream() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-11-25").await;
    let mut hears = client.get().await;
    let client_side = async {
        let question = within(hears.message()).await.unwrap();
        settle(&mut client, &question, json!({ "roots": [] })).await;
    };
    let (answers, ()) = tokio::join!(fixture.ask_clients("roots/list", &Value::Null), client_side);
    assert_eq!(answers, [Ok(json!({ "roots": [] }))]);
}

async fn settle(client: &mut Client, question: &Value, result: Value) {
    let reply = client
        .post(&json!({ "jsonrpc": "2.0", "id": question["id"], "result": result }))
        .await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
}

async fn text(reply: Reply) -> String {
    within(reply.json()).await["result"]["content"][0]["text"]
        .as_str()
        .unwrap()
        .to_owned()
}
