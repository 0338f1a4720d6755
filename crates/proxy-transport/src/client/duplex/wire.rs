//! The texts we send: requests and notifications.

use bytes::Bytes;
use mcp_proxy_core::Method;
use mcp_proxy_core::json::{Params, RawJson};

/// A request under an id of ours.
pub(super) fn request(id: u64, method: &Method, params: &Params) -> Bytes {
    let mut text = Vec::with_capacity(params.len() + 96);
    text.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    text.extend_from_slice(id.to_string().as_bytes());
    finish(text, method, params)
}

/// A notification.
pub(super) fn notification(method: &Method, params: &Params) -> Bytes {
    let mut text = Vec::with_capacity(params.len() + 64);
    text.extend_from_slice(b"{\"jsonrpc\":\"2.0\"");
    finish(text, method, params)
}

/// Tells the backend that nobody waits for the answer to `id` any more.
pub(super) fn cancelled(id: u64) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#).into()
}

fn finish(mut text: Vec<u8>, method: &Method, params: &Params) -> Bytes {
    text.extend_from_slice(b",\"method\":");
    match method {
        // The only name that did not come from this program, so the only one that may need escapes.
        Method::Other(name) => text.extend_from_slice(RawJson::encode(&**name).as_bytes()),
        known => {
            text.push(b'"');
            text.extend_from_slice(known.as_str().as_bytes());
            text.push(b'"');
        }
    }
    if !params.is_absent() {
        text.extend_from_slice(b",\"params\":");
        params.write(&mut text);
    }
    text.push(b'}');
    text.into()
}

#[cfg(test)]
mod tests {
    use mcp_proxy_core::json::Message;

    use super::*;

    #[test]
    fn texts_read_back_as_what_they_were_written_from() {
        let params = Params::parse(r#"{"a":1.0e2}"#).unwrap();
        let text = request(7, &Method::Other("x\"y".into()), &params);
        assert_eq!(text, r#"{"jsonrpc":"2.0","id":7,"method":"x\"y","params":{"a":1.0e2}}"#);
        assert!(matches!(Message::scan(text), Ok(Message::Request(_))));
        assert_eq!(
            notification(&Method::Initialized, &Params::absent()),
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#
        );
        assert!(matches!(Message::scan(cancelled(3)), Ok(Message::Notification(_))));
    }
}
