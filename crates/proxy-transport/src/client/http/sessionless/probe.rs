//! The question which era a backend speaks.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use mcp_proxy_core::json::Message;
use mcp_proxy_core::{ClientHandle, Error, ErrorKind, Method, ProtocolVersion};

use super::super::core::Core;
use super::super::patience::Patience;
use super::super::reading::Reading;
use super::super::status;
use super::exchange;
use super::headers::About;
use crate::client::sessionless::discover::{self, Verdict};

/// Asks `server/discover`.
///
/// # Errors
/// When nothing came back that says anything of its era: it cannot be reached, wants other credentials, or asks for
/// patience.
pub(in crate::client::http) async fn probe(core: &Arc<Core>) -> Result<Verdict, Error> {
    match tokio::time::timeout(PATIENCE, ask(core)).await {
        Ok(verdict) => verdict,
        // Some servers of the session era never answer what they do not know.
        Err(_) => Ok(Verdict::Session),
    }
}

async fn ask(core: &Arc<Core>) -> Result<Verdict, Error> {
    let params = discover::params();
    let about = About {
        version: ProtocolVersion::LATEST_SESSIONLESS,
        method: &Method::Discover,
        params: &params,
        mirrors: &[],
    };
    let (sent, request) = exchange::write(core, &about);
    let mut patience = pin!(Patience::new(core.idle_timeout));
    let (head, flow) = match exchange::send(core, request, patience.as_mut()).await {
        Ok(response) => response,
        Err(error) if matches!(error.kind(), ErrorKind::NotSent | ErrorKind::Overloaded) => return Err(error),
        Err(_) => return Ok(Verdict::Session),
    };
    let mut reading = Reading {
        core,
        id: sent.id,
        flow,
        patience,
    };
    if head.status == StatusCode::OK {
        let reply = exchange::read(reading, &head, &ClientHandle::none(), None).await;
        return Ok(reply.map_or(Verdict::Session, |reply| discover::judge(&reply)));
    }
    let judged = status::judge(&head);
    let unauthorized = matches!(head.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if unauthorized || matches!(judged.kind(), ErrorKind::Pushback { .. }) {
        reading.skip();
        return Err(judged);
    }
    // Whoever refuses by an error of the sessionless era knows it, whether or not it could read our id.
    let body = reading.collect(REFUSAL_BYTES).await;
    reading.flow.finish(&core.pool);
    match body.map(Message::scan) {
        Ok(Ok(Message::Response(response))) => Ok(discover::judge(&response.reply)),
        _ => Ok(Verdict::Session),
    }
}

/// How long a backend has to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Most of a refusal's body that is read, in bytes.
const REFUSAL_BYTES: usize = 64 * 1024;
