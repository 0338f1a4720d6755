//! What a result must say in this era and a backend of the other does not: its type, the server, how long it holds.
//!
//! What is there already stays, and a large result is sent as the slice it came as, with a few bytes before and after.

use std::sync::Arc;

use bytes::Bytes;
use mcp_proxy_core::json::{Params, RawJson, RequestId};
use mcp_proxy_core::{Context, Error, Method, Principal, ProtocolVersion, Reply, RpcError, codes};

use super::super::Inner;
use super::super::answer::Answer;
use super::super::questions::Questions;
use super::{keys, name_slot, rounds, status};

/// Up to this many bytes of a large result are copied where a member is to be added among them.
const COPY_UP_TO: usize = 8 * 1024;

/// What a call is about and whose it is, as far as its answer must know.
pub(in super::super) struct Subject {
    pub(super) method: Method,
    /// Of the tool, prompt, resource or task, as the client wrote it.
    name: Option<RawJson>,
    pub(super) principal: Arc<Principal>,
    pub(in super::super) version: ProtocolVersion,
}

impl Subject {
    /// Of a call with these parameters.
    pub(in super::super) fn new(method: &Method, params: &Params, context: &Context) -> Self {
        Self {
            method: method.clone(),
            name: name_slot(method).and_then(|slot| params.value(slot)),
            principal: context.principal.clone(),
            version: context.version,
        }
    }

    /// Whose call it is.
    pub(super) fn principal(&self) -> &Arc<str> {
        &self.principal.subject
    }

    /// What a state handed to the client is bound to: the principal, the method, the name.
    pub(super) fn bound(&self) -> Vec<u8> {
        let name = self.name.as_ref().and_then(RawJson::string).unwrap_or_default();
        [&*self.principal.subject, self.method.as_str(), &name]
            .join("\0")
            .into()
    }

    /// Whether the era has a way to ask the client during such a call.
    pub(in super::super) fn is_interruptible(&self) -> bool {
        matches!(
            self.method,
            Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead
        )
    }

    /// Whether results say how long they hold.
    fn is_cacheable(&self) -> bool {
        matches!(
            self.method,
            Method::ToolsList
                | Method::PromptsList
                | Method::ResourcesList
                | Method::ResourceTemplatesList
                | Method::ResourcesRead
                | Method::Discover
        )
    }
}

/// The answer to the request `id`.
pub(in super::super) fn finished(
    front: &Inner,
    id: &RequestId,
    questions: &Questions,
    outcome: Result<Reply, Error>,
) -> Answer {
    let subject = &questions.subject;
    match outcome {
        Ok(Reply::Result(result)) => dressed(id, &result, subject, front.about.member(&*front.app)),
        Ok(Reply::Error(error)) => match rounds::by_url(front, id, questions, &error) {
            Some(round) => round,
            None => refused(id, &translated(error, subject)),
        },
        Err(error) => refused(id, &error.to_rpc()),
    }
}

/// An error under the HTTP status that belongs to it.
pub(super) fn refused(id: &RequestId, error: &RpcError) -> Answer {
    Answer::error(Some(id), error).with_status(status(error.code()))
}

/// A resource that is not there has a code of its own in the other era only.
fn translated(error: RpcError, subject: &Subject) -> RpcError {
    if error.code() != codes::RESOURCE_NOT_FOUND {
        return error;
    }
    let mut raw = error.raw().with("code", &RawJson::encode(&codes::INVALID_PARAMS));
    if let (Method::ResourcesRead, Some(uri)) = (&subject.method, &subject.name) {
        let data = raw.get("data").filter(RawJson::is_object);
        let data = data.unwrap_or_else(|| RawJson::from_static("{}"));
        if data.get("uri").is_none() {
            raw = raw.with("data", &data.with("uri", uri));
        }
    }
    RpcError::from_raw(raw).unwrap_or(error)
}

/// A result with what it lacks.
fn dressed(id: &RequestId, result: &RawJson, subject: &Subject, about: &Bytes) -> Answer {
    if !result.is_object() {
        return Answer::new(Some(id), Ok(Reply::Result(result.clone())));
    }
    let mut result = result.clone();
    let members = ["resultType", "ttlMs", "cacheScope", "_meta", "requestState"];
    let [mut kind, mut ttl, mut scope, mut meta, state] = result.spans(members);
    if let (Some(_), Some(state)) = (kind, state)
        && let Some(marked) = rounds::marked(&result.at(state))
    {
        result = result.with("requestState", &marked);
        [kind, ttl, scope, meta, _] = result.spans(members);
    }
    let mut first = Vec::with_capacity(160);
    first.push(b'{');
    let is_complete = kind.is_none_or(|kind| result.at(kind).as_bytes() == &b"\"complete\""[..]);
    if kind.is_none() {
        first.extend_from_slice(br#""resultType":"complete","#);
    }
    if is_complete && subject.is_cacheable() {
        if ttl.is_none() {
            first.extend_from_slice(br#""ttlMs":0,"#);
        }
        if scope.is_none() {
            first.extend_from_slice(br#""cacheScope":"private","#);
        }
    }
    // Where the server's name is to be put into a `_meta` that is there.
    let mut inside = None;
    match meta.map(|span| (span, result.at(span))) {
        None => {
            first.extend_from_slice(br#""_meta":{"#);
            first.extend_from_slice(about);
            first.extend_from_slice(b"},");
        }
        Some((span, meta)) if meta.is_object() && meta.get(keys::SERVER_INFO).is_none() => {
            let is_empty = meta.as_bytes()[1..].trim_ascii_start() == b"}";
            let end: &[u8] = if is_empty { b"" } else { b"," };
            inside = Some((span.range().start + 1, [about, end].concat()));
        }
        Some(_) => {}
    }
    let text = result.as_bytes();
    if first.len() > 1 && text[1..].trim_ascii_start() == b"}" {
        first.pop();
    }
    splice(id, text, first, inside)
}

/// Writes the response: `first` in place of the opening brace, and `inside` put in where it belongs.
fn splice(id: &RequestId, text: &Bytes, mut first: Vec<u8>, inside: Option<(usize, Vec<u8>)>) -> Answer {
    let (first, rest, last) = match inside {
        None => (first, text.slice(1..), Vec::new()),
        // Near the end, where most put it.
        Some((at, insert)) if at > COPY_UP_TO && text.len() - at <= COPY_UP_TO => {
            let last = [&insert, &text[at..]].concat();
            (first, text.slice(1..at), last)
        }
        // Near the start, or, in a large text, the rare place that costs a copy of what stands before it.
        Some((at, insert)) => {
            first.extend_from_slice(&text[1..at]);
            first.extend_from_slice(&insert);
            (first, text.slice(at..), Vec::new())
        }
    };
    Answer::result(Some(id), &first, rest, &last)
}
