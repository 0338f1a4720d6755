//! `_meta` of a request that has to be complete in itself: the revision, what the client can do, who it is, how much log
//! it wants.
//!
//! A client of this era has said all of it. Then only that is changed which would not hold on this hop. For a client with
//! a session it is taken from the session.

use mcp_proxy_core::json::{Params, RawJson};
use mcp_proxy_core::{Call, Context, LogLevel, TASKS_EXTENSION};

use super::Manner;

/// `_meta`: the revision.
pub(crate) const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// `_meta`: what the client can do.
pub(crate) const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// `_meta`: who the client is.
pub(crate) const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// `_meta`: the least log level wanted.
pub(crate) const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// `_meta` of results: who the server is.
pub(crate) const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// `_meta` of what comes on a `subscriptions/listen` stream: the id of that request.
pub(crate) const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// The params of a call as its backend has to read them.
pub(crate) fn dress(manner: Manner, call: &Call) -> Params {
    let mut wanted = Wanted {
        params: &call.params,
        members: Vec::new(),
    };
    let context = &call.context;
    // Calls of the proxy itself come in this era without having been written by a client of it.
    let spoke = context.version.is_sessionless() && call.params.meta(VERSION).is_some();
    wanted.set(VERSION, RawJson::encode(manner.version.as_str()));
    wanted.set(CAPABILITIES, capabilities(context));
    if !spoke {
        wanted.set(
            CLIENT_INFO,
            context.declared.client_info.clone().unwrap_or_else(proxy_info),
        );
        // Without a level a backend must not log, and where nobody listens it need not.
        if manner.logs && call.client.is_open() {
            let level = context.log_level.unwrap_or(LogLevel::Info);
            wanted.set(LOG_LEVEL, RawJson::encode(level.as_str()));
        }
    }
    if let Some(trace) = &context.trace
        && call.params.meta("traceparent").is_none()
    {
        wanted.set("traceparent", RawJson::encode(&trace.parent));
        if let Some(state) = &trace.state {
            wanted.set("tracestate", RawJson::encode(state));
        }
    }
    let members: Vec<_> = wanted.members.iter().map(|(key, value)| (*key, value)).collect();
    let mut params = call.params.clone();
    if !members.is_empty() {
        params.add_meta(&members);
    }
    params
}

struct Wanted<'a> {
    params: &'a Params,
    members: Vec<(&'static str, RawJson)>,
}

impl Wanted<'_> {
    /// Wants a member to be `value`; nothing to do where it is.
    fn set(&mut self, key: &'static str, value: RawJson) {
        if self.params.meta(key).as_ref() != Some(&value) {
            self.members.push((key, value));
        }
    }
}

fn capabilities(context: &Context) -> RawJson {
    let all = context.declared.upward();
    if context.version.is_sessionless() {
        return all;
    }
    // A client with a session could make nothing of a task instead of a result.
    match all.get("extensions") {
        Some(extensions) if extensions.get(TASKS_EXTENSION).is_some() => {
            all.with("extensions", &extensions.without(&[TASKS_EXTENSION]))
        }
        _ => all,
    }
}

/// Who the proxy is.
pub(crate) fn proxy_info() -> RawJson {
    RawJson::from_static(concat!(
        r#"{"name":"mcp-proxy","version":""#,
        env!("CARGO_PKG_VERSION"),
        r#""}"#
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mcp_proxy_core::{Asked, ClientHandle, ClientPort, Declared, Interim, Method, ProtocolVersion, Trace};
    use serde_json::{Value, json};

    use super::*;

    const MANNER: Manner = Manner {
        version: ProtocolVersion::V2026_07_28,
        logs: true,
    };

    struct Listener;

    impl ClientPort for Listener {
        fn notify(&self, _: Interim) -> bool {
            true
        }
        fn ask(&self, _: Method, _: Params) -> Asked {
            Box::pin(std::future::pending())
        }
    }

    fn call(version: ProtocolVersion, declared: &str, params: &str) -> Call {
        let declared = RawJson::parse(declared.to_owned()).unwrap();
        let info = RawJson::from_static(r#"{"name":"c","version":"1"}"#);
        let mut call = Call::new(Method::ToolsCall).with_params(Params::parse(params.to_owned()).unwrap());
        call.context = Context {
            version,
            declared: Arc::new(Declared::new(declared, Some(info))),
            ..Context::default()
        };
        call.client = ClientHandle::new(Arc::new(Listener));
        call
    }

    fn meta(params: &Params) -> Value {
        let params: Value = params.to_raw().unwrap().decode().unwrap();
        params["_meta"].clone()
    }

    #[test]
    fn a_client_with_a_session_is_spoken_for() {
        let mut call = call(
            ProtocolVersion::V2025_06_18,
            r#"{"roots":{},"tasks":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
            r#"{"name":"x","_meta":{"progressToken":7,"a/b":1.0}}"#,
        );
        call.context.trace = Some(Arc::new(Trace {
            parent: "00-1".into(),
            state: None,
        }));
        let dressed = dress(MANNER, &call);
        assert_eq!(
            meta(&dressed),
            json!({
                VERSION: "2026-07-28",
                CAPABILITIES: { "roots": {}, "extensions": {} },
                CLIENT_INFO: { "name": "c", "version": "1" },
                LOG_LEVEL: "info",
                "traceparent": "00-1",
                "progressToken": 7,
                "a/b": 1.0,
            })
        );
        assert!(dressed.to_raw().unwrap().as_str().contains(r#""a/b":1.0"#));
        call.context.log_level = Some(LogLevel::Error);
        assert_eq!(meta(&dress(MANNER, &call))[LOG_LEVEL], "error");
        call.client = ClientHandle::none();
        assert_eq!(meta(&dress(MANNER, &call))[LOG_LEVEL], Value::Null);
    }

    #[test]
    fn a_client_of_this_era_has_said_it_all() {
        let text =
            format!(r#"{{"_meta":{{"{VERSION}":"2026-07-28","{CAPABILITIES}":{{ "roots":{{}} }}}},"name":"x"}}"#);
        let same = call(ProtocolVersion::V2026_07_28, r#"{ "roots":{} }"#, &text);
        assert_eq!(dress(MANNER, &same).to_bytes(), text);
        // What the proxy does not relay is not declared any further.
        let foreign = text.replace(r#""roots":{}"#, r#""extensions":{"a/b":{}}"#);
        let foreign = call(ProtocolVersion::V2026_07_28, r#"{"extensions":{"a/b":{}}}"#, &foreign);
        assert_eq!(
            meta(&dress(MANNER, &foreign)),
            json!({ VERSION: "2026-07-28", CAPABILITIES: { "extensions": {} } })
        );
    }

    #[test]
    fn calls_of_the_proxy_are_complete_too() {
        let mut call = Call::new(Method::ToolsList);
        call.context.version = ProtocolVersion::V2026_07_28;
        let meta = meta(&dress(MANNER, &call));
        assert_eq!(meta[CAPABILITIES], json!({}));
        assert_eq!(meta[CLIENT_INFO]["name"], "mcp-proxy");
        assert_eq!(meta[LOG_LEVEL], Value::Null);
    }
}
