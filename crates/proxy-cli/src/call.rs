//! `call`: calls one tool, shows its progress while it runs and its result when it is done.

use std::fmt::Write as _;
use std::sync::Arc;

use mcp_proxy::core::{ClientHandle, Method, Reply};
use serde_json::{Map, Value, json};

use crate::args::{Call, Source};
use crate::connect::{Connection, Target, block_on};
use crate::output::{Failure, clean, print};
use crate::port::Terminal;

pub(crate) fn run(source: &Source, call: &Call) -> Result<(), Failure> {
    // A slip in the arguments is told before anything is connected to.
    let given = match &call.args {
        Some(text) => Some(object(text)?),
        None => None,
    };
    let targets = Target::find(source, Some(&call.target), &call.credential)?;
    let Some(target) = targets.first() else {
        return Err(Failure::new(format!("no backend is called `{}`", call.target)));
    };
    block_on(async {
        let connection = target.connect().await?;
        let reply = make(&connection, call, given).await;
        connection.close().await;
        show(&reply?, call.json)
    })
}

async fn make(connection: &Connection, call: &Call, given: Option<Value>) -> Result<Reply, Failure> {
    let arguments = match given {
        Some(arguments) => arguments,
        None => arguments(connection, call).await?,
    };
    let terminal = Arc::new(Terminal::new());
    let params = json!({ "name": call.tool, "arguments": arguments, "_meta": { "progressToken": 1 } });
    let client = ClientHandle::new(terminal.clone());
    let reply = connection.call(Method::ToolsCall, &params, client).await;
    terminal.clear();
    reply
}

fn object(text: &str) -> Result<Value, Failure> {
    let help = "write an object, such as --args '{\"a\": 1}'";
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Ok(Value::Object(object)),
        Ok(_) => Err(Failure::with_help("`--args` is JSON, but no object", help)),
        Err(error) => Err(Failure::with_help(format!("`--args` is no JSON: {error}"), help)),
    }
}

/// The arguments of `key=value` words. What the tool's schema calls text stays text, even when it looks like a number.
async fn arguments(connection: &Connection, call: &Call) -> Result<Value, Failure> {
    let mut arguments = Map::new();
    if call.arguments.is_empty() {
        return Ok(Value::Object(arguments));
    }
    let tools = connection.list(Method::ToolsList, "tools").await?;
    let tool = tools.iter().find(|tool| tool["name"] == call.tool.as_str());
    let properties = tool.map_or(&Value::Null, |tool| &tool["inputSchema"]["properties"]);
    for (key, text) in &call.arguments {
        let is_text = properties[key]["type"] == "string";
        let value = match serde_json::from_str(text) {
            Ok(value) if !is_text => value,
            _ => Value::from(text.as_str()),
        };
        arguments.insert(key.clone(), value);
    }
    Ok(Value::Object(arguments))
}

fn show(reply: &Reply, as_json: bool) -> Result<(), Failure> {
    match reply {
        Reply::Error(error) if as_json => {
            let error: Value = error.raw().decode().unwrap_or_default();
            print(&format!("{:#}\n", json!({ "error": error })))?;
            Err(Failure::Written)
        }
        Reply::Error(error) => Err(Failure::new(format!("{} ({})", error.message(), error.code()))),
        Reply::Result(raw) => {
            let result: Value = raw
                .decode()
                .map_err(|error| Failure::new(format!("the result is not readable: {error}")))?;
            let is_error = result["isError"] == true;
            if as_json {
                // As the server wrote it: reading and writing would round its numbers.
                print(&format!("{}\n", raw.as_str().trim()))?;
                return if is_error { Err(Failure::Written) } else { Ok(()) };
            }
            match is_error {
                true => Err(Failure::new(format!("the tool failed: {}", text(&result).trim_end()))),
                false => print(&text(&result)),
            }
        }
    }
}

/// A result for people: texts as they are, the rest described.
fn text(result: &Value) -> String {
    let mut out = String::new();
    let content = result["content"].as_array().map_or(&[][..], Vec::as_slice);
    for item in content {
        let kind = item["type"].as_str().unwrap_or_default();
        let mime = clean(item["mimeType"].as_str().unwrap_or("unknown type"));
        let line = match kind {
            "text" => clean(item["text"].as_str().unwrap_or_default()),
            // Base64 holds three bytes in four characters.
            "image" | "audio" => format!(
                "[{kind}, {mime}, {} bytes]",
                item["data"].as_str().map_or(0, str::len) / 4 * 3
            ),
            "resource_link" => format!("[resource {}]", clean(item["uri"].as_str().unwrap_or_default())),
            "resource" => match item["resource"]["text"].as_str() {
                Some(text) => clean(text),
                None => format!(
                    "[resource {}]",
                    clean(item["resource"]["uri"].as_str().unwrap_or_default())
                ),
            },
            _ => clean(&item.to_string()),
        };
        let _ = writeln!(out, "{}", line.trim_end_matches('\n'));
    }
    if content.is_empty() && !result["structuredContent"].is_null() {
        let _ = writeln!(out, "{}", clean(&format!("{:#}", result["structuredContent"])));
    }
    out
}
