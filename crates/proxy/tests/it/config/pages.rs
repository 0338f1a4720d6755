//! What is generated from the types is what lies in `docs/`.

use std::path::Path;

use mcp_proxy::config::{reference, schema};

fn compare(name: &str, current: &str, repair: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("MCP_PROXY_WRITE_DOCS").is_some() {
        std::fs::write(&path, current).expect("docs are writable");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept.replace("\r\n", "\n") == current,
        "docs/{name} is not current; run: {repair}"
    );
}

const REPAIR: &str = "MCP_PROXY_WRITE_DOCS=1 cargo test -p mcp-proxy pages";

#[test]
fn the_schema_is_current() {
    let text = serde_json::to_string_pretty(&schema()).expect("JSON is JSON");
    compare("proxy.schema.json", &format!("{text}\n"), REPAIR);
}

#[test]
fn the_reference_is_current() {
    compare("configuration.md", &reference(), REPAIR);
}

#[test]
fn every_key_is_documented() {
    fn walk(schema: &serde_json::Value, path: &str) {
        for (name, key) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            assert!(
                key["description"].as_str().is_some_and(|text| text.len() > 10),
                "{path}"
            );
            walk(key, &path);
            walk(&key["items"], &path);
        }
        assert!(schema["anyOf"].is_null(), "{path} is more than one type");
    }
    walk(&schema(), "");
}
