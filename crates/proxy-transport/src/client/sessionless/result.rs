//! Results of this era: what kind they are, and what a client with a session reads of them.

use mcp_proxy_core::json::RawJson;
use mcp_proxy_core::{Call, Error, ErrorKind, Method, RpcError, codes};

use super::meta::SERVER_INFO;

/// The kinds of results, by `resultType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `complete`, or nothing said.
    Complete,
    /// `input_required`.
    InputRequired,
    /// `task`: the result comes later (SEP-2663).
    Task,
}

/// What kind of result it is.
///
/// # Errors
/// `ServerFault` for a kind that this call cannot have.
pub(crate) fn kind(call: &Call, result: &RawJson) -> Result<Kind, Error> {
    let Some(said) = result.get("resultType") else {
        return Ok(Kind::Complete);
    };
    let said = said.string();
    match said.as_deref() {
        Some("complete") => Ok(Kind::Complete),
        Some("input_required") if may_ask(&call.method) => Ok(Kind::InputRequired),
        Some("task") if may_be_task(call) => Ok(Kind::Task),
        said => Err(
            Error::new(ErrorKind::ServerFault, "the backend's result is of an unknown kind").caused_by(format!(
                "`resultType` {:?} for {}",
                said.unwrap_or_default(),
                call.method
            )),
        ),
    }
}

/// A complete result as a client with a session reads it: without what this era added.
pub(crate) fn shed(call: &Call, result: &RawJson) -> RawJson {
    let mut leave = vec!["resultType", "ttlMs", "cacheScope"];
    if call.method == Method::ToolsCall
        && result
            .get("structuredContent")
            .is_some_and(|content| !content.is_object())
    {
        // Until 2025-11-25 it is an object or nothing.
        leave.push("structuredContent");
    }
    let meta = result.get("_meta").map(|meta| (meta.without(&[SERVER_INFO]), meta));
    match meta {
        Some((less, meta)) if less != meta => {
            if less.as_str() == "{}" {
                leave.push("_meta");
                result.without(&leave)
            } else {
                result.without(&leave).with("_meta", &less)
            }
        }
        _ => result.without(&leave),
    }
}

/// An error as a client with a session knows it.
pub(crate) fn error(call: &Call, error: RpcError) -> RpcError {
    let names_it = || error.raw().get("data").is_some_and(|data| data.get("uri").is_some());
    if call.method == Method::ResourcesRead && error.code() == codes::INVALID_PARAMS && names_it() {
        let code = RawJson::encode(&codes::RESOURCE_NOT_FOUND);
        return RpcError::from_raw(error.raw().with("code", &code)).unwrap_or(error);
    }
    error
}

fn may_ask(method: &Method) -> bool {
    matches!(method, Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead)
}

fn may_be_task(call: &Call) -> bool {
    call.method == Method::ToolsCall && call.context.version.is_sessionless() && call.context.declared.takes_tasks()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> RawJson {
        RawJson::parse(text.to_owned()).unwrap()
    }

    fn check(method: Method, result: &str, expected: &str) {
        assert_eq!(shed(&Call::new(method), &raw(result)).as_str(), expected);
    }

    #[test]
    fn a_client_with_a_session_reads_what_it_knows() {
        check(
            Method::ToolsList,
            r#"{"resultType":"complete","ttlMs":1,"cacheScope":"public","tools":[ ],"x":1.0e2}"#,
            r#"{"tools":[ ],"x":1.0e2}"#,
        );
        check(
            Method::ToolsCall,
            r#"{"content":[],"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}},"structuredContent":[1]}"#,
            r#"{"content":[]}"#,
        );
        check(
            Method::ToolsCall,
            r#"{"_meta":{"a":1,"io.modelcontextprotocol/serverInfo":{}},"structuredContent":{"a":1}}"#,
            r#"{"_meta":{"a":1},"structuredContent":{"a":1}}"#,
        );
        check(
            Method::ToolsCall,
            r#"{ "content" : [], "_meta":{} }"#,
            r#"{ "content" : [], "_meta":{} }"#,
        );
    }

    #[test]
    fn a_kind_that_cannot_be_is_the_backends_fault() {
        let kind = |method: Method, result: &str| kind(&Call::new(method), &raw(result));
        assert_eq!(kind(Method::ToolsCall, "{}").unwrap(), Kind::Complete);
        let asks = r#"{"resultType":"input_required"}"#;
        assert_eq!(kind(Method::PromptsGet, asks).unwrap(), Kind::InputRequired);
        for (method, result) in [
            (Method::ToolsList, asks),
            (Method::ToolsCall, r#"{"resultType":"task"}"#),
            (Method::ToolsCall, r#"{"resultType":"later"}"#),
            (Method::ToolsCall, r#"{"resultType":1}"#),
        ] {
            assert_eq!(
                kind(method, result).unwrap_err().kind(),
                ErrorKind::ServerFault,
                "{result}"
            );
        }
    }

    #[test]
    fn a_missing_resource_has_its_old_code() {
        let missing = RpcError::with_data(-32602, "no such resource", &serde_json::json!({ "uri": "a:b" }));
        let call = Call::new(Method::ResourcesRead);
        let told = error(&call, missing.clone());
        assert_eq!((told.code(), told.message().as_str()), (-32002, "no such resource"));
        assert_eq!(error(&Call::new(Method::ToolsCall), missing).code(), -32602);
        assert_eq!(error(&call, RpcError::new(-32602, "bad cursor")).code(), -32602);
    }
}
