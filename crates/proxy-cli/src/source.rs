//! From the command line to a plan, or to the report of what is wrong.

use mcp_proxy::config::{ConfigErrors, Loader};
use mcp_proxy::plan::{LinkPlan, Plan};

use crate::args::Source;
use crate::output::{Failure, colours, complain};
use crate::report;

/// Loads and checks the configuration that the arguments name.
pub(crate) fn load(source: &Source) -> Result<Plan, ConfigErrors> {
    let mut loader = Loader::new();
    for (key, value) in &source.set {
        loader = loader.set(key, value, &format!("--set {key}"));
    }
    for path in &source.import_mcp_json {
        loader = loader.import(path);
    }
    let config = match &source.from_mcp_json {
        Some(path) => loader.load_mcp_json(path),
        None => loader.load(&source.config),
    }?;
    let mut plan = Plan::from_config(&config)?;
    supervise(&mut plan);
    Ok(plan)
}

/// The same, with everything that is wrong written for people.
pub(crate) fn plan(source: &Source) -> Result<Plan, Failure> {
    load(source).map_err(|errors| {
        complain(&report::errors(&errors, colours()));
        Failure::Written
    })
}

/// Child processes run under this very program, so that they are gone when the proxy is.
fn supervise(plan: &mut Plan) {
    let Ok(program) = std::env::current_exe() else {
        return;
    };
    for backend in &mut plan.backends {
        if let LinkPlan::Stdio(options) = &mut backend.link {
            options.supervisor = Some(program.clone());
        }
    }
}
