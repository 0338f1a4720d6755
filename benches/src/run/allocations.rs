//! Allocations per call: the proxy as a library in a counting process, with client and backend outside it.

use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};

use anyhow::Context as _;
use serde::Serialize;

use super::RunArguments;
use super::subject::{Behind, Workshop};
use crate::client::Manner;
use crate::client::load::{LoadPlan, load};

/// What one call allocates.
#[derive(Debug, Serialize)]
pub(crate) struct Allocations {
    /// Length of the text that the call answers with.
    pub(crate) text: usize,
    /// Allocations and reallocations per call.
    pub(crate) count: f64,
    /// Bytes allocated per call.
    pub(crate) bytes: f64,
}

/// Counts for each text length.
///
/// # Errors
/// When something does not start or a load fails.
pub(crate) async fn count(arguments: &RunArguments, workshop: &Workshop) -> anyhow::Result<Vec<Allocations>> {
    let program = workshop
        .counting_proxy()
        .context("mcp-proxy-bench-allocations is not beside the bench; `cargo xtask bench` builds both")?;
    let backend = workshop.backend(1, Manner::Bare).await?;
    let behind = Behind::Http(&backend.endpoint);
    let proxy = workshop
        .proxy_program(&program, &workshop.places.subject, Some(1), behind, 1)
        .await?;
    let counter = proxy
        .counter
        .context("the counting proxy did not say where its counters are")?;
    let mut measured = Vec::new();
    for text in [64, 10_000, 200_000] {
        eprintln!("allocations: call of {text} B");
        let plan = LoadPlan {
            connections: 8,
            warm_up: arguments.measured() / 2,
            measured: arguments.measured(),
        };
        let load = load(&proxy.endpoint, &proxy.call(text), plan, || read(counter)).await?;
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
        let per_call = |before: u64, after: u64| after.saturating_sub(before) as f64 / load.calls as f64;
        measured.push(Allocations {
            text,
            count: per_call(load.before.0, load.after.0),
            bytes: per_call(load.before.1, load.after.1),
        });
    }
    proxy.program.stop().await;
    backend.program.stop().await;
    Ok(measured)
}

fn read(counter: SocketAddr) -> anyhow::Result<(u64, u64)> {
    let mut text = String::new();
    TcpStream::connect(counter)?.take(64).read_to_string(&mut text)?;
    let (count, bytes) = text
        .split_once(' ')
        .with_context(|| format!("counters {text:?} are not two numbers"))?;
    Ok((count.parse()?, bytes.parse()?))
}
