//! Requests of a backend: what is answered in the client's place, and the text of every answer.
//!
//! A backend may ask a client for its roots, its model or its user (until 2025-11-25). Which client it means is for each
//! kind of peer to find out; what cannot be attributed is refused, for a question that reaches the wrong user is worse
//! than none.

use std::time::Duration;

use bytes::Bytes;
use mcp_proxy_core::json::{RawJson, RequestId};
use mcp_proxy_core::{Error, Method, Reply, codes};

/// Longest wait for a client's answer: users are slow, but a question is not open for ever.
pub(super) const LONGEST_QUESTION: Duration = Duration::from_secs(600);

/// The answer that takes no client: to `ping`, and to whatever no client offers. `None` for a question.
pub(super) fn without_client(method: &Method) -> Option<Reply> {
    match method {
        Method::Ping => Some(Reply::Result(RawJson::from_static("{}"))),
        Method::CreateMessage | Method::Elicit | Method::RootsList => None,
        _ => Some(foreign()),
    }
}

/// The answer to what no client offers.
pub(super) fn foreign() -> Reply {
    Reply::error(codes::METHOD_NOT_FOUND, "the client does not offer this method")
}

/// The answer to a question that no call can have caused, because none runs. Servers ask for roots as soon as a session
/// is open; those of nobody are none.
pub(super) fn of_nobody(method: &Method) -> Reply {
    match method {
        Method::RootsList => Reply::Result(RawJson::from_static(r#"{"roots":[]}"#)),
        _ => Reply::error(codes::INVALID_REQUEST, "no call is running that this could be about"),
    }
}

/// The answer to a question that several clients' calls may have caused.
pub(super) fn ambiguous() -> Reply {
    Reply::error(
        codes::INVALID_REQUEST,
        "calls of several clients are running, and which of them this is about cannot be told",
    )
}

/// The answer to a question that finds no room.
pub(super) fn too_many() -> Reply {
    Reply::error(codes::OVERLOADED, "too many questions are open")
}

/// What a backend is told when a question ended: the client's own answer, or why there is none.
pub(super) fn outcome(asked: Result<Reply, Error>) -> Reply {
    asked.unwrap_or_else(|error| Reply::Error(error.to_rpc()))
}

/// The answer to the request `id` as one JSON-RPC message. The id keeps the text it came as.
pub(super) fn response(id: &RequestId, reply: &Reply) -> Bytes {
    let (key, value) = match reply {
        Reply::Result(result) => (r#","result":"#, result),
        Reply::Error(error) => (r#","error":"#, error.raw()),
    };
    let mut text = Vec::with_capacity(value.as_bytes().len() + id.as_bytes().len() + 40);
    text.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    text.extend_from_slice(id.as_bytes());
    text.extend_from_slice(key.as_bytes());
    text.extend_from_slice(value.as_bytes());
    text.push(b'}');
    text.into()
}

#[cfg(test)]
mod tests {
    use mcp_proxy_core::ErrorKind;

    use super::*;

    #[test]
    fn answers_keep_the_id_and_the_text_of_what_was_answered() {
        let result = Reply::Result(RawJson::from_static(r#"{ "n": 1.0e2 }"#));
        assert_eq!(
            response(&RequestId::from("q"), &result),
            r#"{"jsonrpc":"2.0","id":"q","result":{ "n": 1.0e2 }}"#
        );
        assert_eq!(
            response(&RequestId::from(7), &Reply::error(-1, "no")),
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"no"}}"#
        );
    }

    #[test]
    fn a_client_that_is_gone_is_an_error_to_the_backend() {
        let gone = outcome(Err(Error::new(ErrorKind::Cancelled, "the client is gone")));
        assert!(matches!(gone, Reply::Error(error) if error.code() == codes::CANCELLED));
    }

    #[test]
    fn roots_of_nobody_are_none_and_other_questions_of_nobody_are_refused() {
        assert_eq!(
            of_nobody(&Method::RootsList).result().unwrap().as_str(),
            r#"{"roots":[]}"#
        );
        assert!(of_nobody(&Method::Elicit).result().is_none());
        assert!(without_client(&Method::Elicit).is_none());
        assert!(without_client(&Method::Ping).unwrap().result().is_some());
        assert!(without_client(&Method::ToolsCall).unwrap().result().is_none());
    }
}
