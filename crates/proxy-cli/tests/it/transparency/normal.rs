//! What of a transcript is compared: all of it, less what belongs to one hop or, across the bridge, to one era.

use serde_json::Value;

use super::super::support::Era;

/// Who talks to whom, and how the proxy reaches the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pairing {
    pub(super) client: Era,
    pub(super) backend: Era,
    pub(super) transport: &'static str,
}

impl Pairing {
    /// HTTP+SSE was given up before there was a sessionless era.
    pub(super) fn exists(self) -> bool {
        self.transport != "sse" || self.backend == Era::Session
    }

    fn is_bridge(self) -> bool {
        self.client != self.backend
    }
}

/// One step as it is compared.
pub(super) fn of(pairing: Pairing, step: &str, seen: &Value) -> Value {
    // Names of the proxy's own making, wherever they stand.
    let text = seen.to_string().replace("fixture__", "").replace("fixture+", "");
    let mut seen: Value = serde_json::from_str(&text).expect("it was JSON, and no quote was touched");
    walk(&mut seen);
    if step.starts_with("list ") {
        // How long a list may be kept is each server's own word.
        if let Some(result) = seen.pointer_mut("/outcome/result") {
            take_hints(result);
        }
    }
    if pairing.is_bridge() && seen.get("outcome").is_some() {
        bridged(&mut seen);
    }
    seen
}

/// Takes out what every server says of itself.
fn walk(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(meta) = members.get_mut("_meta") {
                for own in [
                    "io.modelcontextprotocol/serverInfo",
                    // What a request says of its sender is said anew for every hop.
                    "io.modelcontextprotocol/protocolVersion",
                    "io.modelcontextprotocol/clientInfo",
                    "io.modelcontextprotocol/clientCapabilities",
                    "io.modelcontextprotocol/logLevel",
                    "progressToken",
                    "traceparent",
                ] {
                    take(meta, own);
                }
                if meta.as_object().is_some_and(serde_json::Map::is_empty) {
                    members.remove("_meta");
                }
            }
            // A name for a later answer, which every hop gives by itself.
            members.remove("elicitationId");
            members.values_mut().for_each(walk);
        }
        Value::Array(items) => items.iter_mut().for_each(walk),
        // A text that quotes JSON is compared as JSON: taking members out of it does not keep the order of the others.
        Value::String(text) if text.starts_with("{\"") => {
            if let Ok(mut inner) = serde_json::from_str::<Value>(text) {
                walk(&mut inner);
                *value = inner;
            }
        }
        _ => {}
    }
}

/// Takes out what only one of the eras has a word for.
fn bridged(seen: &mut Value) {
    if let Some(asked) = seen.get_mut("asked").and_then(Value::as_array_mut) {
        for question in asked.iter_mut() {
            // A request of the session era has no key of its own, and only there does it say what it waits for.
            take(question, "key");
        }
        // One thing at a time, or all at once: what is asked is the same.
        asked.sort_by_key(Value::to_string);
    }
    let Some(result) = seen.pointer_mut("/outcome/result") else {
        return;
    };
    if let Some(tools) = result.get_mut("tools").and_then(Value::as_array_mut) {
        for tool in tools {
            // Tasks of the two eras are different features.
            take(tool, "execution");
        }
    }
    // Revision 2026-07-28 says of a resource for how long it may be kept; the session era has no such word.
    take_hints(result);
}

fn take_hints(result: &mut Value) {
    for hint in ["ttlMs", "cacheScope"] {
        take(result, hint);
    }
}

fn take(value: &mut Value, member: &str) {
    if let Some(members) = value.as_object_mut() {
        // Not `remove`, which may reorder what stays.
        members.retain(|key, _| key != member);
    }
}
