//! Who may speak to us, judged by headers alone: `Host`, `Origin`, `Accept`, `Content-Type`.
//!
//! A web page can make a browser send requests to a server on this machine, and by DNS rebinding even read the answers.
//! `Host` and `Origin` give such a page away, so both are checked (MCP, Transports, "Security Warning").

use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use http::{StatusCode, Uri};

/// The hosts and origins that are answered.
#[derive(Debug)]
pub(super) struct Guard {
    hosts: Vec<Box<str>>,
    origins: Vec<Box<str>>,
}

impl Guard {
    /// `hosts` with a port allow that port, without one any; `*` allows all. This machine's names are always allowed.
    pub(super) fn new(hosts: &[String], origins: &[String]) -> Self {
        let lower = |list: &[String]| list.iter().map(|entry| entry.to_ascii_lowercase().into()).collect();
        Self {
            hosts: lower(hosts),
            origins: lower(origins),
        }
    }

    /// Judges a request; the status and sentence of the refusal.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
        let host = match (uri.authority(), single(headers, &HOST)) {
            (_, Err(Repeated)) => return Err((StatusCode::BAD_REQUEST, "more than one `Host` header")),
            (Some(authority), _) => authority.as_str(),
            (None, Ok(Some(host))) => host.to_str().unwrap_or_default(),
            (None, Ok(None)) => return Err((StatusCode::BAD_REQUEST, "the `Host` header is missing")),
        };
        if !self.allows_host(host) {
            let message = "this `Host` is not served here; add it to the proxy's `allowed_hosts` to change that";
            return Err((StatusCode::FORBIDDEN, message));
        }
        match single(headers, &ORIGIN) {
            Ok(None) => Ok(()),
            Ok(Some(origin)) if self.allows_origin(origin.to_str().unwrap_or_default()) => Ok(()),
            _ => {
                let message =
                    "this `Origin` is not served here; add it to the proxy's `allowed_origins` to change that";
                Err((StatusCode::FORBIDDEN, message))
            }
        }
    }

    fn allows_host(&self, host: &str) -> bool {
        let (name, _) = split_port(host);
        is_this_machine(name)
            || self
                .hosts
                .iter()
                .any(|entry| &**entry == "*" || entry.eq_ignore_ascii_case(host) || entry.eq_ignore_ascii_case(name))
    }

    fn allows_origin(&self, origin: &str) -> bool {
        let authority = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(|authority| is_this_machine(split_port(authority).0))
            || self
                .origins
                .iter()
                .any(|entry| &**entry == "*" || entry.eq_ignore_ascii_case(origin))
    }
}

/// The media types a client takes in answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accept {
    /// `application/json`.
    pub(super) json: bool,
    /// `text/event-stream`.
    pub(super) stream: bool,
}

impl Accept {
    /// Reads the `Accept` headers. None at all means anything (RFC 9110, 12.5.1).
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut accept = Self {
            json: false,
            stream: false,
        };
        let mut any = false;
        for value in headers.get_all(ACCEPT) {
            any = true;
            for range in value.as_bytes().split(|&byte| byte == b',') {
                accept.add(range);
            }
        }
        if any {
            accept
        } else {
            Self {
                json: true,
                stream: true,
            }
        }
    }

    fn add(&mut self, range: &[u8]) {
        let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let media = parts.next().unwrap_or_default();
        let refused = parts.any(|parameter| {
            let weight = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="));
            weight.is_some_and(|weight| weight.iter().all(|byte| matches!(byte, b'0' | b'.')))
        });
        let is = |name: &str| media.eq_ignore_ascii_case(name.as_bytes());
        self.json |= !refused && (is("application/json") || is("application/*") || is("*/*"));
        self.stream |= !refused && (is("text/event-stream") || is("text/*") || is("*/*"));
    }
}

/// Whether the body is announced as JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let Ok(Some(value)) = single(headers, &CONTENT_TYPE) else {
        return false;
    };
    let media = value.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default();
    media.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// A header stood there twice, and two readers could differ in which one they believe.
#[derive(Debug)]
pub(super) struct Repeated;

/// The one value of a header.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Repeated> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Repeated),
    }
}

/// Splits `host[:port]`; the brackets of an IPv6 address stay with the host.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    let from = authority.rfind(']').unwrap_or(0);
    match authority[from..].find(':') {
        Some(at) => (&authority[..from + at], Some(&authority[from + at + 1..])),
        None => (authority, None),
    }
}

fn is_this_machine(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost") || name == "127.0.0.1" || name == "[::1]"
}
