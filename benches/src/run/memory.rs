//! Memory of a fresh proxy, after work, and per idle session.

use serde::Serialize;

use super::RunArguments;
use super::subject::{Behind, Workshop};
use crate::client::Manner;
use crate::client::idle;
use crate::client::load::{LoadPlan, load};
use crate::machine::account::{Memory, memory, processor_time};

/// Bytes.
#[derive(Debug, Serialize)]
pub(crate) struct Weights {
    /// Resident after start.
    pub(crate) resident_at_rest: u64,
    /// Proportional share after start.
    pub(crate) proportional_at_rest: u64,
    /// Resident after a load of 200 kB answers at 32 connections.
    pub(crate) resident_after_load: u64,
    /// Resident size of nginx's worker after the same load.
    pub(crate) nginx_after_load: Option<u64>,
    /// Per idle session without a stream.
    pub(crate) session: f64,
    /// Per idle session with its GET stream open.
    pub(crate) session_with_stream: f64,
    /// How many sessions were opened for each.
    pub(crate) sessions: usize,
}

/// Weighs a proxy of its own.
///
/// # Errors
/// When something does not start, or a session is refused.
pub(crate) async fn weigh(arguments: &RunArguments, workshop: &Workshop) -> anyhow::Result<Weights> {
    let count = arguments.sessions.clamp(100, 9_000);
    let cores = &workshop.places.subject;
    let backend = workshop.backend(1, Manner::Bare).await?;
    let start = || workshop.proxy(cores, Some(1), Behind::Http(&backend.endpoint), 1);

    eprintln!("memory: {count} idle sessions");
    let proxy = start().await?;
    let rest = memory(proxy.pid)?;
    // The first sessions pay for what is made once: pools, tables, the allocator's arenas.
    idle::without_stream(&proxy.endpoint, count / 50).await?;
    let before = memory(proxy.pid)?;
    idle::without_stream(&proxy.endpoint, count).await?;
    let session = per_session(before, memory(proxy.pid)?, count);
    proxy.program.stop().await;

    eprintln!("memory: {count} idle sessions with an open stream");
    let proxy = start().await?;
    let first = idle::with_stream(&proxy.endpoint, count / 50).await?;
    let before = memory(proxy.pid)?;
    let streams = idle::with_stream(&proxy.endpoint, count).await?;
    let session_with_stream = per_session(before, memory(proxy.pid)?, count);
    drop((first, streams));
    proxy.program.stop().await;

    eprintln!("memory: after a load");
    let plan = LoadPlan {
        connections: 32,
        warm_up: arguments.measured() / 5,
        measured: arguments.measured(),
    };
    let proxy = start().await?;
    load(&proxy.endpoint, &proxy.call(200_000), plan, || {
        processor_time(proxy.pid)
    })
    .await?;
    let resident_after_load = memory(proxy.pid)?.resident;
    proxy.program.stop().await;
    let mut nginx_after_load = None;
    if let Some(nginx) = workshop.nginx(cores, &backend.endpoint, b"").await? {
        load(&nginx.endpoint, &nginx.call(200_000), plan, || {
            processor_time(nginx.pid)
        })
        .await?;
        nginx_after_load = Some(memory(nginx.pid)?.resident);
        nginx.program.stop().await;
    }
    backend.program.stop().await;
    Ok(Weights {
        resident_at_rest: rest.resident,
        proportional_at_rest: rest.proportional,
        resident_after_load,
        nginx_after_load,
        session,
        session_with_stream,
        sessions: count,
    })
}

/// Only private pages count: shared ones are the program's code.
#[expect(clippy::cast_precision_loss, reason = "memory sizes and counts far below 2^53")]
fn per_session(before: Memory, after: Memory, count: usize) -> f64 {
    after.private.saturating_sub(before.private) as f64 / count as f64
}
