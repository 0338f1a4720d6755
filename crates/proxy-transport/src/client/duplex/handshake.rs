//! The opening of a session: who we are, which revision both speak, what the backend offers.

use mcp_proxy_core::json::{Notification, Params, RawJson};
use mcp_proxy_core::{Call, Error, ErrorKind, Method, ProtocolVersion, Reply};
use serde::Deserialize;

use super::DuplexPeer;
use crate::client::{Hello, Peer};

/// Says `initialize` and `notifications/initialized`.
pub(super) async fn handshake(peer: &DuplexPeer) -> Result<Hello, Error> {
    let reply = peer
        .call(Call::new(Method::Initialize).with_params(opening(&peer.inner.link.behalf.capabilities)))
        .await?;
    let hello = match reply {
        Reply::Result(result) => read(&result)?,
        Reply::Error(error) => {
            let message = format!("the backend refused to open a session (code {})", error.code());
            return Err(Error::new(ErrorKind::Refused, message).caused_by(error.message()));
        }
    };
    let initialized = Notification {
        method: Method::Initialized,
        params: Params::absent(),
    };
    peer.inner.link.notify(&initialized).await?;
    Ok(hello)
}

/// What we say of ourselves, and what may be asked on this connection.
fn opening(capabilities: &RawJson) -> Params {
    let opening = serde_json::json!({
        "protocolVersion": ProtocolVersion::LATEST_SESSION.as_str(),
        "clientInfo": { "name": "mcp-proxy", "version": env!("CARGO_PKG_VERSION") },
    });
    let opening = RawJson::encode(&opening).with("capabilities", capabilities);
    Params::parse(opening.as_bytes().clone()).unwrap_or_default()
}

fn read(result: &RawJson) -> Result<Hello, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Said {
        protocol_version: String,
        instructions: Option<Box<str>>,
    }
    let said: Said = result.decode().map_err(|error| {
        let message = "the backend's answer to `initialize` lacks a `protocolVersion`";
        Error::new(ErrorKind::ServerFault, message).caused_by(error)
    })?;
    let Some(version) = ProtocolVersion::parse_session(&said.protocol_version) else {
        let message = "the backend speaks no protocol revision that we know";
        return Err(Error::new(ErrorKind::ServerFault, message).caused_by(format!("{:?}", said.protocol_version)));
    };
    let object = |name| result.get(name).filter(RawJson::is_object).map(|raw| raw.detached());
    Ok(Hello {
        version,
        capabilities: object("capabilities").unwrap_or_else(|| RawJson::from_static("{}")),
        server_info: object("serverInfo"),
        instructions: said.instructions,
    })
}
