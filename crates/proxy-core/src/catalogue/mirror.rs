//! [`Mirror`]: arguments that a request repeats in `Mcp-Param-*` headers, so that those on the way can route by them
//! (2026-07-28, `x-mcp-header`).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::json::RawJson;

/// One argument of a tool that a header repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// What follows `Mcp-Param-` in the header's name, as the schema spells it; a token.
    pub name: Box<str>,
    /// Where the argument stands, from the outside in.
    path: Box<[Box<str>]>,
}

/// The schema keyword.
const KEYWORD: &str = "x-mcp-header";

impl Mirror {
    /// Reads a tool's definition; no mirrors when its schema does not speak of headers.
    ///
    /// # Errors
    /// Which rule the schema breaks. A client that speaks HTTP must then leave the tool out.
    pub fn of(definition: &RawJson) -> Result<Vec<Self>, String> {
        if memchr::memmem::find(definition.as_bytes(), KEYWORD.as_bytes()).is_none() {
            return Ok(Vec::new());
        }
        let Some(Ok(schema)) = definition.get("inputSchema").map(|schema| schema.decode::<Value>()) else {
            return Ok(Vec::new());
        };
        let mut mirrors = Vec::new();
        collect(&schema, true, &mut Vec::new(), &mut mirrors)?;
        Ok(mirrors)
    }

    /// The text of the argument, before [encoding](encode_header); `None` when it is absent, null or no plain value.
    pub fn value(&self, arguments: &RawJson) -> Option<String> {
        let mut value = arguments.clone();
        for key in &self.path {
            value = value.get(key)?;
        }
        match value.decode::<Value>().ok()? {
            Value::String(text) => Some(text),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Number(number) => Some(match number.as_f64() {
                // 1.0 is an integer to JSON Schema, and headers carry integers in decimal.
                Some(float) if !number.is_i64() && !number.is_u64() && float.fract() == 0.0 && float.abs() < 9e15 => {
                    format!("{float:.0}")
                }
                _ => number.to_string(),
            }),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// Whether a decoded header says what the argument says; integers are compared as numbers.
    pub fn agrees(&self, header: &str, arguments: &RawJson) -> bool {
        match self.value(arguments) {
            None => false,
            Some(value) if value == header => true,
            Some(value) => match (header.parse::<i128>(), value.parse::<i128>()) {
                (Ok(header), Ok(value)) => header == value,
                _ => false,
            },
        }
    }
}

/// Walks a schema. `reachable`: only `properties` lie between it and the root.
fn collect(schema: &Value, reachable: bool, path: &mut Vec<Box<str>>, mirrors: &mut Vec<Mirror>) -> Result<(), String> {
    let schema = match schema {
        Value::Object(schema) => schema,
        Value::Array(list) => {
            return list.iter().try_for_each(|one| collect(one, false, path, mirrors));
        }
        _ => return Ok(()),
    };
    if let Some(name) = schema.get(KEYWORD) {
        mirrors.push(mirror(name, schema, reachable, path, mirrors)?);
    }
    for (key, value) in schema {
        match (key.as_str(), value) {
            (KEYWORD, _) => {}
            ("properties", Value::Object(properties)) => {
                for (name, property) in properties {
                    path.push(name.as_str().into());
                    collect(property, reachable, path, mirrors)?;
                    path.pop();
                }
            }
            // Plain data, where the word means nothing.
            ("default" | "const" | "enum" | "examples", _) => {}
            (_, value) => collect(value, false, path, mirrors)?,
        }
    }
    Ok(())
}

fn mirror(
    name: &Value,
    schema: &Map<String, Value>,
    reachable: bool,
    path: &[Box<str>],
    others: &[Mirror],
) -> Result<Mirror, String> {
    let Some(name) = name.as_str().filter(|name| is_token(name)) else {
        return Err(format!("`{KEYWORD}` must be a header name, not {name}"));
    };
    if !reachable || path.is_empty() {
        return Err(format!(
            "`{KEYWORD}` {name:?} stands where no argument is sure to be found"
        ));
    }
    let fits = matches!(
        schema.get("type").and_then(Value::as_str),
        Some("string" | "integer" | "boolean")
    );
    if !fits {
        return Err(format!(
            "`{KEYWORD}` {name:?} is on something other than a string, integer or boolean"
        ));
    }
    if others.iter().any(|other| other.name.eq_ignore_ascii_case(name)) {
        return Err(format!("`{KEYWORD}` {name:?} is used twice"));
    }
    Ok(Mirror {
        name: name.into(),
        path: path.into(),
    })
}

/// A token of RFC 9110, 5.6.2.
fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

/// A value as a header carries it: as it is, or where HTTP could not carry that, in base64 between `=?base64?` and `?=`.
pub fn encode_header(value: &str) -> Cow<'_, str> {
    let plain = value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
        && !value.starts_with([' ', '\t'])
        && !value.ends_with([' ', '\t'])
        && !value.starts_with("=?base64?");
    if plain {
        Cow::Borrowed(value)
    } else {
        Cow::Owned(format!("=?base64?{}?=", STANDARD.encode(value)))
    }
}

/// The value that a header carries; `None` for broken base64.
pub fn decode_header(header: &str) -> Option<Cow<'_, str>> {
    let inner = header
        .strip_prefix("=?base64?")
        .and_then(|rest| rest.strip_suffix("?="));
    match inner {
        None => Some(Cow::Borrowed(header)),
        Some(inner) => {
            let bytes = STANDARD.decode(inner).ok()?;
            String::from_utf8(bytes).ok().map(Cow::Owned)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(schema: &str) -> RawJson {
        RawJson::parse(format!(r#"{{"name":"t","inputSchema":{schema}}}"#)).unwrap()
    }

    #[test]
    fn arguments_are_found_and_compared() {
        let definition = tool(
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"Region"},"o":{"properties":{"n":{"type":"integer","x-mcp-header":"Level"}}}}}"#,
        );
        let mirrors = Mirror::of(&definition).unwrap();
        let by_name = |name: &str| mirrors.iter().find(|mirror| &*mirror.name == name).unwrap();
        let arguments = RawJson::parse(r#"{"a":"eu","o":{"n":7.0}}"#).unwrap();
        assert_eq!(by_name("Region").value(&arguments).as_deref(), Some("eu"));
        assert_eq!(by_name("Level").value(&arguments).as_deref(), Some("7"));
        assert!(by_name("Level").agrees("07", &arguments));
        assert!(!by_name("Level").agrees("8", &arguments));
        assert!(!by_name("Region").agrees("EU", &arguments));
        assert_eq!(by_name("Region").value(&RawJson::parse(r#"{"a":null}"#).unwrap()), None);
    }

    #[test]
    fn broken_rules_are_named() {
        for schema in [
            r#"{"properties":{"a":{"type":"string","x-mcp-header":""}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"a b"}}}"#,
            r#"{"properties":{"a":{"type":"number","x-mcp-header":"A"}}}"#,
            r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}}"#,
            r#"{"properties":{"a":{"items":{"type":"string","x-mcp-header":"A"}}}}"#,
            r#"{"anyOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}"#,
            r#"{"type":"string","x-mcp-header":"A"}"#,
        ] {
            assert!(Mirror::of(&tool(schema)).is_err(), "{schema}");
        }
        assert_eq!(
            Mirror::of(&tool(r#"{"properties":{"a":{"default":{"x-mcp-header":1}}}}"#)),
            Ok(Vec::new())
        );
    }

    #[test]
    fn headers_carry_any_text() {
        for text in ["plain", " blank", "ünïcode", "=?base64?x?=", "", "a\nb"] {
            let encoded = encode_header(text);
            assert!(encoded.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{encoded}");
            assert_eq!(decode_header(&encoded).as_deref(), Some(text));
        }
        assert_eq!(encode_header("us-west 1"), "us-west 1");
        assert_eq!(decode_header("=?base64?%%?="), None);
    }
}
