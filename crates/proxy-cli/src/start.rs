//! What every command that runs the proxy does first: read the configuration, start the log and the threads.

use mcp_proxy::plan::Plan;
use tokio::runtime::{Builder, Runtime};

use crate::args::Source;
use crate::output::{Failure, colours, complain};
use crate::report::{Weight, problems};
use crate::{logs, source};

/// The checked configuration. From now on the log is written, and it begins with what is doubtful.
pub(crate) fn prepare(source: &Source) -> Result<Plan, Failure> {
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
    Ok(plan)
}

/// The threads that carry calls.
pub(crate) fn runtime(plan: &Plan) -> Result<Runtime, Failure> {
    let mut builder = match plan.workers {
        // One thread needs no scheduler that shares work among several; every call would pay for it.
        Some(1) => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if let Some(workers) = plan.workers {
        builder.worker_threads(workers);
    }
    builder
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start threads: {error}")))
}
