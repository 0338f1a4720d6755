//! Tools that want arguments repeated in headers: which of them can be called over HTTP, and what one of them wants now.

use mcp_proxy_core::Reply;
use mcp_proxy_core::catalogue::Mirror;
use mcp_proxy_core::json::RawJson;

/// A `tools/list` result without the tools whose headers cannot be written. "Clients MUST exclude" them, and each is
/// named in the log.
pub(super) fn callable(result: RawJson) -> RawJson {
    // Most lists do not speak of headers at all.
    if memchr::memmem::find(result.as_bytes(), b"x-mcp-header").is_none() {
        return result;
    }
    let Some(tools) = result.get("tools") else {
        return result;
    };
    let all = tools.elements();
    let kept: Vec<&RawJson> = all.iter().filter(|tool| can_be_called(tool)).collect();
    if kept.len() == all.len() {
        return result;
    }
    result.with("tools", &RawJson::encode(&kept))
}

fn can_be_called(tool: &RawJson) -> bool {
    let Err(broken) = Mirror::of(tool) else {
        return true;
    };
    let name = tool.get("name");
    let tool = name.as_ref().and_then(RawJson::string).unwrap_or_default();
    tracing::warn!(%tool, broken, "the backend's tool is left out: its headers cannot be written");
    false
}

/// One page of `tools/list`: the mirrors of the tool `name`, or the cursor of the next page.
pub(super) enum Page {
    Found(Vec<Mirror>),
    Next(String),
    /// The tool is in none, or the list cannot be read.
    Nowhere,
}

/// Looks for a tool in a page.
pub(super) fn look_up(reply: &Reply, name: &str) -> Page {
    let Some(result) = reply.result() else {
        return Page::Nowhere;
    };
    let tools = result.get("tools").map(|tools| tools.elements()).unwrap_or_default();
    let found = tools.iter().find(|tool| {
        let said = tool.get("name");
        said.as_ref().and_then(RawJson::string).as_deref() == Some(name)
    });
    if let Some(tool) = found {
        return Mirror::of(tool).map_or(Page::Nowhere, Page::Found);
    }
    let cursor = result.get("nextCursor");
    match cursor.as_ref().and_then(RawJson::string) {
        Some(cursor) => Page::Next(cursor.into_owned()),
        None => Page::Nowhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"name":"a","inputSchema":{"properties":{"x":{"type":"string","x-mcp-header":"X"}}}}"#;
    const BAD: &str = r#"{"name":"b","inputSchema":{"properties":{"x":{"type":"number","x-mcp-header":"X"}}}}"#;

    fn list(tools: &str, rest: &str) -> RawJson {
        RawJson::parse(format!(r#"{{"tools":[{tools}]{rest}}}"#)).unwrap()
    }

    #[test]
    fn tools_that_cannot_be_called_are_left_out() {
        let same = list(r#"{"name":"c" }"#, "");
        assert_eq!(callable(same.clone()), same);
        assert_eq!(callable(list(GOOD, "")), list(GOOD, ""));
        let mixed = list(&format!("{GOOD},{BAD}"), r#","nextCursor":"n""#);
        assert_eq!(callable(mixed), list(GOOD, r#","nextCursor":"n""#));
    }

    #[test]
    fn a_tool_is_looked_up_page_by_page() {
        let page = |tools: &str, rest: &str, name: &str| look_up(&Reply::Result(list(tools, rest)), name);
        assert!(matches!(page(GOOD, "", "a"), Page::Found(mirrors) if mirrors.len() == 1));
        assert!(matches!(page(BAD, "", "b"), Page::Nowhere));
        assert!(matches!(page(GOOD, r#","nextCursor":"n""#, "b"), Page::Next(cursor) if cursor == "n"));
        assert!(matches!(page(GOOD, "", "b"), Page::Nowhere));
    }
}
