//! HTTP responses: which status, which headers.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use mcp_proxy_core::json::RequestId;
use mcp_proxy_core::{RpcError, codes};

use super::answer::Answer;
use super::body::FrontBody;

/// The header that names the session.
pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// The header that names the protocol revision.
pub(super) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// Why a request was not served.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: i64,
    pub(super) message: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self { status, code, message }
    }

    /// The JSON-RPC error.
    pub(super) fn answer(&self, id: Option<&RequestId>) -> Answer {
        // The code of our own among the refusals says why to programs too.
        let error = match self.code {
            codes::OVERLOADED => {
                RpcError::with_data(self.code, &self.message, &BTreeMap::from([("reason", "overloaded")]))
            }
            code => RpcError::new(code, &self.message),
        };
        Answer::error(id, &error)
    }

    /// The same, with the status it is sent under.
    pub(super) fn answer_with_status(&self, id: &RequestId) -> Answer {
        self.answer(Some(id)).with_status(self.status)
    }

    /// The response, in the name of the request `id` if there was one.
    pub(super) fn response(&self, id: Option<&RequestId>) -> Response<FrontBody> {
        let mut response = json(self.answer(id));
        *response.status_mut() = self.status;
        response
    }
}

/// A JSON text.
pub(super) fn json(answer: Answer) -> Response<FrontBody> {
    let status = answer.status;
    let mut response = Response::new(FrontBody::whole(answer));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// An event stream.
pub(super) fn events(body: FrontBody) -> Response<FrontBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    // nginx would otherwise collect the events and hand them on in batches.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A status with no body.
pub(super) fn empty(status: StatusCode) -> Response<FrontBody> {
    let mut response = Response::new(FrontBody::empty());
    *response.status_mut() = status;
    response
}

/// The refusal of a method.
pub(super) fn method_not_allowed(allow: &'static str, message: &'static str) -> Response<FrontBody> {
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, codes::INVALID_REQUEST, message);
    let mut response = refusal.response(None);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}
