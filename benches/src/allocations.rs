//! How much memory does one call allocate? The proxy as a library, in a process whose allocator counts.
//!
//! Started by `mcp-proxy-bench` as it starts the real binary: `--config FILE`, and a line on stderr that says where it
//! listens. The line also names a second address: whoever connects there is told the two counters.
#![expect(clippy::print_stderr, reason = "the line that says where it listens")]

use std::alloc::System;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use mcp_proxy::Proxy;
use mcp_proxy::config::{Format, ProxyConfig};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::task::JoinSet;

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The proxy as a library, with its allocations counted.
#[derive(Debug, Parser)]
struct Arguments {
    /// The configuration.
    #[arg(long)]
    config: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let text = std::fs::read_to_string(&arguments.config)
        .with_context(|| format!("cannot read {}", arguments.config.display()))?;
    let config = ProxyConfig::parse(&text, Format::Toml)?;
    let counters = TcpListener::bind("127.0.0.1:0")?;
    let counter = counters.local_addr()?;
    // One thread, as in the other rows: allocations do not depend on how many there are.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let proxy = runtime.block_on(async {
        let mut proxy = Proxy::from_config(config)?;
        let address = proxy
            .bind()
            .await?
            .context("the configuration names no port to listen on")?;
        let line = serde_json::json!({"message": "listening", "address": address, "counter": counter});
        eprintln!("{line}");
        anyhow::Ok(proxy)
    })?;
    let mut serving = JoinSet::new();
    serving.spawn_on(proxy.run_until(std::future::pending()), runtime.handle());
    // Until the process is ended from outside.
    loop {
        let (mut asker, _) = counters.accept()?;
        let stats = COUNTING.stats();
        // A reallocation may move the block; it counts as one more.
        let allocations = stats.allocations + stats.reallocations;
        // An asker that has gone again does not need an answer.
        let _ = write!(asker, "{allocations} {}", stats.bytes_allocated);
    }
}
