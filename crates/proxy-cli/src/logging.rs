//! Logs go to standard error: standard output belongs to answers.

use std::io::IsTerminal;

use mcp_proxy::plan::LogPlan;
use tracing_subscriber::EnvFilter;

/// Starts logging as the plan says; `RUST_LOG` wins over it.
pub(crate) fn start(plan: &LogPlan) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(&plan.filter));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // A second start in one process would be a mistake of ours; the first logger stays.
    let _ = if plan.json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.try_init()
    };
}
