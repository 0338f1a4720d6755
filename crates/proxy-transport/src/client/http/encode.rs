//! Writing requests and notifications: one buffer, each part copied once.

use std::io::Write;

use bytes::Bytes;
use mcp_proxy_core::Method;
use mcp_proxy_core::json::{Params, RawJson};

/// The text of a request.
pub(super) fn request(id: u64, method: &Method, params: &Params) -> Bytes {
    let mut text = Vec::with_capacity(64 + method.as_str().len() + params.len());
    text.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    write!(text, "{id}").expect("writing into memory cannot fail");
    write_rest(&mut text, method, params);
    text.into()
}

/// The text of a notification.
pub(super) fn notification(method: &Method, params: &Params) -> Bytes {
    let mut text = Vec::with_capacity(64 + method.as_str().len() + params.len());
    text.extend_from_slice(br#"{"jsonrpc":"2.0""#);
    write_rest(&mut text, method, params);
    text.into()
}

fn write_rest(text: &mut Vec<u8>, method: &Method, params: &Params) {
    text.extend_from_slice(br#","method":"#);
    match method {
        // Only a name that is not ours can hold what needs escaping.
        Method::Other(name) => text.extend_from_slice(RawJson::encode(name).as_bytes()),
        known => {
            text.push(b'"');
            text.extend_from_slice(known.as_str().as_bytes());
            text.push(b'"');
        }
    }
    if !params.is_absent() {
        text.extend_from_slice(br#","params":"#);
        params.write(text);
    }
    text.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_as_they_are() {
        let params = Params::parse(r#"{"a":1.0e2}"#).unwrap();
        assert_eq!(
            request(7, &Method::ToolsCall, &params),
            r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"a":1.0e2}}"#
        );
        assert_eq!(
            notification(&Method::Initialized, &Params::absent()),
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#
        );
        assert_eq!(
            notification(&Method::Other("a\"b".into()), &Params::absent()),
            r#"{"jsonrpc":"2.0","method":"a\"b"}"#
        );
    }
}
