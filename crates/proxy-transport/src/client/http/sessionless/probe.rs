//! The question which era a backend speaks.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use mcp_proxy_core::json::Message;
use mcp_proxy_core::{ClientHandle, Error, ErrorKind, Method, ProtocolVersion, Reply};

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
        Ok(Ok(reply)) => Ok(reply.map_or(Verdict::Session, |reply| discover::judge(&reply))),
        Ok(Err(error)) => Err(error),
        // Some servers of the session era never answer what they do not know.
        Err(_) => Ok(Verdict::Session),
    }
}

/// The answer; none when something else came back.
async fn ask(core: &Arc<Core>) -> Result<Option<Reply>, Error> {
    let reply = once(core).await?;
    if reply.as_ref().is_some_and(discover::names_a_revision) {
        return once(core).await;
    }
    Ok(reply)
}

async fn once(core: &Arc<Core>) -> Result<Option<Reply>, Error> {
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
        Err(_) => return Ok(None),
    };
    let mut reading = Reading {
        core,
        id: sent.id,
        flow,
        patience,
    };
    if head.status == StatusCode::OK {
        return Ok(exchange::read(reading, &head, &ClientHandle::none(), None).await.ok());
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
    Ok(match body.map(Message::scan) {
        Ok(Ok(Message::Response(response))) => Some(response.reply),
        _ => None,
    })
}

/// How long a backend has to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Most of a refusal's body that is read, in bytes.
const REFUSAL_BYTES: usize = 64 * 1024;
