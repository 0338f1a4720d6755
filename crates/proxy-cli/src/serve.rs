//! `serve`: runs the proxy until a signal asks it to stop.

use std::sync::Arc;

use mcp_proxy::Proxy;
use mcp_proxy::plan::Plan;
use tokio::runtime::Builder;
use tokio::sync::Notify;

use crate::args::Source;
use crate::output::{Failure, colours, complain};
use crate::report::{Weight, problems};
use crate::{logs, source};

pub(crate) fn run(source: &Source) -> Result<(), Failure> {
    let plan = source::plan(source)?;
    if plan.log.json {
        logs::start(&plan.log);
        for warning in &plan.warnings {
            let place = warning.place.as_ref().map(ToString::to_string);
            tracing::warn!(key = %warning.key, place, message = %warning.message, help = warning.remedy);
        }
    } else {
        complain(&problems(&plan.warnings, Weight::Warning, colours()));
        logs::start(&plan.log);
    }
    let mut builder = match plan.workers {
        // One thread needs no scheduler that shares work among several; every call would pay for it.
        Some(1) => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if let Some(workers) = plan.workers {
        builder.worker_threads(workers);
    }
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(serve(plan));
    // What a dropped proxy still has to stop runs on these threads; nothing else may hold the end up.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

async fn serve(plan: Plan) -> Result<(), Failure> {
    let signals = Signals::new().map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))?;
    let (path, tls, unix, json) = (
        plan.front.path.clone(),
        plan.listen.tls.is_some(),
        plan.listen.unix.clone(),
        plan.log.json,
    );
    let proxy = Proxy::start(plan)
        .await
        .map_err(|error| Failure::new(error.to_string()))?;
    if let Some(address) = proxy.address() {
        let scheme = if tls { "https" } else { "http" };
        let url = format!("{scheme}://{address}{path}");
        tracing::info!(%address, url, "listening");
        if !json {
            hint(&url);
        }
    }
    if let Some(unix) = unix {
        tracing::info!(socket = %unix.display(), "listening on a unix socket");
    }
    let first = Arc::new(Notify::new());
    let asked = Arc::clone(&first);
    let twice = async move {
        let mut signals = signals;
        signals.next().await;
        tracing::info!("stopping; a second signal stops at once");
        asked.notify_one();
        signals.next().await;
    };
    tokio::select! {
        () = proxy.run_until(async move { first.notified().await }) => Ok(()),
        () = twice => Err(Failure::Interrupted),
    }
}

/// Tells a person what to do next. A log for programs goes without.
fn hint(url: &str) {
    complain(&format!(
        "\nTo see what is offered, and to call a tool:\n\n    mcp-proxy list {url}\n    mcp-proxy call {url} TOOL KEY=VALUE ...\n\n\
         or give {url} to any MCP client that speaks Streamable HTTP.\n\n"
    ));
}

/// The signals that ask a process to stop.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Elsewhere there is Ctrl-C.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
