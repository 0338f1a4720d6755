//! Opening an upstream session: `initialize`, then `notifications/initialized`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use mcp_proxy_core::json::{Params, RawJson};
use mcp_proxy_core::{ClientHandle, Error, ErrorKind, Method, ProtocolVersion, Reply};

use super::super::Hello;
use super::core::Core;
use super::encode;
use super::exchange::{Fault, Outgoing, exchange, tell};
use super::session::Upstream;

/// Opens a session. `declared` are the capabilities it is opened with.
///
/// # Errors
/// What kept the backend from answering, with its class.
///
/// # Cancel safety
/// Dropping the future ends the session at the backend, if it had been opened by then.
pub(super) async fn open(core: &Arc<Core>, declared: &RawJson) -> Result<(Arc<Upstream>, Hello), Error> {
    match tokio::time::timeout(TIME_LIMIT, greet(core, declared)).await {
        Ok(opened) => opened,
        Err(_) => Err(Error::new(
            ErrorKind::Timeout { sent: true },
            "the backend did not answer the handshake in time",
        )
        .caused_by(format!("no session within {TIME_LIMIT:?}"))),
    }
}

async fn greet(core: &Arc<Core>, declared: &RawJson) -> Result<(Arc<Upstream>, Hello), Error> {
    let params = Params::parse(format!(
        r#"{{"protocolVersion":"{}","capabilities":{},"clientInfo":{{"name":"mcp-proxy","version":"{}"}}}}"#,
        ProtocolVersion::LATEST_SESSION,
        declared.as_str(),
        env!("CARGO_PKG_VERSION")
    ))
    .map_err(|error| Error::new(ErrorKind::NotSent, "the handshake could not be written").caused_by(error))?;
    let call = Outgoing {
        method: &Method::Initialize,
        params: &params,
        upstream: None,
        client: &ClientHandle::none(),
    };
    let answer = exchange(core, call).await.map_err(failure)?;
    let result = match answer.reply {
        Reply::Result(result) => result,
        Reply::Error(error) => {
            return Err(
                Error::new(ErrorKind::Refused, "the backend refused the handshake").caused_by(format!(
                    "JSON-RPC error {}: {:?}",
                    error.code(),
                    error.message()
                )),
            );
        }
    };
    let hello = hello(&result)?;
    let id = answer.session.as_ref().map(session_id).transpose()?;
    let logs = hello.capabilities.get("logging").is_some();
    let upstream = Arc::new(Upstream::new(core, id, hello.version, logs));
    let body = encode::notification(&Method::Initialized, &Params::absent());
    tell(core, &upstream, body).await.map_err(failure)?;
    Ok((upstream, hello))
}

fn hello(result: &RawJson) -> Result<Hello, Error> {
    let said = result.get("protocolVersion");
    let said = said.as_ref().and_then(RawJson::string);
    let Some(version) = said.as_deref().and_then(ProtocolVersion::parse_session) else {
        return Err(Error::new(
            ErrorKind::ServerFault,
            "the backend speaks no protocol revision that this proxy speaks",
        )
        .caused_by(format!("it answered {:?}", said.as_deref().unwrap_or_default())));
    };
    // Copies, since these are kept and the message is not.
    let capabilities = result.get("capabilities").filter(RawJson::is_object);
    Ok(Hello {
        version,
        capabilities: capabilities.map_or_else(|| RawJson::from_static("{}"), |raw| raw.detached()),
        server_info: result.get("serverInfo").map(|raw| raw.detached()),
        instructions: result
            .get("instructions")
            .and_then(|raw| raw.string().map(|text| text.as_ref().into())),
    })
}

/// Checks a session id and copies it: the original would keep the whole response head in memory.
fn session_id(value: &HeaderValue) -> Result<HeaderValue, Error> {
    let bytes = value.as_bytes();
    let is_fit = !bytes.is_empty() && bytes.len() <= MAX_SESSION_ID && bytes.iter().all(u8::is_ascii_graphic);
    let copy = is_fit
        .then(|| HeaderValue::from_maybe_shared(Bytes::copy_from_slice(bytes)).ok())
        .flatten();
    let mut copy = copy.ok_or_else(|| {
        Error::new(ErrorKind::ServerFault, "the backend issued an unusable session id")
            .caused_by(format!("{} bytes, visible ASCII expected", bytes.len()))
    })?;
    copy.set_sensitive(true);
    Ok(copy)
}

fn failure(fault: Fault) -> Error {
    match fault {
        Fault::Failed(error) => error,
        Fault::SessionGone => Error::new(
            ErrorKind::ServerFault,
            "the backend forgot a session that it had just opened",
        ),
    }
}

/// How long a backend may take for the whole handshake.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Longest session id that is accepted, in bytes.
const MAX_SESSION_ID: usize = 1024;
