//! Is this the answer to that request? Status, id, marker and length must fit, for every single call.
//!
//! The usual answer is recognised by a few searches, because parsing 200 kB each time would load the client's core more
//! than the proxy's; whatever does not look usual is parsed, so that an odd but right answer passes too.

use anyhow::{bail, ensure};
use memchr::memmem;
use serde_json::Value;

use super::request::{Ask, Request};

/// Judges one answer.
///
/// # Errors
/// When it is not exactly what was asked for; says what was there instead.
pub(crate) fn check(ask: &Ask, request: &Request, status: u16, body: &[u8]) -> anyhow::Result<()> {
    ensure!(status == 200, "status {} instead of 200: {}", status, excerpt(body));
    match ask {
        Ask::Call { bytes, .. } => {
            if usual(request, *bytes, body) {
                Ok(())
            } else {
                parsed(request, *bytes, body)
            }
        }
        Ask::List { bytes } => {
            ensure!(
                body.len() == *bytes,
                "a list of {} bytes instead of {bytes}: {}",
                body.len(),
                excerpt(body)
            );
            Ok(())
        }
    }
}

/// Recognises `…"id":ID…"text":"MARKER…"` by searching. `false` means "not sure".
fn usual(request: &Request, bytes: usize, body: &[u8]) -> bool {
    let has_id = memmem::find(&body[..body.len().min(64)], b"\"id\":").is_some_and(|at| {
        let rest = &body[at + 5..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(&rest[..digits]).is_ok_and(|digits| digits.parse() == Ok(request.id))
    });
    let Some(start) = memmem::find(&body[..body.len().min(256)], b"\"text\":\"").map(|at| at + 8) else {
        return false;
    };
    let text = &body[start..];
    // No escaped quote is ever sent, so the next quote ends the text.
    let length = memchr::memchr(b'"', text);
    has_id && text.starts_with(request.marker.as_bytes()) && length == Some(bytes.max(request.marker.len()))
}

fn parsed(request: &Request, bytes: usize, body: &[u8]) -> anyhow::Result<()> {
    let start = memmem::find(body, b"data:")
        .filter(|_| !body.starts_with(b"{"))
        .map_or(0, |at| at + 5);
    let Ok(answer) = serde_json::from_slice::<Value>(&body[start..]) else {
        bail!("an answer that is not JSON: {}", excerpt(body))
    };
    ensure!(
        answer["id"] == request.id,
        "the answer to {} has id {}: {}",
        request.id,
        answer["id"],
        excerpt(body)
    );
    let Some(text) = answer["result"]["content"][0]["text"].as_str() else {
        bail!("an answer without text: {}", excerpt(body))
    };
    ensure!(
        text.starts_with(&request.marker),
        "someone else's answer; {} awaited: {}",
        request.marker,
        excerpt(body)
    );
    let sent = text.len() + text.matches('\n').count();
    ensure!(
        sent == bytes.max(request.marker.len()),
        "a text of {sent} bytes instead of {bytes}"
    );
    Ok(())
}

fn excerpt(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Manner;

    fn request() -> Request {
        Request {
            id: 7,
            marker: "m0001.7".to_owned(),
            ..Request::new(Manner::Bare)
        }
    }

    fn judge(body: &str) -> anyhow::Result<()> {
        let ask = Ask::Call {
            tool: "echo".to_owned(),
            bytes: 10,
        };
        check(&ask, &request(), 200, body.as_bytes())
    }

    #[test]
    fn own_answers_pass_in_any_order_and_framing() {
        judge(r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"m0001.7abc"}]}}"#).expect("usual");
        judge(r#"{"result":{"content":[{"text":"m0001.7abc","type":"text"}]},"id":7}"#).expect("reordered");
        judge("data: {\"id\":7,\"result\":{\"content\":[{\"text\":\"m0001.7abc\"}]}}\n\n").expect("event stream");
    }

    #[test]
    fn other_answers_fail() {
        for (what, body) in [
            (
                "id",
                r#"{"jsonrpc":"2.0","id":70,"result":{"content":[{"type":"text","text":"m0001.7abc"}]}}"#,
            ),
            (
                "marker",
                r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"m0002.7abc"}]}}"#,
            ),
            (
                "length",
                r#"{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"m0001.7ab"}]}}"#,
            ),
            (
                "error",
                r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"no"}}"#,
            ),
            ("nothing", ""),
        ] {
            assert!(judge(body).is_err(), "a wrong {what} passed");
        }
    }
}
