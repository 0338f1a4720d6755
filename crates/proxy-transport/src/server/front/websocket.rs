//! Clients over WebSocket (RFC 6455), on the path of the endpoint: one JSON-RPC message a text message, subprotocol `mcp`.
//!
//! No revision of the Model Context Protocol defines this transport; this is what its SDKs have agreed on, and what our own
//! client speaks. After the handshake the connection is a [conversation](super::conversation).

use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Request, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use mcp_proxy_core::codes;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::Front;
use super::body::FrontBody;
use super::guard::single;
use super::respond::{Refusal, empty};
use crate::client::websocket::{SUBPROTOCOL, config, socket};

/// Whether a request wants to become a WebSocket.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    has_token(headers, &UPGRADE, "websocket")
}

/// Answers the handshake, and speaks on the connection once it is a WebSocket.
pub(super) fn open<B>(front: &Front, request: Request<B>) -> Response<FrontBody> {
    let accepted = front.0.admit().and_then(|seat| Ok((seat, accept(request.headers())?)));
    let (seat, (key, protocol)) = match accepted {
        Ok(accepted) => accepted,
        Err(refusal) => {
            let mut response = refusal.response(None);
            if response.status() == StatusCode::UPGRADE_REQUIRED {
                let headers = response.headers_mut();
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            return response;
        }
    };
    let upgrade = hyper::upgrade::on(request);
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    if protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    let talk = speak(front.clone(), upgrade);
    front.0.tasks.spawn(async move {
        talk.await;
        drop(seat);
    });
    response
}

async fn speak(front: Front, upgrade: OnUpgrade) {
    let stop = front.0.stop.clone();
    let upgraded = tokio::select! {
        upgraded = upgrade => upgraded,
        () = stop.cancelled() => return,
    };
    let stream = match upgraded {
        Ok(upgraded) => socket::Watched::new(TokioIo::new(upgraded)),
        // The client is gone, or a foreign server does not let connections be upgraded.
        Err(error) => return tracing::debug!(%error, "a connection did not become a WebSocket"),
    };
    let limit = front.0.options.body_bytes;
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config(limit))).await;
    let (incoming, outgoing) = socket::halves(socket, limit);
    front.converse(incoming, outgoing, std::future::ready(())).await;
}

/// Reads the handshake: the answer to its key, and whether it names our subprotocol.
fn accept(headers: &HeaderMap) -> Result<(HeaderValue, bool), Refusal> {
    let bad = |message: &'static str| Refusal::new(StatusCode::BAD_REQUEST, codes::INVALID_REQUEST, message);
    if !has_token(headers, &CONNECTION, "upgrade") {
        return Err(bad("`Connection` must name the upgrade"));
    }
    match single(headers, &SEC_WEBSOCKET_VERSION) {
        Ok(Some(version)) if version == "13" => {}
        _ => {
            let message = "the version of WebSocket must be 13";
            return Err(Refusal::new(
                StatusCode::UPGRADE_REQUIRED,
                codes::INVALID_REQUEST,
                message,
            ));
        }
    }
    let key = match single(headers, &SEC_WEBSOCKET_KEY) {
        // 16 bytes in Base64.
        Ok(Some(key)) if key.len() == 24 => derive_accept_key(key.as_bytes()),
        _ => return Err(bad("`Sec-WebSocket-Key` must be there, once")),
    };
    let key = HeaderValue::try_from(key).map_err(|_| bad("`Sec-WebSocket-Key` is no key"))?;
    let named = headers.contains_key(SEC_WEBSOCKET_PROTOCOL);
    if named && !has_token(headers, &SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return Err(bad("the subprotocol must be `mcp`"));
    }
    Ok((key, named))
}

/// Whether a header holds a word, among others.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter();
    values
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .any(|word| word.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}
