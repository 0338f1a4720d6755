//! The script: all that a client can do, once.

use std::time::Duration;

use mcp_proxy_test::RAW_RESULT;
use serde_json::{Value, json};

use super::super::support::{Era, Speaker};
use super::Transcript;

/// Performs it.
pub(super) async fn perform(mut client: Speaker) -> Transcript {
    let mut seen = Transcript::new();
    if let Some(session) = client.session() {
        let level = json!({ "level": "info" });
        session
            .request("logging/setLevel", level)
            .await
            .expect("a level is taken");
    }
    lists(&mut client, &mut seen).await;
    content(&mut client, &mut seen).await;
    errors(&mut client, &mut seen).await;
    meanwhile(&mut client, &mut seen).await;
    questions(&mut client, &mut seen).await;
    reading(&mut client, &mut seen).await;
    changes(&mut client, &mut seen).await;
    cancelling(&mut client, &mut seen).await;
    seen
}

async fn lists(client: &mut Speaker, seen: &mut Transcript) {
    for (step, method) in [
        ("list tools", "tools/list"),
        ("list prompts", "prompts/list"),
        ("list resources", "resources/list"),
        ("list resource templates", "resources/templates/list"),
    ] {
        let heard = client.request(method, json!({})).await;
        seen.push((step, heard.written()));
    }
}

async fn content(client: &mut Speaker, seen: &mut Transcript) {
    for (step, tool) in [
        ("text", "test_simple_text"),
        ("image", "test_image_content"),
        ("audio", "test_audio_content"),
        ("embedded resource", "test_embedded_resource"),
        ("several contents", "test_multiple_content_types"),
        ("content of unknown types", "odd_content"),
        ("tool with a JSON Schema of 2020-12", "json_schema_2020_12_tool"),
    ] {
        let heard = client.call(tool, json!({})).await;
        seen.push((step, heard.written()));
    }
    let raw = client.call("raw_result", json!({})).await;
    // Servers add members of their own, in `_meta` too; what the tool said stands there to the byte.
    let (said, meta) = RAW_RESULT.split_once(r#","_meta":{"#).expect("it has both");
    let parts = [said.trim_start_matches('{'), meta.trim_end_matches("}}")];
    let whole = parts.iter().all(|part| raw.text.contains(part));
    seen.push(("result to the byte", json!(whole)));
    let arguments = json!({
        "text": "Grüße, 世界 \u{1f980} \u{2028} \" \\ \n",
        "numbers": [0, -1, 1.5, 1e300, 9_007_199_254_740_993_u64],
        "nested": { "": null, "a": [[], {}] },
    });
    let heard = client.call("echo", arguments).await;
    seen.push(("arguments as they are", heard.written()));
    let params = json!({
        "name": client.name("echo_params"),
        "arguments": {},
        "com.example/unknown": { "member": [1, 2] },
        "_meta": { "com.example/key": { "kept": true }, "plain": 1 },
    });
    let heard = client.request("tools/call", params).await;
    seen.push(("unknown members and `_meta`", heard.written()));
    let name = "a_tool_with_a_name_of_more_than_sixty_characters_as_some_generated_servers_have_them";
    let heard = client.call(name, json!({ "größe": "groß" })).await;
    seen.push(("name of more than 60 characters", heard.written()));
    let heard = client
        .call("test_x_mcp_header", json!({ "region": "Zürich", "level": 3 }))
        .await;
    seen.push(("arguments repeated in headers", heard.written()));
    let params = json!({ "name": client.name("test_simple_text") });
    let heard = client.request("tools/call", params).await;
    seen.push(("call without arguments", heard.written()));
}

async fn errors(client: &mut Speaker, seen: &mut Transcript) {
    let heard = client.call("test_error_handling", json!({})).await;
    seen.push(("tool that fails", heard.written()));
    let heard = client.call("no_such_tool", json!({})).await;
    seen.push(("unknown tool", code(&heard.outcome)));
    let params = json!({ "name": client.name("no_such_prompt") });
    let heard = client.request("prompts/get", params).await;
    seen.push(("unknown prompt", code(&heard.outcome)));
    let params = json!({ "uri": client.uri("test://nowhere") });
    let heard = client.request("resources/read", params).await;
    seen.push(("unknown resource", code(&heard.outcome)));
    let heard = client.request("com.example/unknown", json!({ "a": 1 })).await;
    seen.push(("unknown method", code(&heard.outcome)));
    let heard = client.request("tools/list", json!({ "cursor": "none of yours" })).await;
    seen.push(("unknown cursor", code(&heard.outcome)));
}

/// The words of an error are each server's own; its code is the protocol's.
fn code(outcome: &Value) -> Value {
    outcome["error"]["code"].clone()
}

async fn meanwhile(client: &mut Speaker, seen: &mut Transcript) {
    for (step, token) in [("progress", json!("tökén")), ("progress under a number", json!(7))] {
        let params = json!({
            "name": client.name("progress"),
            "arguments": { "steps": 4, "ms": 1 },
            "_meta": { "progressToken": token },
        });
        let heard = client.request("tools/call", params).await;
        seen.push((step, heard.written()));
    }
    let heard = client.call("test_tool_with_logging", json!({})).await;
    seen.push(("log messages", heard.written()));
}

async fn questions(client: &mut Speaker, seen: &mut Transcript) {
    for (step, tool, arguments) in [
        ("sampling", "test_sampling", json!({ "prompt": "Grüße?" })),
        ("elicitation", "test_elicitation", json!({ "message": "Who?" })),
        (
            "elicitation with defaults",
            "test_elicitation_sep1034_defaults",
            json!({}),
        ),
        ("elicitation with choices", "test_elicitation_sep1330_enums", json!({})),
        ("elicitation by URL", "test_elicitation_url", json!({})),
        ("roots", "test_list_roots", json!({})),
        (
            "several questions",
            "test_input_required_result_multiple_inputs",
            json!({}),
        ),
        (
            "questions one after the other",
            "test_input_required_result_multi_round",
            json!({}),
        ),
        (
            "questions under a state",
            "test_input_required_result_request_state",
            json!({}),
        ),
    ] {
        let heard = client.call(tool, arguments).await;
        seen.push((step, heard.written()));
    }
    let params = json!({ "name": client.name("test_input_required_result_prompt") });
    let heard = client.request("prompts/get", params).await;
    seen.push(("prompt that asks", heard.written()));
}

async fn reading(client: &mut Speaker, seen: &mut Transcript) {
    for (step, uri) in [
        ("resource of text", "test://static-text"),
        ("binary resource", "test://static-binary"),
        ("resource of a template", "test://template/42/data"),
    ] {
        let params = json!({ "uri": client.uri(uri) });
        let heard = client.request("resources/read", params).await;
        seen.push((step, heard.written()));
    }
    for (step, name, arguments) in [
        ("prompt", "test_simple_prompt", json!({})),
        (
            "prompt with arguments",
            "test_prompt_with_arguments",
            json!({ "arg1": "eins", "arg2": "zwei" }),
        ),
        (
            "prompt with a resource",
            "test_prompt_with_embedded_resource",
            json!({ "resourceUri": "test://example" }),
        ),
        ("prompt with an image", "test_prompt_with_image", json!({})),
    ] {
        let params = json!({ "name": client.name(name), "arguments": arguments });
        let heard = client.request("prompts/get", params).await;
        seen.push((step, heard.written()));
    }
    let prompt = json!({ "type": "ref/prompt", "name": client.name("test_prompt_with_arguments") });
    let template = json!({ "type": "ref/resource", "uri": client.uri("test://template/{id}/data") });
    for (step, reference, argument) in [
        (
            "completion of a prompt",
            prompt,
            json!({ "name": "arg1", "value": "par" }),
        ),
        (
            "completion of a template",
            template,
            json!({ "name": "id", "value": "te" }),
        ),
    ] {
        let params = json!({ "ref": reference, "argument": argument, "context": { "arguments": {} } });
        let heard = client.request("completion/complete", params).await;
        seen.push((step, heard.written()));
    }
}

async fn changes(client: &mut Speaker, seen: &mut Transcript) {
    let uri = client.uri("test://watched-resource");
    let filter = json!({ "toolsListChanged": true, "promptsListChanged": true, "resourceSubscriptions": [uri] });
    let begun = match client.era {
        Era::Session => {
            let heard = client.request("resources/subscribe", json!({ "uri": uri })).await;
            heard.outcome
        }
        Era::Sessionless => client.listen(filter).await,
    };
    seen.push(("subscribing", begun));
    // What is subscribed to through a proxy takes effect at the backend a moment later: it changes until that is heard.
    let updated = loop {
        client.call("update_resource", json!({})).await;
        if let Some(note) = client.unasked("notifications/resources/updated", MOMENT).await {
            break note;
        }
    };
    seen.push(("resource that changes", updated));
    for (step, tool, method) in [
        (
            "tools that change",
            "test_trigger_tool_change",
            "notifications/tools/list_changed",
        ),
        (
            "prompts that change",
            "test_trigger_prompt_change",
            "notifications/prompts/list_changed",
        ),
    ] {
        client.call(tool, json!({})).await;
        let note = client.unasked(method, LIMIT).await.expect("the change is announced");
        seen.push((step, note));
    }
    let heard = client.request("tools/list", json!({})).await;
    let tools = heard.outcome["result"]["tools"].as_array().cloned().unwrap_or_default();
    let added = tools
        .iter()
        .any(|tool| tool["name"] == client.name("test_dynamic_tool"));
    seen.push(("tool that was added", json!(added)));
}

/// Every call that was given up ends at the backend too: one that could not be ended would stop this one, which takes all
/// that the fixture has run to its end.
async fn cancelling(client: &mut Speaker, seen: &mut Transcript) {
    let params = json!({
        "name": client.name("progress"),
        "arguments": { "steps": 10_000, "ms": 20 },
        "_meta": { "progressToken": 1 },
    });
    let mut running = client.abandon("tools/call", params).await;
    let first = running.next_message().await;
    let begun = first.is_some_and(|message| message["method"] == "notifications/progress");
    let id = client.last_id();
    match client.session() {
        Some(session) => {
            session
                .notify("notifications/cancelled", json!({ "requestId": id }))
                .await
                .expect("it is taken");
            // A call that was given up is not answered.
            while let Some(message) = running.next_message().await {
                assert!(message.get("result").is_none(), "{message}");
            }
        }
        None => drop(running),
    }
    // The backend says by itself how many of its calls were given up.
    let heard = loop {
        let heard = client.call("cancelled_calls", json!({})).await;
        if heard.outcome["result"]["structuredContent"]["cancelled"] != 0 {
            break heard;
        }
    };
    seen.push(("call that is given up", json!([begun, heard.written()])));
}

/// How long an announcement may take before the change is made again.
const MOMENT: Duration = Duration::from_millis(500);

/// How long an announcement may take at all on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);
