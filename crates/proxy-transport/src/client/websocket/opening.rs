//! The request that turns an HTTP connection into a WebSocket, and what its refusal means.

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use mcp_proxy_core::{Error, ErrorKind};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use url::Url;

use super::socket::Watched;

/// Asks for a WebSocket with the subprotocol `mcp`. Messages of more than `limit` bytes will not be taken.
///
/// # Errors
/// `Refused` when the backend does not accept us, `ServerFault` when it speaks no WebSocket, or none for MCP.
pub(super) async fn open<S>(
    stream: S,
    url: &Url,
    headers: HeaderMap,
    limit: usize,
) -> Result<WebSocketStream<Watched<S>>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = Request::new(());
    *request.uri_mut() = url.as_str().parse().map_err(|error: http::uri::InvalidUri| {
        Error::new(
            ErrorKind::NotSent,
            "the backend's URL has a path that HTTP cannot carry",
        )
        .caused_by(error)
    })?;
    let key = HeaderValue::from_str(&generate_key())
        .map_err(|error| Error::new(ErrorKind::NotSent, "no key for the WebSocket could be made").caused_by(error))?;
    let all = request.headers_mut();
    *all = headers;
    for (name, value) in [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
        (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL)),
        (header::SEC_WEBSOCKET_KEY, key),
    ] {
        all.insert::<HeaderName>(name, value);
    }
    let config = Some(config(limit));
    let opened = tokio_tungstenite::client_async_with_config(request, Watched::new(stream), config).await;
    opened.map(|(socket, _)| socket).map_err(judge)
}

/// For either side of a socket that takes messages of up to `limit` bytes.
pub(crate) fn config(limit: usize) -> WebSocketConfig {
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = BUFFER_BYTES;
    config.write_buffer_size = BUFFER_BYTES;
    config.max_message_size = Some(limit);
    config.max_frame_size = Some(limit);
    config
}

/// What a vain attempt means.
fn judge(error: WsError) -> Error {
    let (kind, message) = match &error {
        WsError::Http(response) => match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (
                ErrorKind::Refused,
                "the backend does not accept the credentials of this proxy",
            ),
            status if status.is_client_error() => (ErrorKind::Refused, "the backend refused to open a WebSocket"),
            _ => (ErrorKind::ServerFault, "the backend opened no WebSocket"),
        },
        WsError::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => (
            ErrorKind::ServerFault,
            "the backend's WebSocket does not speak the subprotocol `mcp`",
        ),
        WsError::Io(_) | WsError::Protocol(ProtocolError::HandshakeIncomplete) => {
            (ErrorKind::NotSent, "the backend closed the connection")
        }
        _ => (ErrorKind::ServerFault, "the backend opened no WebSocket"),
    };
    match error {
        // Its body may hold anything; the status says enough.
        WsError::Http(response) => {
            Error::new(kind, message).caused_by(format!("HTTP status {}", response.status().as_u16()))
        }
        error => Error::new(kind, message).caused_by(error),
    }
}

/// What the SDKs of the Model Context Protocol ask for.
pub(crate) const SUBPROTOCOL: &str = "mcp";

/// Read at once, and collected before it is written; the first is allocated for each connection.
const BUFFER_BYTES: usize = 32 * 1024;
