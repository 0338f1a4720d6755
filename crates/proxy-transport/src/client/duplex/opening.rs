//! The opening of a connection: which era the backend speaks, and the handshake where there is one.
//!
//! `server/discover` is asked first. Whoever answers with the revisions it supports speaks the sessionless era; any
//! other answer, or none within a few seconds, means `initialize` on the same connection (MCP 2026-07-28, stdio, "Era
//! detection"). That a backend did not understand is remembered for a while, so that a restart does not pay the silence
//! again.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use mcp_proxy_core::{Call, Error, Method, Reply};
use tokio::time::{Instant, sleep_until, timeout};

use super::call::Waiter;
use super::link::{Era, Link};
use super::{DuplexPeer, call, handshake, listening};
use crate::client::Hello;
use crate::client::sessionless::Manner;
use crate::client::sessionless::discover::{self, Verdict};
use crate::client::sessionless::memory::Memory;

/// Finds out the era and makes the handshake where there is one.
///
/// # Errors
/// Whatever kept the backend from answering.
pub(super) async fn open(peer: &DuplexPeer) -> Result<Hello, Error> {
    let link = &peer.inner.link;
    let memory = link.options.memory.as_ref();
    let asks = memory.filter(|memory| !memory.is_session_only());
    let opened = match asks {
        None => handshake::handshake(peer).await,
        Some(memory) => ask(peer, memory).await,
    };
    match opened {
        Ok(hello) if hello.version.is_sessionless() => {
            link.speaks(Era::Sessionless(Manner::of(&hello)));
            listening::start(&peer.inner, &hello);
            Ok(hello)
        }
        Ok(hello) => {
            let logs = hello.capabilities.get("logging");
            link.speaks(Era::Session {
                logs: logs.is_some_and(|logging| logging.is_object()),
            });
            if let Some(memory) = asks {
                memory.speaks_sessions();
            }
            Ok(hello)
        }
        Err(error) => {
            // What was remembered of it has not helped.
            if let (None, Some(memory)) = (asks, memory) {
                memory.forget();
            }
            Err(error.backend(link.options.name.clone()))
        }
    }
}

/// Asks the backend for its era, and opens a session when it does not say that it knows the other.
async fn ask(peer: &DuplexPeer, memory: &Memory) -> Result<Hello, Error> {
    let link = &peer.inner.link;
    let question = Call::new(Method::Discover).with_params(discover::params());
    let mut question = call::begin(link, question, |_| {}).await?;
    let opened = match timeout(PATIENCE, question.end()).await {
        Ok(Ok(reply)) => match understood(link, reply).await {
            Some(hello) => Ok(hello),
            None => handshake::handshake(peer).await,
        },
        // A malformed answer: it did not understand.
        Ok(Err(_)) if link.is_open() => handshake::handshake(peer).await,
        Ok(Err(error)) => Err(error),
        Err(_) => either(peer, question).await,
    };
    if opened.is_err() && !link.is_open() {
        // There are servers that end at a first message they do not know. The next connection spares them.
        memory.speaks_sessions();
    }
    opened
}

/// What an answer to the question says of a backend that speaks the sessionless era. One that refuses the revision and
/// names it all the same is asked again, once.
async fn understood(link: &Arc<Link>, mut reply: Reply) -> Option<Hello> {
    if discover::names_a_revision(&reply) {
        let again = Call::new(Method::Discover).with_params(discover::params());
        if let Ok(Ok(second)) = timeout(PATIENCE, call::send(link, again)).await {
            reply = second;
        }
    }
    match discover::judge(&reply) {
        Verdict::Sessionless(hello) => Some(*hello),
        Verdict::Session => None,
    }
}

/// Opens a session while the question is still open: the backend may just be slow to start. Whether it then takes the
/// handshake decides, for it has both before it; where it refuses that, or has no answer, a late answer to the question
/// counts.
async fn either(peer: &DuplexPeer, mut question: Waiter<'_>) -> Result<Hello, Error> {
    let mut shaken = pin!(handshake::handshake(peer));
    let mut asked = true;
    let mut late: Option<(Hello, Instant)> = None;
    loop {
        let patience = async {
            match &late {
                Some((_, since)) => sleep_until(*since + PATIENCE).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            reply = question.end(), if asked => {
                asked = false;
                if let Ok(reply) = reply
                    && let Verdict::Sessionless(hello) = discover::judge(&reply)
                {
                    late = Some((*hello, Instant::now()));
                }
            }
            shaken = &mut shaken => return match (shaken, late) {
                (Err(_), Some((hello, _))) => Ok(hello),
                (shaken, _) => shaken,
            },
            () = patience => if let Some((hello, _)) = late.take() {
                return Ok(hello);
            },
        }
    }
}

/// How long an answer to `server/discover` may take. Servers of the session era either refuse it at once or say nothing
/// before `initialize`.
const PATIENCE: Duration = Duration::from_secs(3);
