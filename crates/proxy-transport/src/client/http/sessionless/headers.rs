//! Headers that say again what the body says, so that those on the way can route by them: the revision, the method, what
//! it is about, and the arguments for which a tool asks it.

use http::{HeaderMap, HeaderName, HeaderValue};
use mcp_proxy_core::catalogue::{Mirror, encode_header};
use mcp_proxy_core::json::{Params, Slot};
use mcp_proxy_core::{Method, ProtocolVersion};

/// What the headers of a request are made of.
pub(super) struct About<'a> {
    pub(super) version: ProtocolVersion,
    pub(super) method: &'a Method,
    pub(super) params: &'a Params,
    /// Of the tool that is called.
    pub(super) mirrors: &'a [Mirror],
}

impl About<'_> {
    /// Adds the headers.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(VERSION, HeaderValue::from_static(self.version.as_str()));
        add(headers, METHOD, self.method.as_str());
        if let Some(slot) = subject(self.method)
            && let Some(name) = self.params.string(slot)
        {
            add(headers, NAME, &name);
        }
        if self.mirrors.is_empty() {
            return;
        }
        let Some(arguments) = self.params.value(Slot::Arguments) else {
            return;
        };
        for mirror in self.mirrors {
            let name = HeaderName::from_bytes(format!("mcp-param-{}", mirror.name).as_bytes());
            if let (Ok(name), Some(value)) = (name, mirror.value(&arguments)) {
                add(headers, name, &value);
            }
        }
    }
}

fn add(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // The encoded form is visible ASCII, blanks and tabs, so it always is a header's value.
    if let Ok(value) = HeaderValue::from_str(&encode_header(value)) {
        headers.insert(name, value);
    }
}

/// The member of the params that `Mcp-Name` repeats.
fn subject(method: &Method) -> Option<Slot> {
    match method {
        Method::ToolsCall | Method::PromptsGet => Some(Slot::Name),
        Method::ResourcesRead => Some(Slot::Uri),
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => Some(Slot::TaskId),
        _ => None,
    }
}

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

#[cfg(test)]
mod tests {
    use mcp_proxy_core::json::RawJson;

    use super::*;

    fn check(method: Method, params: &str, expected: &[(&str, &str)]) {
        let schema = r#"{"inputSchema":{"properties":{
            "region":{"type":"string","x-mcp-header":"Region"},"n":{"type":"integer","x-mcp-header":"N"}}}}"#;
        let mirrors = match method {
            Method::ToolsCall => Mirror::of(&RawJson::parse(schema).unwrap()).unwrap(),
            _ => Vec::new(),
        };
        let mut headers = HeaderMap::new();
        let about = About {
            version: ProtocolVersion::V2026_07_28,
            method: &method,
            params: &Params::parse(params.to_owned()).unwrap(),
            mirrors: &mirrors,
        };
        about.write(&mut headers);
        assert_eq!(headers.remove("mcp-protocol-version").unwrap(), "2026-07-28");
        assert_eq!(headers.remove("mcp-method").unwrap(), method.as_str());
        let mut written: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        written.sort_unstable();
        assert_eq!(written, expected, "{params}");
    }

    #[test]
    fn headers_say_what_the_body_says() {
        check(
            Method::ToolsCall,
            r#"{"name":"x","arguments":{"region":" eu","n":7.0}}"#,
            &[
                ("mcp-name", "x"),
                ("mcp-param-n", "7"),
                ("mcp-param-region", "=?base64?IGV1?="),
            ],
        );
        check(
            Method::ToolsCall,
            r#"{"name":"é","arguments":{"region":null}}"#,
            &[("mcp-name", "=?base64?w6k=?=")],
        );
        check(Method::ToolsCall, r#"{"name":"x"}"#, &[("mcp-name", "x")]);
        check(Method::ResourcesRead, r#"{"uri":"a:\"b"}"#, &[("mcp-name", "a:\"b")]);
        check(Method::TasksGet, r#"{"taskId":"t1"}"#, &[("mcp-name", "t1")]);
        check(Method::Complete, r#"{"ref":{"name":"x"}}"#, &[]);
    }
}
