//! What the demo server offers.

use std::collections::HashMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tower_mcp::extract::{Context, Json};
use tower_mcp::protocol::{
    CallToolResult, CompleteParams, CompleteResult, CompletionReference, GetPromptResult, ReadResourceResult,
};
use tower_mcp::{McpRouter, Prompt, PromptBuilder, Resource, ResourceBuilder, ResourceTemplate, Tool, ToolBuilder};

/// A demo server.
pub(super) fn router() -> McpRouter {
    McpRouter::new()
        .server_info("mcp-proxy-builtin", env!("CARGO_PKG_VERSION"))
        .instructions("A demo server inside mcp-proxy. Call `echo` to see that everything works.")
        .tool(echo())
        .tool(add())
        .tool(long_task())
        .resource(about())
        .resource_template(greetings())
        .prompt(greet())
        .completion_handler(complete)
}

#[derive(Deserialize, JsonSchema)]
struct EchoInput {
    /// What to answer.
    message: String,
}

fn echo() -> Tool {
    ToolBuilder::new("echo")
        .title("Echo")
        .description("Answers the message it was given.")
        .read_only_safe()
        .handler(|input: EchoInput| async move { Ok(CallToolResult::text(input.message)) })
        .build()
}

#[derive(Deserialize, JsonSchema)]
struct AddInput {
    /// The first number.
    a: f64,
    /// The second number.
    b: f64,
}

fn add() -> Tool {
    ToolBuilder::new("add")
        .title("Add")
        .description("Adds two numbers.")
        .read_only_safe()
        .output_schema(serde_json::json!({
            "type": "object",
            "properties": { "sum": { "type": "number" } },
            "required": ["sum"],
        }))
        .handler(
            |input: AddInput| async move { Ok(CallToolResult::json(serde_json::json!({ "sum": input.a + input.b }))) },
        )
        .build()
}

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
struct LongTaskInput {
    /// How many steps to take, 1 to 1,000.
    steps: u32,
    /// How long each step takes, in milliseconds, 1 to 10,000.
    step_ms: u64,
}

impl Default for LongTaskInput {
    fn default() -> Self {
        Self {
            steps: 10,
            step_ms: 200,
        }
    }
}

fn long_task() -> Tool {
    ToolBuilder::new("long_task")
        .title("Long task")
        .description("Takes its time and says how far it is, to those who ask for progress. Can be cancelled.")
        .read_only_safe()
        .extractor_handler((), |context: Context, Json(input): Json<LongTaskInput>| async move {
            let steps = input.steps.clamp(1, 1000);
            let pause = Duration::from_millis(input.step_ms.clamp(1, 10_000));
            for step in 1..=steps {
                // Before the pause, not after it: the transport may write the answer before a report that is as new.
                let (begun, total) = (f64::from(step), f64::from(steps));
                context.report_progress(begun, Some(total), Some("working")).await;
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = context.cancelled() => {
                        return Ok(CallToolResult::error(format!("cancelled at step {step} of {steps}")));
                    }
                }
            }
            Ok(CallToolResult::text(format!("{steps} steps done")))
        })
        .build()
}

fn about() -> Resource {
    ResourceBuilder::new("demo://about")
        .name("about")
        .title("About this server")
        .description("What the demo server is for.")
        .mime_type("text/plain")
        .text("This text comes from the demo server inside mcp-proxy. If you can read it, resources work.\n")
}

fn greetings() -> ResourceTemplate {
    ResourceTemplate::builder("demo://greetings/{name}")
        .name("greeting")
        .title("A greeting")
        .description("A greeting for whom you name.")
        .mime_type("text/plain")
        .handler(|uri: String, variables: HashMap<String, String>| async move {
            let name = variables.get("name").map_or("world", String::as_str);
            Ok(ReadResourceResult::text(uri, format!("Hello, {name}!\n")))
        })
}

fn greet() -> Prompt {
    PromptBuilder::new("greet")
        .title("Greet somebody")
        .description("Asks for a greeting in a style of your choice.")
        .required_arg("name", "Whom to greet")
        .optional_arg("style", "How: formal, friendly or pirate")
        .handler(|arguments: HashMap<String, String>| async move {
            let argument = |name, default| arguments.get(name).map_or(default, String::as_str).to_owned();
            let (name, style) = (argument("name", "the reader"), argument("style", STYLES[1]));
            let text = format!("Write a {style} greeting for {name}, in one sentence.");
            Ok(GetPromptResult::user_message_with_description(text, "A greeting"))
        })
        .build()
}

async fn complete(params: CompleteParams) -> tower_mcp::Result<CompleteResult> {
    let candidates: &[&str] = match (&params.reference, params.argument.name.as_str()) {
        (CompletionReference::Prompt { name }, "style") if name == "greet" => &STYLES,
        (_, "name") => &NAMES,
        _ => &[],
    };
    let begun = |candidate: &&&str| candidate.starts_with(&params.argument.value);
    let values = candidates
        .iter()
        .filter(begun)
        .map(|value| (*value).to_owned())
        .collect();
    Ok(CompleteResult::new(values))
}

const STYLES: [&str; 3] = ["formal", "friendly", "pirate"];
const NAMES: [&str; 3] = ["Ada", "Alan", "Grace"];
