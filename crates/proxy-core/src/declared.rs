//! [`Declared`]: what a client said it can do, and so what a backend may ask of it.
//!
//! The same object serves both eras: a session's comes from its `initialize`, a sessionless request's from its `_meta`.
//! "Both sides use only negotiated capabilities" (MCP, Lifecycle), so a question that was not declared never reaches a
//! client.

use std::sync::{Arc, LazyLock};

use crate::json::{Params, RawJson};
use crate::{Method, ProtocolVersion};

/// A client's capabilities, and its name for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// `capabilities`, as the client sent them: an object.
    pub capabilities: RawJson,
    /// `clientInfo`; nothing is decided by it.
    pub client_info: Option<RawJson>,
    can: u8,
}

const ROOTS: u8 = 1;
const SAMPLING: u8 = 1 << 1;
const SAMPLING_TOOLS: u8 = 1 << 2;
const FORM: u8 = 1 << 3;
const URL: u8 = 1 << 4;
const TASKS: u8 = 1 << 5;

/// The extension by which calls become tasks (SEP-2663).
pub const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// The extension by which tools have pages (MCP Apps).
pub const UI_EXTENSION: &str = "io.modelcontextprotocol/ui";

/// Extensions whose messages the proxy carries; others are not passed on.
const EXTENSIONS: [&str; 2] = [TASKS_EXTENSION, UI_EXTENSION];

impl Declared {
    /// Reads what a client declares. Anything but an object declares nothing.
    pub fn new(capabilities: RawJson, client_info: Option<RawJson>) -> Self {
        let object = |raw: &RawJson, key: &str| raw.get(key).filter(RawJson::is_object);
        let mut can = 0;
        let mut grant = |bit: u8, granted: bool| can |= if granted { bit } else { 0 };
        grant(ROOTS, object(&capabilities, "roots").is_some());
        if let Some(sampling) = object(&capabilities, "sampling") {
            grant(SAMPLING, true);
            grant(SAMPLING_TOOLS, object(&sampling, "tools").is_some());
        }
        if let Some(elicitation) = object(&capabilities, "elicitation") {
            let url = object(&elicitation, "url").is_some();
            grant(URL, url);
            // An empty object means forms, as it did before there were modes.
            grant(FORM, !url || object(&elicitation, "form").is_some());
        }
        if let Some(extensions) = object(&capabilities, "extensions") {
            grant(TASKS, object(&extensions, TASKS_EXTENSION).is_some());
        }
        Self {
            capabilities,
            client_info,
            can,
        }
    }

    /// A client that declared nothing.
    pub fn nothing() -> Arc<Self> {
        static NOTHING: LazyLock<Arc<Declared>> =
            LazyLock::new(|| Arc::new(Declared::new(RawJson::from_static("{}"), None)));
        NOTHING.clone()
    }

    /// Everything that the proxy can relay: declared by its own sessions with backends, from which the catalogue is read.
    pub fn everything() -> Arc<Self> {
        static EVERYTHING: LazyLock<Arc<Declared>> = LazyLock::new(|| {
            let all = r#"{"roots":{"listChanged":true},"sampling":{"tools":{},"context":{}},"elicitation":{"form":{},"url":{}}}"#;
            Arc::new(Declared::new(RawJson::from_static(all), None))
        });
        EVERYTHING.clone()
    }

    /// Whether the client takes tasks instead of results (the extension of 2026-07-28).
    pub fn takes_tasks(&self) -> bool {
        self.can & TASKS != 0
    }

    /// A copy in buffers of its own, for keeping longer than the message it came in.
    pub fn detached(&self) -> Self {
        Self {
            capabilities: self.capabilities.detached(),
            client_info: self.client_info.as_ref().map(RawJson::detached),
            can: self.can,
        }
    }

    /// Whether the client may be asked this, in its revision.
    ///
    /// # Errors
    /// The capabilities that are missing, as an object of the form of `capabilities`; `{}` for a method that no client
    /// answers, or none of its revision.
    pub fn allows(&self, version: ProtocolVersion, method: &Method, params: &Params) -> Result<(), RawJson> {
        let member = |key: &str| params.to_raw().and_then(|params| params.get(key));
        let (needed, missing) = match method {
            Method::RootsList => (ROOTS, r#"{"roots":{}}"#),
            Method::CreateMessage if member("tools").is_some() || member("toolChoice").is_some() => {
                if version < ProtocolVersion::V2025_11_25 {
                    return Err(RawJson::from_static("{}"));
                }
                (SAMPLING | SAMPLING_TOOLS, r#"{"sampling":{"tools":{}}}"#)
            }
            Method::CreateMessage => (SAMPLING, r#"{"sampling":{}}"#),
            Method::Elicit => {
                let url = member("mode").is_some_and(|mode| mode.string().as_deref() == Some("url"));
                let since = if url {
                    ProtocolVersion::V2025_11_25
                } else {
                    ProtocolVersion::V2025_06_18
                };
                if version < since {
                    return Err(RawJson::from_static("{}"));
                }
                if url {
                    (URL, r#"{"elicitation":{"url":{}}}"#)
                } else {
                    (FORM, r#"{"elicitation":{"form":{}}}"#)
                }
            }
            _ => return Err(RawJson::from_static("{}")),
        };
        if self.can & needed == needed {
            Ok(())
        } else {
            Err(RawJson::from_static(missing))
        }
    }

    /// What is declared to a backend on this client's behalf: what the client declared, less what the proxy does not
    /// relay. The same for two clients exactly when a backend may treat them alike.
    pub fn upward(&self) -> RawJson {
        let kept = self.capabilities.without(&["tasks"]);
        match kept.get("extensions").filter(RawJson::is_object) {
            None => kept,
            Some(extensions) => {
                let foreign: Vec<String> = extensions
                    .members()
                    .into_iter()
                    .map(|(key, _)| key)
                    .filter(|key| !EXTENSIONS.contains(&key.as_str()))
                    .collect();
                let foreign: Vec<&str> = foreign.iter().map(String::as_str).collect();
                if foreign.is_empty() {
                    return kept;
                }
                kept.with("extensions", &extensions.without(&foreign))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(text: &str) -> Declared {
        Declared::new(RawJson::parse(text.to_owned()).unwrap(), None)
    }

    fn asks(method: Method, params: &str) -> (Method, Params) {
        (method, Params::parse(params.to_owned()).unwrap())
    }

    #[test]
    fn only_what_was_declared_may_be_asked() {
        let latest = ProtocolVersion::LATEST_SESSION;
        let (form, params) = asks(Method::Elicit, r#"{"message":"?"}"#);
        assert!(declared(r#"{"elicitation":{}}"#).allows(latest, &form, &params).is_ok());
        assert_eq!(
            declared("{}").allows(latest, &form, &params).unwrap_err().as_str(),
            r#"{"elicitation":{"form":{}}}"#
        );
        let (url, params) = asks(Method::Elicit, r#"{"mode":"url"}"#);
        assert!(declared(r#"{"elicitation":{}}"#).allows(latest, &url, &params).is_err());
        let both = declared(r#"{"elicitation":{"form":{},"url":{}}}"#);
        assert!(both.allows(latest, &url, &params).is_ok());
        assert!(both.allows(ProtocolVersion::V2025_06_18, &url, &params).is_err());
        let (sample, params) = asks(Method::CreateMessage, r#"{"tools":[]}"#);
        assert!(declared(r#"{"sampling":{}}"#).allows(latest, &sample, &params).is_err());
        let (other, params) = asks(Method::ToolsCall, "{}");
        assert!(Declared::everything().allows(latest, &other, &params).is_err());
    }

    #[test]
    fn upward_goes_what_is_relayed() {
        let all =
            declared(r#"{"sampling":{},"tasks":{},"extensions":{"a/b":{},"io.modelcontextprotocol/ui":{"x":1}}}"#);
        assert_eq!(
            all.upward().as_str(),
            r#"{"sampling":{},"extensions":{"io.modelcontextprotocol/ui":{"x":1}}}"#
        );
        let plain = r#"{ "roots" : {} }"#;
        assert_eq!(declared(plain).upward().as_str(), plain);
    }
}
