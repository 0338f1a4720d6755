//! The log level of an upstream session, as its callers need it.
//!
//! In the session era the level belongs to the session (`logging/setLevel`), while some callers say with each request
//! how much they want to read. A session that several share has the most verbose of their levels; whoever wants less is
//! not shown the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use mcp_proxy_core::json::{Params, RawJson, Slot};
use mcp_proxy_core::{ClientHandle, LogLevel, Method, Reply};
use tokio::sync::Semaphore;

use super::core::Core;
use super::exchange::{Fault, Outgoing, exchange};
use super::session::Upstream;

/// The level that the backend was last told on a session.
pub(super) struct Level {
    /// The level's number, or [`UNTOLD`].
    told: AtomicU8,
    /// One at a time tells the backend: of two that do so at once nobody could say which came last.
    turn: Semaphore,
}

impl Level {
    pub(super) fn untold() -> Self {
        Self {
            told: AtomicU8::new(UNTOLD),
            turn: Semaphore::new(1),
        }
    }

    /// Whether the backend sends what this caller wants to read.
    pub(super) fn covers(&self, wanted: LogLevel) -> bool {
        self.told.load(Ordering::Acquire) <= wanted as u8
    }

    /// Notes what a client has told the backend by itself.
    pub(super) fn note(&self, params: &Params) {
        if let Some(level) = params.string(Slot::Level).as_deref().and_then(LogLevel::parse) {
            self.told.store(level as u8, Ordering::Release);
        }
    }
}

/// Sees to it that the backend sends what a caller wants to read, before its call is sent. A backend that refuses, or is
/// slow, keeps its level: reading less is no reason to fail.
///
/// # Errors
/// Only that the session is gone.
pub(super) async fn adjust(core: &Arc<Core>, upstream: &Arc<Upstream>, wanted: LogLevel) -> Result<(), Fault> {
    let Ok(_turn) = upstream.level.turn.acquire().await else {
        return Ok(());
    };
    if upstream.covers(wanted) {
        return Ok(());
    }
    let params = RawJson::encode(&serde_json::json!({ "level": wanted.as_str() }));
    let outgoing = Outgoing {
        method: &Method::SetLevel,
        params: &Params::parse(params.as_bytes().clone()).unwrap_or_default(),
        upstream: Some(upstream),
        client: &ClientHandle::none(),
    };
    match tokio::time::timeout(TIME_LIMIT, exchange(core, outgoing)).await {
        Ok(Err(Fault::SessionGone)) => return Err(Fault::SessionGone),
        Ok(Ok(answer)) if matches!(answer.reply, Reply::Result(_)) => {}
        _ => tracing::debug!("the backend did not take a log level"),
    }
    // A refusal too is told once.
    upstream.level.told.store(wanted as u8, Ordering::Release);
    Ok(())
}

/// Above all levels.
const UNTOLD: u8 = u8::MAX;

/// How long a backend may take for it.
const TIME_LIMIT: Duration = Duration::from_secs(2);
