//! What an HTTP status means for a call.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header, response};
use mcp_proxy_core::{Error, ErrorKind};

/// Judges a response that is no answer: any status but 200, or 200 with a body of the wrong type.
pub(super) fn judge(head: &response::Parts) -> Error {
    let status = head.status;
    let retry_after = retry_after(&head.headers);
    let (kind, message) = match status {
        StatusCode::TOO_MANY_REQUESTS => (pushback(retry_after), "the backend asks to slow down"),
        StatusCode::SERVICE_UNAVAILABLE if head.headers.contains_key(header::RETRY_AFTER) => {
            (pushback(retry_after), "the backend asks to come back later")
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY => {
            (ErrorKind::SentUnknown, "the backend gave up on the request")
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (
            ErrorKind::Refused,
            "the backend does not accept the credentials of this proxy",
        ),
        status if status.is_client_error() => (ErrorKind::Refused, "the backend refused the request"),
        status if status.is_redirection() => (ErrorKind::ServerFault, "the backend answered with a redirect"),
        status if status.is_success() => (ErrorKind::ServerFault, "the backend answered without an answer"),
        _ => (ErrorKind::ServerFault, "the backend failed"),
    };
    Error::new(kind, message).caused_by(format!("HTTP status {}", status.as_u16()))
}

/// The media type of a body, without its parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or(value).trim())
}

/// A status and the beginning of its body, for logs: printable characters only.
pub(super) fn excerpt(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(EXCERPT_BYTES)]);
    format!(
        "HTTP status {}, the body begins with {:?}",
        status.as_u16(),
        text.as_ref()
    )
}

fn pushback(retry_after: Option<Duration>) -> ErrorKind {
    ErrorKind::Pushback { retry_after }
}

/// `Retry-After` in seconds. A date says nothing without the backend's clock, so it counts as no statement.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = value.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(MAX_RETRY_AFTER)))
}

const EXCERPT_BYTES: usize = 300;

/// Longest wait that a backend can ask for, in seconds: a day.
const MAX_RETRY_AFTER: u64 = 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, retry_after: Option<&str>, kind: ErrorKind) {
        let mut response = http::Response::builder().status(status);
        if let Some(value) = retry_after {
            response = response.header(header::RETRY_AFTER, value);
        }
        let (head, ()) = response.body(()).unwrap().into_parts();
        assert_eq!(judge(&head).kind(), kind, "{status} {retry_after:?}");
    }

    #[test]
    fn every_status_has_its_class() {
        let after = |seconds| ErrorKind::Pushback {
            retry_after: Some(Duration::from_secs(seconds)),
        };
        check(429, Some("7"), after(7));
        check(429, None, ErrorKind::Pushback { retry_after: None });
        check(503, Some("1"), after(1));
        let date = Some("Fri, 31 Dec 1999 23:59:59 GMT");
        check(503, date, ErrorKind::Pushback { retry_after: None });
        check(503, None, ErrorKind::ServerFault);
        check(500, None, ErrorKind::ServerFault);
        check(599, None, ErrorKind::ServerFault);
        check(301, None, ErrorKind::ServerFault);
        check(307, None, ErrorKind::ServerFault);
        check(202, None, ErrorKind::ServerFault);
        check(204, None, ErrorKind::ServerFault);
        check(400, None, ErrorKind::Refused);
        check(401, None, ErrorKind::Refused);
        check(403, None, ErrorKind::Refused);
        check(405, None, ErrorKind::Refused);
        check(408, None, ErrorKind::SentUnknown);
        check(425, None, ErrorKind::SentUnknown);
    }
}
