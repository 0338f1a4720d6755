//! [`Answer`]: a JSON-RPC response as bytes, with as few copies as sensible.

use bytes::Bytes;
use http::StatusCode;
use mcp_proxy_core::json::{RawJson, RequestId};
use mcp_proxy_core::{Error, Reply, RpcError};

use super::outbox::{EVENT, flatten};

/// Results up to this size, in bytes, are copied beside their envelope: one buffer and one write cost less than three.
const COPY_UP_TO: usize = 8 * 1024;

/// A JSON text in up to three segments: what we wrote, what the backend wrote, the rest.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) parts: [Bytes; 3],
    /// The HTTP status under which it is sent, unless as an event.
    pub(super) status: StatusCode,
}

impl Answer {
    /// The response to the request `id`; `null` when its id could not be read.
    pub(super) fn new(id: Option<&RequestId>, outcome: Result<Reply, Error>) -> Self {
        match outcome {
            Ok(Reply::Result(result)) => Self::of(id, RESULT, &result),
            Ok(Reply::Error(error)) => Self::error(id, &error),
            Err(error) => Self::error(id, &error.to_rpc()),
        }
    }

    /// An error response.
    pub(super) fn error(id: Option<&RequestId>, error: &RpcError) -> Self {
        Self::of(id, ERROR, error.raw())
    }

    /// One text of our own.
    pub(super) fn text(text: impl Into<Bytes>) -> Self {
        Self {
            parts: [text.into(), Bytes::new(), Bytes::new()],
            status: StatusCode::OK,
        }
    }

    /// A response whose result is written in three parts, of which only the middle one may be large.
    pub(super) fn result(id: Option<&RequestId>, first: &[u8], middle: Bytes, last: &[u8]) -> Self {
        let id: &[u8] = id.map_or(b"null", |id| id.as_bytes());
        let copied = middle.len() <= COPY_UP_TO;
        let extra = if copied { middle.len() + last.len() + 1 } else { 0 };
        let mut text = Vec::with_capacity(HEAD.len() + id.len() + RESULT.len() + first.len() + extra);
        for part in [HEAD, id, RESULT, first] {
            text.extend_from_slice(part);
        }
        if copied {
            for part in [&middle, last, b"}"] {
                text.extend_from_slice(part);
            }
            return Self::text(text);
        }
        Self {
            parts: [text.into(), middle, [last, b"}"].concat().into()],
            status: StatusCode::OK,
        }
    }

    /// The same under another HTTP status.
    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    fn of(id: Option<&RequestId>, member: &[u8], value: &RawJson) -> Self {
        let id: &[u8] = id.map_or(b"null", |id| id.as_bytes());
        let value = value.as_bytes();
        let head = HEAD.len() + id.len() + member.len();
        let copied = value.len() <= COPY_UP_TO;
        let mut text = Vec::with_capacity(head + if copied { value.len() + 1 } else { 0 });
        text.extend_from_slice(HEAD);
        text.extend_from_slice(id);
        text.extend_from_slice(member);
        if copied {
            text.extend_from_slice(value);
            text.push(b'}');
            return Self::text(text);
        }
        Self {
            parts: [text.into(), value.clone(), Bytes::from_static(b"}")],
            status: StatusCode::OK,
        }
    }

    /// The text, when it is in one piece.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        let [first, rest @ ..] = &self.parts;
        rest.iter().all(Bytes::is_empty).then_some(first)
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// The same as the data of one event, begin and end of the event included.
    pub(super) fn into_event(self) -> [Bytes; 5] {
        let [first, second, third] = self.parts.map(on_one_line);
        [
            Bytes::from_static(EVENT),
            first,
            second,
            third,
            Bytes::from_static(b"\n\n"),
        ]
    }

    /// Appends the text.
    pub(super) fn write(&self, into: &mut Vec<u8>) {
        self.parts.iter().for_each(|part| into.extend_from_slice(part));
    }
}

fn on_one_line(part: Bytes) -> Bytes {
    if memchr::memchr2(b'\n', b'\r', &part).is_none() {
        return part;
    }
    let mut copy = part.to_vec();
    flatten(&mut copy);
    copy.into()
}

const HEAD: &[u8] = br#"{"jsonrpc":"2.0","id":"#;
const RESULT: &[u8] = br#","result":"#;
const ERROR: &[u8] = br#","error":"#;
