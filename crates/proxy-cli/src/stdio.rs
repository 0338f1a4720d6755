//! `stdio`: the proxy as one MCP server on standard input and output, for applications that start their servers.
//!
//! Nothing listens. The log goes to standard error; standard output carries messages of the protocol and nothing else.

use mcp_proxy::Proxy;
use mcp_proxy::plan::Plan;

use crate::args::Source;
use crate::output::Failure;
use crate::signals::Signals;
use crate::start::{prepare, runtime};

pub(crate) fn run(source: &Source) -> Result<(), Failure> {
    let plan = prepare(source)?;
    let runtime = runtime(&plan)?;
    let result = runtime.block_on(speak(plan));
    // Whatever is still to be read from standard input is read by a thread that only more input could end.
    runtime.shutdown_background();
    result
}

async fn speak(plan: Plan) -> Result<(), Failure> {
    let signals = Signals::new()?;
    let proxy = Proxy::from_plan(plan).map_err(|error| Failure::new(error.to_string()))?;
    tracing::info!("speaking on standard input and output");
    let work = |asked| proxy.run_over(tokio::io::stdin(), tokio::io::stdout(), asked);
    signals.stop(work).await
}
