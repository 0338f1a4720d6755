//! `subscriptions/listen`: one shared stream per backend for everything that it announces.
//!
//! Which changes are asked for follows from what the backend declared and from what anybody here wants to hear. Reading
//! and re-opening the stream is the transport's.

use std::sync::Arc;

use mcp_proxy_core::catalogue::Kind;
use mcp_proxy_core::json::{Notification, Params, RawJson};
use mcp_proxy_core::{Declared, Method, ProtocolVersion, TASKS_EXTENSION};

use super::meta::{CAPABILITIES, CLIENT_INFO, SUBSCRIPTION_ID, VERSION, proxy_info};

/// What a backend can announce, from its capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announces {
    tools: bool,
    prompts: bool,
    resources: bool,
    updates: bool,
    tasks: bool,
}

/// What anybody here wants to hear of, by the backend's own names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Resources.
    pub(crate) uris: Arc<[Box<str>]>,
    /// Tasks.
    pub(crate) tasks: Arc<[Box<str>]>,
}

impl Announces {
    /// Reads the capabilities.
    pub(crate) fn of(capabilities: &RawJson) -> Self {
        let promises = |key: &str, what: &str| {
            let promised = capabilities.get(key).and_then(|feature| feature.get(what));
            promised.as_ref().map(RawJson::as_str) == Some("true")
        };
        Self {
            tools: promises("tools", "listChanged"),
            prompts: promises("prompts", "listChanged"),
            resources: promises("resources", "listChanged"),
            updates: promises("resources", "subscribe"),
            tasks: capabilities
                .get("extensions")
                .and_then(|extensions| extensions.get(TASKS_EXTENSION))
                .is_some(),
        }
    }

    /// The lists whose changes it announces.
    pub(crate) fn lists(self) -> Vec<Kind> {
        let mut kinds = Vec::new();
        if self.tools {
            kinds.push(Kind::Tool);
        }
        if self.resources {
            kinds.extend([Kind::Resource, Kind::Template]);
        }
        if self.prompts {
            kinds.push(Kind::Prompt);
        }
        kinds
    }

    /// The params of a request to listen to that, and to what is `wanted`; `None` when there is nothing to hear.
    pub(crate) fn params(self, version: ProtocolVersion, wanted: &Wanted) -> Option<Params> {
        let mut filter = serde_json::Map::new();
        let lists = [
            ("toolsListChanged", self.tools),
            ("promptsListChanged", self.prompts),
            ("resourcesListChanged", self.resources),
        ];
        for (member, _) in lists.into_iter().filter(|(_, announced)| *announced) {
            filter.insert(member.to_owned(), true.into());
        }
        if self.updates && !wanted.uris.is_empty() {
            filter.insert("resourceSubscriptions".to_owned(), serde_json::json!(&*wanted.uris));
        }
        let mut capabilities = Declared::everything().upward();
        if self.tasks && !wanted.tasks.is_empty() {
            filter.insert("taskIds".to_owned(), serde_json::json!(&*wanted.tasks));
            // Who asks about tasks has to know them.
            let extension = serde_json::json!({ TASKS_EXTENSION: {} });
            capabilities = capabilities.with("extensions", &RawJson::encode(&extension));
        }
        if filter.is_empty() {
            return None;
        }
        let params = RawJson::encode(&serde_json::json!({ "notifications": filter }));
        let mut params = Params::parse(params.as_bytes().clone()).unwrap_or_default();
        params.add_meta(&[
            (VERSION, &RawJson::encode(version.as_str())),
            (CAPABILITIES, &capabilities),
            (CLIENT_INFO, &proxy_info()),
        ]);
        Some(params)
    }
}

/// What came on the stream.
#[derive(Debug)]
pub(crate) enum Heard {
    /// It is open.
    Acknowledged,
    /// Lists changed.
    Lists(&'static [Kind]),
    /// Something else that concerns whoever subscribed to it.
    News(Box<Notification>),
    /// Something that does not belong there.
    Foreign,
}

/// Takes a notification from the stream.
pub(crate) fn hear(notification: Notification) -> Heard {
    match notification.method {
        Method::SubscriptionsAcknowledged => Heard::Acknowledged,
        Method::ToolsChanged => Heard::Lists(&[Kind::Tool]),
        // One notification for both; the specification has none of their own for templates.
        Method::ResourcesChanged => Heard::Lists(&[Kind::Resource, Kind::Template]),
        Method::PromptsChanged => Heard::Lists(&[Kind::Prompt]),
        Method::ResourceUpdated | Method::TaskChanged => Heard::News(Box::new(untagged(notification))),
        _ => Heard::Foreign,
    }
}

/// The id of the request that a message on the stream belongs to.
pub(crate) fn subscription(params: &Params) -> Option<RawJson> {
    params.meta(SUBSCRIPTION_ID)
}

/// Without the id of our request, which means nothing to anybody else.
fn untagged(notification: Notification) -> Notification {
    let Notification { method, params } = notification;
    let Some(raw) = params.to_raw() else {
        return Notification { method, params };
    };
    let params = match raw.get("_meta").map(|meta| meta.without(&[SUBSCRIPTION_ID])) {
        None => params,
        Some(meta) => {
            let raw = match meta.as_str() {
                "{}" => raw.without(&["_meta"]),
                _ => raw.with("_meta", &meta),
            };
            Params::parse(raw.as_bytes().clone()).unwrap_or_default()
        }
    };
    Notification { method, params }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(capabilities: &str, uris: &[&str], expected: Option<Value>) {
        check_both(capabilities, uris, &[], expected);
    }

    fn check_both(capabilities: &str, uris: &[&str], tasks: &[&str], expected: Option<Value>) {
        let announces = Announces::of(&RawJson::parse(capabilities.to_owned()).unwrap());
        let names = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect();
        let wanted = Wanted {
            uris: names(uris),
            tasks: names(tasks),
        };
        let params = announces.params(ProtocolVersion::V2026_07_28, &wanted);
        let filter = params.map(|params| params.to_raw().unwrap().decode::<Value>().unwrap()["notifications"].clone());
        assert_eq!(filter, expected, "{capabilities}");
    }

    #[test]
    fn only_what_was_promised_is_asked_for() {
        check(r#"{"tools":{}}"#, &["a:1"], None);
        check(
            r#"{"tools":{"listChanged":true},"prompts":{"listChanged":false}}"#,
            &["a:1"],
            Some(json!({ "toolsListChanged": true })),
        );
        check(r#"{"resources":{"subscribe":true}}"#, &[], None);
        check(
            r#"{"resources":{"subscribe":true,"listChanged":true},"prompts":{"listChanged":true}}"#,
            &["a:1", "b:\""],
            Some(json!({
                "promptsListChanged": true,
                "resourcesListChanged": true,
                "resourceSubscriptions": ["a:1", "b:\""],
            })),
        );
    }

    #[test]
    fn tasks_are_asked_about_where_they_are_known() {
        let known = r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
        check_both(known, &[], &[], None);
        check_both(known, &[], &["t"], Some(json!({ "taskIds": ["t"] })));
        check_both("{}", &[], &["t"], None);
    }

    #[test]
    fn news_lose_the_id_of_our_request() {
        let heard = |method: Method, params: &str| {
            hear(Notification {
                method,
                params: Params::parse(params.to_owned()).unwrap(),
            })
        };
        let tagged = format!(r#"{{"uri":"a:1","_meta":{{"{SUBSCRIPTION_ID}":7}}}}"#);
        assert!(matches!(
            heard(Method::ResourceUpdated, &tagged),
            Heard::News(news) if news.params.to_bytes() == r#"{"uri":"a:1"}"#
        ));
        let more = format!(r#"{{"uri":"a:1","_meta":{{"{SUBSCRIPTION_ID}":7,"a":1}}}}"#);
        assert!(matches!(
            heard(Method::ResourceUpdated, &more),
            Heard::News(news) if news.params.to_bytes() == r#"{"uri":"a:1","_meta":{"a":1}}"#
        ));
        assert!(matches!(heard(Method::Progress, "{}"), Heard::Foreign));
        assert!(matches!(
            heard(Method::ToolsChanged, &tagged),
            Heard::Lists([Kind::Tool])
        ));
    }
}
