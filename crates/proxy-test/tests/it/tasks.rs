//! Calls that go on as tasks, in the words of both eras.

use mcp_proxy_test::{Era, Fixture};
use serde_json::{Value, json};

use crate::client::{Client, within};
use crate::sessionless::request;

const TASKS: &str = "io.modelcontextprotocol/tasks";

/// A request of a client that can follow tasks; its answer.
async fn following(client: &mut Client, method: &str, mut params: Value) -> Value {
    let capabilities = json!({ "elicitation": {}, "extensions": { TASKS: {} } });
    params["_meta"] = json!({ "io.modelcontextprotocol/clientCapabilities": capabilities });
    request(client, method, params).await.json().await
}

#[tokio::test]
async fn a_task_asks_and_ends_when_it_was_answered() {
    let fixture = Fixture::http().era(Era::Sessionless).await.unwrap();
    let mut client = Client::new(fixture.address());
    let call = json!({ "name": "confirm_delete", "arguments": { "filename": "a" } });
    let created = following(&mut client, "tools/call", call).await;
    assert_eq!(created["result"]["resultType"], "task");
    let id = created["result"]["taskId"].clone();
    let listen = json!({ "notifications": { "taskIds": [id] } });
    let mut stream = request(&mut client, "subscriptions/listen", listen).await;
    let honoured = within(stream.message()).await.unwrap();
    assert_eq!(honoured["params"]["notifications"]["taskIds"], json!([id]));
    loop {
        let looked = following(&mut client, "tasks/get", json!({ "taskId": id })).await;
        if looked["result"]["status"] == "input_required" {
            assert_eq!(
                looked["result"]["inputRequests"]["confirm"]["method"],
                "elicitation/create"
            );
            break;
        }
    }
    let answers = json!({ "confirm": { "action": "accept", "content": { "confirm": true } } });
    following(
        &mut client,
        "tasks/update",
        json!({ "taskId": id, "inputResponses": answers }),
    )
    .await;
    // The listener hears of it without asking again.
    let ended = within(async {
        loop {
            let note = stream.message().await.unwrap();
            if note["params"]["status"] == "completed" {
                return note;
            }
        }
    });
    let ended = ended.await;
    assert_eq!(ended["method"], "notifications/tasks");
    assert_eq!(ended["params"]["result"]["content"][0]["text"], "deleted a");
}

#[tokio::test]
async fn who_cannot_follow_a_task_gets_the_result_or_a_refusal() {
    let fixture = Fixture::http().era(Era::Sessionless).await.unwrap();
    let mut client = Client::new(fixture.address());
    let at_once = request(&mut client, "tools/call", json!({ "name": "slow_compute" })).await;
    assert_eq!(at_once.json().await["result"]["resultType"], "complete");
    let refused = request(&mut client, "tools/call", json!({ "name": "failing_job" })).await;
    let refused = refused.json().await;
    assert_eq!(refused["error"]["code"], -32021);
    assert!(refused["error"]["data"]["requiredCapabilities"]["extensions"][TASKS].is_object());
}

#[tokio::test]
async fn a_session_asks_for_a_task_and_waits_for_its_result() {
    let fixture = Fixture::http().await.unwrap();
    let mut client = Client::open(&fixture, "2025-11-25").await;
    let call = json!({ "name": "multi_input", "arguments": {}, "task": { "ttl": 60_000 } });
    let created = client.request("tools/call", call).await.json().await;
    let id = created["result"]["task"]["taskId"].clone();
    let mut waiting = client.request("tasks/result", json!({ "taskId": id })).await;
    for name in ["Ada", "Bob"] {
        let question = within(waiting.message()).await.unwrap();
        assert_eq!(
            question["params"]["_meta"]["io.modelcontextprotocol/related-task"]["taskId"],
            id
        );
        let answer = json!({ "action": "accept", "content": { "name": name } });
        let answered = json!({ "jsonrpc": "2.0", "id": question["id"], "result": answer });
        client.post(&answered).await;
    }
    let ended = within(waiting.json()).await;
    assert_eq!(ended["result"]["content"][0]["text"], "Ada and Bob");
    let looked = client.request("tasks/get", json!({ "taskId": id })).await.json().await;
    assert_eq!(looked["result"]["status"], "completed");

    // Another session sees nothing of it.
    let mut other = Client::open(&fixture, "2025-11-25").await;
    let unknown = other.request("tasks/get", json!({ "taskId": id })).await.json().await;
    assert_eq!(unknown["error"]["code"], -32602);
    let must = client.call("failing_job", json!({})).await.json().await;
    assert_eq!(must["error"]["code"], -32601);
}
