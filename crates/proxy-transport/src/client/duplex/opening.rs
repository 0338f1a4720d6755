//! The opening of a connection: which era the backend speaks, and the handshake where there is one.
//!
//! `server/discover` is asked first. Whoever answers with the revisions it supports speaks the sessionless era; any
//! other answer, or none within a few seconds, means `initialize` on the same connection (MCP 2026-07-28, stdio, "Era
//! detection"). That a backend did not understand is remembered for a while, so that a restart does not pay the silence
//! again.

use std::time::Duration;

use mcp_proxy_core::{Call, Error, Method};
use tokio::time::timeout;

use super::link::Era;
use super::{DuplexPeer, call, handshake, listening};
use crate::client::Hello;
use crate::client::sessionless::Manner;
use crate::client::sessionless::discover::{self, Verdict};

/// Finds out the era and makes the handshake where there is one.
///
/// # Errors
/// Whatever kept the backend from answering.
pub(super) async fn open(peer: &DuplexPeer) -> Result<Hello, Error> {
    let link = &peer.inner.link;
    let memory = link.options.memory.as_ref();
    if let Some(memory) = memory
        && !memory.is_session_only()
    {
        if let Some(hello) = probe(peer).await? {
            let manner = Manner::of(&hello);
            link.speaks(Era::Sessionless(manner));
            listening::start(&peer.inner, &hello);
            return Ok(hello);
        }
        memory.speaks_sessions();
    }
    match handshake::handshake(peer).await {
        Ok(hello) => {
            let logs = hello
                .capabilities
                .get("logging")
                .is_some_and(|logging| logging.is_object());
            link.speaks(Era::Session { logs });
            Ok(hello)
        }
        Err(error) => {
            // Whatever it is, what was remembered of it has not helped.
            if let Some(memory) = memory {
                memory.forget();
            }
            Err(error)
        }
    }
}

/// Asks what the backend supports; `None` when it does not know the sessionless era.
async fn probe(peer: &DuplexPeer) -> Result<Option<Hello>, Error> {
    let link = &peer.inner.link;
    let question = Call::new(Method::Discover).with_params(discover::params());
    let reply = match timeout(PATIENCE, call::send(link, question)).await {
        Ok(Ok(reply)) => reply,
        // A malformed answer, or none: it did not understand.
        Err(_) => return Ok(None),
        Ok(Err(_)) if link.is_open() => return Ok(None),
        Ok(Err(error)) => {
            // There are servers that end at a first message they do not know. The next connection spares them.
            if let Some(memory) = &link.options.memory {
                memory.speaks_sessions();
            }
            return Err(error.backend(link.options.name.clone()));
        }
    };
    Ok(match discover::judge(&reply) {
        Verdict::Sessionless(hello) => Some(*hello),
        Verdict::Session => None,
    })
}

/// How long an answer to `server/discover` may take. Servers of the session era either refuse it at once or say nothing
/// before `initialize`.
const PATIENCE: Duration = Duration::from_secs(3);
