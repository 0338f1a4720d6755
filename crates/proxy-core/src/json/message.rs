//! [`Message`]: one JSON-RPC message, found by one pass over its bytes.

use bytes::Bytes;

use super::error::{ScanError, ScanErrorKind};
use super::id::RequestId;
use super::params::Params;
use super::raw::RawJson;
use super::scan::{Scanner, Span};
use crate::{Method, Reply, RpcError};

/// One JSON-RPC 2.0 message.
#[derive(Clone, Debug)]
pub enum Message {
    /// Wants an answer.
    Request(Request),
    /// Wants none.
    Notification(Notification),
    /// Is an answer.
    Response(Response),
}

/// A JSON-RPC request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Echoed in the answer.
    pub id: RequestId,
    /// What is asked.
    pub method: Method,
    /// With what.
    pub params: Params,
}

/// A JSON-RPC notification.
#[derive(Clone, Debug)]
pub struct Notification {
    /// What happened.
    pub method: Method,
    /// The details.
    pub params: Params,
}

/// A JSON-RPC response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The request it answers; absent only in error responses to messages whose id could not be read.
    pub id: Option<RequestId>,
    /// The answer.
    pub reply: Reply,
}

impl Message {
    /// Reads one message. `body` is validated whole, whatever is kept of it.
    ///
    /// # Errors
    /// See [`ScanErrorKind`]. Nothing of a refused message has been acted upon.
    pub fn scan(body: Bytes) -> Result<Self, ScanError> {
        let mut scanner = Scanner::new(&body)?;
        if let Some(first) = scanner.peek().filter(|first| *first != b'{') {
            // Validate first: malformed text is a parse error, whatever it begins with.
            scanner.value(0)?;
            scanner.finish()?;
            let kind = match first {
                b'[' => ScanErrorKind::Batch,
                _ => ScanErrorKind::NotRpc("it must be an object"),
            };
            return Err(kind.at(0));
        }
        let mut envelope = Envelope::default();
        let scanned = envelope.scan(&mut scanner).and_then(|()| scanner.finish());
        let id = envelope
            .id
            .and_then(|span| RequestId::from_scanned(body.slice(span.range())));
        match scanned {
            Ok(()) => envelope
                .into_message(&body, id.clone())
                .map_err(|error| error.with_id(id)),
            Err(error) => Err(error.with_id(id)),
        }
    }
}

#[derive(Default)]
struct Envelope {
    jsonrpc: Option<Span>,
    id: Option<Span>,
    method: Option<Span>,
    params: Option<Span>,
    routing: Params,
    result: Option<Span>,
    error: Option<Span>,
}

impl Envelope {
    fn scan(&mut self, scanner: &mut Scanner<'_>) -> Result<(), ScanError> {
        scanner.object(0, |scanner, key, depth| {
            let (slot, name) = match key.with(Member::of) {
                Some(Member::JsonRpc) => (&mut self.jsonrpc, "jsonrpc"),
                Some(Member::Id) => (&mut self.id, "id"),
                Some(Member::Method) => (&mut self.method, "method"),
                Some(Member::Result) => (&mut self.result, "result"),
                Some(Member::Error) => (&mut self.error, "error"),
                Some(Member::Params) => {
                    let span = if scanner.peek() == Some(b'{') {
                        scanner.spanned(|scanner| self.routing.scan(scanner, depth))?
                    } else {
                        scanner.value(depth)?
                    };
                    if self.params.replace(span).is_some() {
                        return Err(ScanErrorKind::DuplicateKey("params").at(key.at()));
                    }
                    return Ok(());
                }
                None => return scanner.value(depth).map(drop),
            };
            let span = scanner.value(depth)?;
            if slot.replace(span).is_some() {
                return Err(ScanErrorKind::DuplicateKey(name).at(key.at()));
            }
            Ok(())
        })
    }

    fn into_message(self, body: &Bytes, id: Option<RequestId>) -> Result<Message, ScanError> {
        let refuse = |what| Err(ScanErrorKind::NotRpc(what).at(0));
        if self.jsonrpc.map(|span| &body[span.range()]) != Some(b"\"2.0\"") {
            return refuse("`jsonrpc` must be \"2.0\"");
        }
        let id_is_null = self.id.is_some_and(|span| &body[span.range()] == b"null");
        if self.id.is_some() && id.is_none() && !id_is_null {
            return refuse("`id` must be a string or a number of at most 1024 bytes");
        }
        let Some(method) = self.method else {
            return Self::response(self.result, self.error, body, id);
        };
        if self.result.is_some() || self.error.is_some() {
            return refuse("a message has either a method or a result");
        }
        let Some(method) = super::raw::decode_string(&body[method.range()]) else {
            return refuse("`method` must be a string");
        };
        let method = Method::from(method.as_ref());
        let params = match self.params {
            None => Params::absent(),
            Some(span) if body[span.start as usize] == b'{' => {
                let mut params = self.routing;
                params.settle(body, span);
                params
            }
            Some(_) => return refuse("`params` must be an object"),
        };
        match (self.id, id) {
            (None, _) => Ok(Message::Notification(Notification { method, params })),
            (Some(_), Some(id)) => Ok(Message::Request(Request { id, method, params })),
            (Some(_), None) => refuse("`id` must not be null"),
        }
    }

    fn response(
        result: Option<Span>,
        error: Option<Span>,
        body: &Bytes,
        id: Option<RequestId>,
    ) -> Result<Message, ScanError> {
        let reply = match (result, error) {
            (Some(span), None) if id.is_some() => Reply::Result(RawJson::trusted(body.slice(span.range()))),
            (Some(_), None) => return Err(ScanErrorKind::NotRpc("a result must have an id").at(0)),
            (None, Some(span)) => match RpcError::from_raw(RawJson::trusted(body.slice(span.range()))) {
                Some(error) => Reply::Error(error),
                None => {
                    return Err(ScanErrorKind::NotRpc("an error must be an object with an integer `code`").at(0));
                }
            },
            (Some(_), Some(_)) => return Err(ScanErrorKind::NotRpc("either a result or an error").at(0)),
            (None, None) => return Err(ScanErrorKind::NotRpc("`method` is missing").at(0)),
        };
        Ok(Message::Response(Response { id, reply }))
    }
}

#[derive(Clone, Copy)]
enum Member {
    JsonRpc,
    Id,
    Method,
    Params,
    Result,
    Error,
}

impl Member {
    fn of(key: &[u8]) -> Option<Self> {
        Some(match key {
            b"jsonrpc" => Self::JsonRpc,
            b"id" => Self::Id,
            b"method" => Self::Method,
            b"params" => Self::Params,
            b"result" => Self::Result,
            b"error" => Self::Error,
            _ => return None,
        })
    }
}
