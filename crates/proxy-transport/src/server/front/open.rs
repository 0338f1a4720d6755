//! `initialize`: a client introduces itself, and a session begins.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};
use mcp_proxy_core::json::{RawJson, Request};
use mcp_proxy_core::{Declared, ProtocolVersion, Reply, Session, codes};

use super::Inner;
use super::answer::Answer;
use super::body::FrontBody;
use super::caller::Caller;
use super::guard::Accept;
use super::post::answered;
use super::respond::{Refusal, SESSION_ID};
use super::session::{Entry, Sessions};
use super::state::Cause;
use crate::server::Welcome;

/// Most bytes of `capabilities` and `clientInfo` together: they are kept as long as the session.
const MAX_BYTES: usize = 64 * 1024;

/// Answers an `initialize` request.
pub(super) fn open(front: &Arc<Inner>, headers: &HeaderMap, request: &Request, accept: Accept) -> Response<FrontBody> {
    let opened = admit(front, headers).and_then(|()| enter(front, request));
    let (entry, answer) = match opened {
        Ok(opened) => opened,
        Err(refusal) => return refusal.response(Some(&request.id)),
    };
    let mut response = answered(answer, accept);
    response.headers_mut().insert(SESSION_ID, entry.wire_id());
    response
}

/// Opens a session for whoever sent this, and answers.
pub(super) fn enter(front: &Arc<Inner>, request: &Request) -> Result<(Arc<Entry>, Answer), Refusal> {
    if front.is_draining() {
        let message = "the proxy is shutting down";
        return Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            codes::OVERLOADED,
            message,
        ));
    }
    let session = Arc::new(introduce(request)?);
    let (entry, evicted) = front.sessions.open(session.clone()).map_err(|error| {
        tracing::error!(%error, "no session can be opened without randomness from the system");
        let message = "the proxy failed inside; its log says more";
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, codes::INTERNAL_ERROR, message)
    })?;
    for old in evicted {
        front.end(&old, Cause::SessionEnded);
    }
    front.start_sweeping();
    front.app.session_opened(&session);
    let result = welcome(session.version, &front.app.welcome(session.version));
    Ok((entry, Answer::new(Some(&request.id), Ok(Reply::Result(result)))))
}

fn admit(front: &Inner, headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(SESSION_ID) {
        // An unknown id is refused as such, so that a client that restarts knows what to do.
        Caller::find(front, headers)?;
        return Err(bad("this session is already open"));
    }
    Ok(())
}

/// Reads what the client says of itself. What is kept is copied: a slice would keep the whole message.
fn introduce(request: &Request) -> Result<Session, Refusal> {
    let params = request
        .params
        .to_raw()
        .ok_or_else(|| invalid("`initialize` needs `params`"))?;
    let asked = params.get("protocolVersion");
    let asked = asked.as_ref().and_then(RawJson::string);
    let asked = asked.ok_or_else(|| invalid("`protocolVersion` must be a string"))?;
    let capabilities = params.get("capabilities");
    let client_info = params.get("clientInfo");
    let kept: usize = [&capabilities, &client_info]
        .into_iter()
        .flatten()
        .map(|raw| raw.as_bytes().len())
        .sum();
    if kept > MAX_BYTES {
        return Err(bad("`capabilities` and `clientInfo` are larger than 65536 bytes"));
    }
    let capabilities = capabilities.unwrap_or_else(|| RawJson::from_static("{}"));
    if !capabilities.is_object() {
        return Err(invalid("`capabilities` must be an object"));
    }
    Ok(Session {
        key: Sessions::next_key(),
        // A revision we do not speak is answered with our newest, and the client decides.
        version: ProtocolVersion::parse_session(&asked).unwrap_or(ProtocolVersion::LATEST_SESSION),
        declared: Arc::new(Declared::new(
            capabilities.detached(),
            client_info.map(|info| info.detached()),
        )),
    })
}

fn welcome(version: ProtocolVersion, welcome: &Welcome) -> RawJson {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Result<'a> {
        protocol_version: &'a str,
        capabilities: &'a RawJson,
        server_info: &'a RawJson,
        #[serde(skip_serializing_if = "Option::is_none")]
        instructions: Option<&'a str>,
    }
    RawJson::encode(&Result {
        protocol_version: version.as_str(),
        capabilities: &welcome.capabilities,
        server_info: &welcome.server_info,
        instructions: welcome.instructions.as_deref(),
    })
}

fn bad(message: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, codes::INVALID_REQUEST, message)
}

fn invalid(message: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, codes::INVALID_PARAMS, message)
}
