//! The sessionless era over HTTP: what every request must say, rounds, listening.

use http::StatusCode;
use mcp_proxy_test::{Era, Fixture, RAW_RESULT};
use serde_json::{Value, json};

use crate::client::{Client, Reply, within};

const VERSION: &str = "2026-07-28";

/// Sends a request with everything that the era wants, the client being able to do everything.
pub(crate) async fn request(client: &mut Client, method: &str, params: Value) -> Reply {
    let mut params = params;
    let capabilities = json!({ "sampling": {}, "elicitation": {}, "roots": {} });
    if params.get("_meta").is_none() {
        params["_meta"] = json!({});
    }
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(VERSION);
    if params["_meta"]
        .get("io.modelcontextprotocol/clientCapabilities")
        .is_none()
    {
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities;
    }
    client.set("mcp-protocol-version", VERSION);
    client.set("mcp-method", method);
    client.unset("mcp-name");
    if let Some(name) = ["name", "uri", "taskId"]
        .iter()
        .find_map(|member| params.get(*member))
        .and_then(Value::as_str)
    {
        client.set("mcp-name", name);
    }
    client.request(method, params).await
}

#[tokio::test]
async fn discovery_names_the_one_revision_and_results_say_their_type() {
    let fixture = Fixture::http().era(Era::Both).name("both").await.unwrap();
    let mut client = Client::new(fixture.address());
    let found = request(&mut client, "server/discover", json!({})).await.json().await;
    assert_eq!(found["result"]["supportedVersions"], json!([VERSION]));
    assert_eq!(found["result"]["resultType"], "complete");
    assert_eq!(
        found["result"]["_meta"]["io.modelcontextprotocol/serverInfo"]["name"],
        "both"
    );
    let list = request(&mut client, "tools/list", json!({})).await.json().await;
    assert!(list["result"]["ttlMs"].is_u64() && list["result"]["cacheScope"].is_string());
    let raw = request(&mut client, "tools/call", json!({ "name": "raw_result" }))
        .await
        .text()
        .await;
    assert!(raw.contains(RAW_RESULT.strip_prefix('{').unwrap()), "{raw}");
    // Both eras live on one endpoint.
    let mut client = Client::open(&fixture, "2025-11-25").await;
    assert_eq!(client.request("ping", json!({})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn faulty_envelopes_are_refused_each_in_its_own_way() {
    let fixture = Fixture::http().era(Era::Sessionless).await.unwrap();
    let mut client = Client::new(fixture.address());
    assert_eq!(client.get().await.status, StatusCode::METHOD_NOT_ALLOWED);

    let check = async |reply: Reply, status: u16, code: i64| {
        assert_eq!(reply.status.as_u16(), status);
        let answer = reply.json().await;
        assert_eq!(answer["error"]["code"], code, "{answer}");
        answer
    };
    let answer = check(client.initialize("2025-11-25").await, 400, -32022).await;
    assert_eq!(answer["error"]["data"]["supported"], json!([VERSION]));
    check(request(&mut client, "ping", json!({})).await, 404, -32601).await;
    let undeclared = json!({
        "name": "test_missing_capability",
        "_meta": { "io.modelcontextprotocol/clientCapabilities": {} }
    });
    let answer = check(request(&mut client, "tools/call", undeclared).await, 400, -32021).await;
    assert_eq!(
        answer["error"]["data"]["requiredCapabilities"],
        json!({ "sampling": {} })
    );
    // The last request said `tools/call`, and this one still does in its header.
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {}
    });
    check(
        client.request("tools/list", json!({ "_meta": meta })).await,
        400,
        -32020,
    )
    .await;
    client.set("mcp-method", "tools/list");
    check(client.request("tools/list", json!({})).await, 400, -32602).await;
    check(
        request(&mut client, "resources/read", json!({ "uri": "test://no" })).await,
        200,
        -32602,
    )
    .await;
}

#[tokio::test]
async fn mirrored_arguments_must_agree() {
    let fixture = Fixture::http().era(Era::Sessionless).await.unwrap();
    let mut client = Client::new(fixture.address());
    let params = json!({ "name": "test_x_mcp_header", "arguments": { "region": "Zürich", "level": 3 } });
    assert_eq!(
        request(&mut client, "tools/call", params.clone()).await.status,
        StatusCode::BAD_REQUEST
    );
    client.set("mcp-param-region", "=?base64?WsO8cmljaA==?=");
    client.set("mcp-param-level", "3");
    assert_eq!(
        request(&mut client, "tools/call", params.clone()).await.status,
        StatusCode::OK
    );
    client.set("mcp-param-level", "4");
    assert_eq!(
        request(&mut client, "tools/call", params).await.status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn rounds_are_carried_by_the_state_and_a_touched_state_is_refused() {
    let fixture = Fixture::http().era(Era::Sessionless).await.unwrap();
    let mut client = Client::new(fixture.address());
    let mut params = json!({ "name": "test_input_required_result_multi_round" });
    for (key, member, value) in [("step1", "name", "Alice"), ("step2", "color", "blue")] {
        let round = request(&mut client, "tools/call", params.clone()).await.json().await;
        let round = &round["result"];
        assert_eq!(round["resultType"], "input_required");
        assert!(round["inputRequests"][key].is_object(), "{round}");
        params["requestState"] = round["requestState"].clone();
        params["inputResponses"] = json!({ key: { "action": "accept", "content": { member: value } } });
    }
    let end = request(&mut client, "tools/call", params.clone()).await.json().await;
    assert_eq!(end["result"]["content"][0]["text"], "Alice likes blue");
    let touched = format!("{}0", params["requestState"].as_str().unwrap());
    params["requestState"] = json!(touched);
    let refused = request(&mut client, "tools/call", params).await.json().await;
    assert_eq!(refused["error"]["code"], -32602);
}

#[tokio::test]
async fn listeners_hear_what_they_asked_for_and_nothing_else() {
    let fixture = Fixture::http().era(Era::Sessionless).await.unwrap();
    let mut client = Client::new(fixture.address());
    let filter = json!({ "notifications": {
        "promptsListChanged": true,
        "resourceSubscriptions": ["test://watched-resource"]
    } });
    let mut heard = request(&mut client, "subscriptions/listen", filter.clone()).await;
    let ack = within(heard.message()).await.unwrap();
    assert_eq!(ack["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(ack["params"]["notifications"], filter["notifications"]);
    let mut other = Client::new(fixture.address());
    for tool in ["list_change", "test_trigger_prompt_change", "update_resource"] {
        request(&mut other, "tools/call", json!({ "name": tool })).await;
    }
    for method in ["notifications/prompts/list_changed", "notifications/resources/updated"] {
        let message = within(heard.message()).await.unwrap();
        assert_eq!(message["method"], method);
        assert_eq!(message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 1);
    }
    let empty = request(&mut other, "subscriptions/listen", json!({ "notifications": {} })).await;
    assert_eq!(within(empty.messages()).await.len(), 2);
}
