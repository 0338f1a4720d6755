//! `serve`: runs the proxy until a signal asks it to stop.

use mcp_proxy::Proxy;
use mcp_proxy::plan::Plan;

use crate::args::Source;
use crate::output::{Failure, complain};
use crate::signals::Signals;
use crate::start::{prepare, runtime};

pub(crate) fn run(source: &Source) -> Result<(), Failure> {
    let plan = prepare(source)?;
    let runtime = runtime(&plan)?;
    let result = runtime.block_on(serve(plan));
    // What a dropped proxy still has to stop runs on these threads; nothing else may hold the end up.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

async fn serve(plan: Plan) -> Result<(), Failure> {
    let signals = Signals::new()?;
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
    signals.stop(|asked| proxy.run_until(asked)).await
}

/// Tells a person what to do next. A log for programs goes without.
fn hint(url: &str) {
    complain(&format!(
        "\nTo see what is offered, and to call a tool:\n\n    mcp-proxy list {url}\n    mcp-proxy call {url} TOOL KEY=VALUE ...\n\n\
         or give {url} to any MCP client that speaks Streamable HTTP.\n\n"
    ));
}
