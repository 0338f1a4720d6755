//! Resource URIs inside results: wherever a backend mentions one of its own, clients see the public form.

use super::Namespace;
use crate::Method;
use crate::json::{Path, RawJson};

const CONTENT: &[&Path] = &[&["content", "*", "uri"], &["content", "*", "resource", "uri"]];
const PROMPT: &[&Path] = &[
    &["messages", "*", "content", "uri"],
    &["messages", "*", "content", "resource", "uri"],
    &["messages", "*", "content", "*", "uri"],
    &["messages", "*", "content", "*", "resource", "uri"],
];
const READ: &[&Path] = &[&["contents", "*", "uri"]];
/// The result of a task's call stands in the task (2026-07-28).
const TASK: &[&Path] = &[
    &["result", "content", "*", "uri"],
    &["result", "content", "*", "resource", "uri"],
];

/// A backend's result with its resource URIs made public.
///
/// A result that mentions no URI at all, nearly every one, is returned as it is after one search of its text.
pub fn localise_result(method: &Method, result: RawJson, namespace: &Namespace) -> RawJson {
    let paths = match method {
        Method::ToolsCall | Method::TasksResult => CONTENT,
        Method::TasksGet => TASK,
        Method::PromptsGet => PROMPT,
        Method::ResourcesRead => READ,
        _ => return result,
    };
    // Inside a JSON string the quotes would be escaped, so this finds keys only.
    if namespace.is_empty() || memchr::memmem::find(result.as_bytes(), b"\"uri\"").is_none() {
        return result;
    }
    result.map_strings(paths, |uri| Some(namespace.uri(uri).into_owned()))
}
