//! `list`: the tools, resources and prompts of a server.

use std::fmt::Write as _;

use mcp_proxy::core::Method;
use serde_json::{Map, Value, json};

use crate::args::{List, Source};
use crate::connect::{Connection, Target, block_on};
use crate::output::{Failure, clean, first_line, print};

/// The lists of a server: heading, member of the result, method, and the member that names an item.
const LISTS: &[(&str, &str, Method, &str)] = &[
    ("tools", "tools", Method::ToolsList, "name"),
    ("resources", "resources", Method::ResourcesList, "uri"),
    (
        "resource templates",
        "resourceTemplates",
        Method::ResourceTemplatesList,
        "uriTemplate",
    ),
    ("prompts", "prompts", Method::PromptsList, "name"),
];

pub(crate) fn run(source: &Source, list: &List) -> Result<(), Failure> {
    let targets = Target::find(source, list.target.as_deref(), &list.credential)?;
    block_on(async {
        let mut servers = Vec::new();
        let mut failed = None;
        for target in &targets {
            match everything(target).await {
                Ok(server) => servers.push(server),
                // One server that is down keeps nobody from seeing the others.
                Err(failure) if targets.len() > 1 => {
                    failure.tell();
                    failed = Some(Failure::Written);
                }
                Err(failure) => return Err(failure),
            }
        }
        match list.json {
            true => {
                let all = match servers.as_slice() {
                    [one] if list.target.is_some() => one.clone(),
                    _ => Value::Array(servers),
                };
                print(&format!("{all:#}\n"))?;
            }
            false => {
                let pages: Vec<String> = servers.iter().map(page).collect();
                print(&pages.join("\n"))?;
            }
        }
        failed.map_or(Ok(()), Err)
    })
}

/// All lists of a server, with its name.
async fn everything(target: &Target) -> Result<Value, Failure> {
    let connection = target.connect().await?;
    let lists = lists(&connection).await;
    let info = connection.connected.hello.server_info.as_ref();
    let info = info.and_then(|info| info.decode().ok()).unwrap_or(Value::Null);
    let version = connection.connected.hello.version.to_string();
    connection.close().await;
    let mut server = lists?;
    server.insert("name".into(), json!(&*target.name));
    server.insert("serverInfo".into(), info);
    server.insert("protocolVersion".into(), json!(version));
    Ok(Value::Object(server))
}

async fn lists(connection: &Connection) -> Result<Map<String, Value>, Failure> {
    let capabilities = &connection.connected.hello.capabilities;
    let mut all = Map::new();
    for (_, member, method, _) in LISTS {
        let capability = match *member {
            "resourceTemplates" => "resources",
            member => member,
        };
        let items = match capabilities.get(capability) {
            Some(_) => connection.list(method.clone(), member).await?,
            None => Vec::new(),
        };
        all.insert((*member).to_owned(), Value::Array(items));
    }
    Ok(all)
}

/// The lists for people.
fn page(server: &Value) -> String {
    let text = |value: &Value| clean(value.as_str().unwrap_or_default());
    let info = &server["serverInfo"];
    let mut out = text(&server["name"]);
    if let Some(name) = info["name"].as_str() {
        let _ = write!(out, " · {} {}", clean(name), text(&info["version"]));
    }
    let _ = writeln!(out, " · protocol {}", text(&server["protocolVersion"]));
    for (heading, member, _, key) in LISTS {
        let items = server[*member].as_array().map_or(&[][..], Vec::as_slice);
        if items.is_empty() {
            continue;
        }
        let _ = writeln!(out, "\n{heading} ({})", items.len());
        let width = items
            .iter()
            .map(|item| text(&item[*key]).chars().count())
            .max()
            .unwrap_or(0)
            .min(40);
        for item in items {
            let name = match *member {
                "tools" => format!("{}{}", text(&item[*key]), parameters(item)),
                _ => text(&item[*key]),
            };
            let meaning = item["description"]
                .as_str()
                .or(item["title"].as_str())
                .unwrap_or_default();
            let _ = writeln!(
                out,
                "{}",
                format!("  {name:width$}  {}", first_line(meaning)).trim_end()
            );
        }
    }
    out
}

/// The parameters of a tool, as `(a, b, [optional])`.
fn parameters(tool: &Value) -> String {
    let schema = &tool["inputSchema"];
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let names = schema["properties"].as_object().into_iter().flat_map(Map::keys);
    let names: Vec<String> = names
        .map(|name| match required.contains(&json!(name)) {
            true => clean(name),
            false => format!("[{}]", clean(name)),
        })
        .collect();
    format!("({})", names.join(", "))
}
