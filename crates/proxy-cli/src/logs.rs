//! The log: lines on standard error, for people or as JSON.

use mcp_proxy::plan::LogPlan;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::output::colours;

/// Starts logging. `RUST_LOG` wins over the configuration.
pub(crate) fn start(plan: &LogPlan) {
    let filter = std::env::var("RUST_LOG")
        .ok()
        .filter(|filter| !filter.trim().is_empty())
        .and_then(|filter| EnvFilter::try_new(filter).ok())
        // The demonstration server's library tells of each of its calls; whoever wants that names it.
        .unwrap_or_else(|| EnvFilter::new(format!("tower_mcp=warn,{}", plan.filter)));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours())
        .with_target(false);
    // A second subscriber in one process is impossible here, and would be no reason to stop.
    let _ = match plan.json {
        true => builder.json().flatten_event(true).finish().try_init(),
        false => builder.finish().try_init(),
    };
}
