//! The JSON Schema of the whole configuration, for editors and for our own checks, and the reference page made from it.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use serde_json::{Value as Json, json};

use super::ProxyConfig;
use super::check::choices;

/// The JSON Schema (draft 2020-12) of a configuration file.
pub fn schema() -> Json {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<ProxyConfig>();
    RecursiveTransform(tidy).transform(&mut schema);
    schema.insert("title".into(), "Configuration of mcp-proxy".into());
    let mut schema = Json::from(schema);
    // Maps keep their order in some builds: the schema is to be the same in all of them.
    schema.sort_all_objects();
    schema
}

/// Describes files rather than values: none can say null, an optional key is left out.
fn tidy(schema: &mut schemars::Schema) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    // The lines of a comment in the sources are no lines of a description.
    if let Some(Json::String(text)) = object.get_mut("description") {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    if object.get("default").is_some_and(Json::is_null) {
        object.remove("default");
    }
    if let Some(Json::Array(types)) = object.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Json::Array(mut any)) = object.remove("anyOf") {
        any.retain(|one| one["type"] != "null");
        match <[Json; 1]>::try_from(any) {
            Ok([Json::Object(only)]) => {
                for (name, value) in only {
                    object.entry(name).or_insert(value);
                }
            }
            Ok([other]) => drop(object.insert("anyOf".into(), json!([other]))),
            Err(any) => drop(object.insert("anyOf".into(), Json::Array(any))),
        }
    }
}

/// The reference page: every key with its type, default and meaning, in Markdown.
pub fn reference() -> String {
    let mut page = String::from(PREAMBLE);
    let schema = schema();
    section(&mut page, &schema, "");
    page
}

fn section(page: &mut String, schema: &Json, path: &str) {
    let empty = serde_json::Map::new();
    let members = schema["properties"].as_object().unwrap_or(&empty);
    let (tables, keys): (Vec<_>, Vec<_>) = members.iter().partition(|(_, schema)| inner(schema).is_some());
    if !keys.is_empty() {
        page.push_str("| Key | Type | Default | Meaning |\n|---|---|---|---|\n");
        for (name, key) in keys {
            let required = schema["required"]
                .as_array()
                .is_some_and(|names| names.contains(&json!(name)));
            let default = match (&key["default"], required) {
                (_, true) => "required".to_owned(),
                (Json::Null, false) => "–".to_owned(),
                (value, false) => format!("`{value}`"),
            };
            let meaning = key["description"].as_str().unwrap_or_default().replace('\n', " ");
            let _ = writeln!(
                page,
                "| `{name}` | {} | {default} | {meaning}{} |",
                kind(key),
                described(key)
            );
        }
        page.push('\n');
    }
    for (name, table) in tables {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let (inner, is_list) = inner(table).unwrap_or((table, false));
        let heading = if is_list {
            format!("[[{path}]]")
        } else {
            format!("[{path}]")
        };
        let meaning = inner["description"]
            .as_str()
            .or(table["description"].as_str())
            .unwrap_or_default();
        let _ = writeln!(page, "## `{heading}`\n\n{}\n", meaning.replace('\n', " "));
        section(page, inner, &path);
    }
}

/// The table that a key holds, and whether it holds a list of them.
fn inner(schema: &Json) -> Option<(&Json, bool)> {
    if schema["properties"].is_object() {
        return Some((schema, false));
    }
    schema["items"]["properties"]
        .is_object()
        .then(|| (&schema["items"], true))
}

fn kind(schema: &Json) -> String {
    if !choices(schema).is_empty() {
        return "choice".into();
    }
    match schema["type"].as_str().unwrap_or_default() {
        "string" => "text".into(),
        "integer" => "number".into(),
        "boolean" => "boolean".into(),
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" => "table of text".into(),
        other => other.into(),
    }
}

/// The choices of an enumeration with their meanings.
fn described(schema: &Json) -> String {
    let mut text = String::new();
    for one in schema["oneOf"].as_array().into_iter().flatten() {
        let (name, meaning) = (one["const"].as_str(), one["description"].as_str());
        let meaning = meaning.unwrap_or_default().replace('\n', " ");
        let _ = write!(text, " `{}`: {meaning}", name.unwrap_or_default());
    }
    text
}

const PREAMBLE: &str = "\
# Configuration

The proxy reads `proxy.toml`, or the file that `--config` names; a name that ends in `.yaml` or `.yml` is read as YAML.
`mcp-proxy check` reports everything that is wrong with a file at once, and connects to nothing. An unknown key is an error.
Editors check a file as you type with `docs/proxy.schema.json`, which `mcp-proxy schema` prints too.

Sources are layered, later ones win: defaults, the file, environment variables, the command line. The variable
`MCP_PROXY__PROXY__LISTEN__PORT=9000` sets `proxy.listen.port`: the prefix `MCP_PROXY__`, then the path of the key in
capitals, its parts separated by two underscores. Lists and tables are written as in TOML. A single backend cannot be
addressed this way; use `${NAME}` inside the file.

Inside any text, the values of keys included, but never in their names:

| Written | Means |
|---|---|
| `${NAME}`, `${env:NAME}` | the environment variable; an error when it is not set |
| `${NAME:-text}` | the variable, or the text when it is not set or empty |
| `${file:PATH}` | what the file says, without the line end; relative to the folder of the configuration |
| `$${` | the characters `${` |

A number or boolean may be written as text with such a reference: `port = \"${PORT}\"`.

This page is generated from the types that read the file.

";
