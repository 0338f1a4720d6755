//! `check`: everything that is wrong with a configuration, in one run.

use std::fmt::Write as _;
use std::time::Duration;

use mcp_proxy::config::{Place, Problem};
use mcp_proxy::core::Method;
use mcp_proxy::plan::Plan;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::args::{Check, Source};
use crate::connect::{Target, block_on};
use crate::output::{Failure, clean, colours, complain, print};
use crate::report::{self, Weight};
use crate::source;

pub(crate) fn run(source: &Source, check: &Check) -> Result<(), Failure> {
    let plan = match source::load(source) {
        Ok(plan) => plan,
        Err(errors) if check.json => {
            let errors: Vec<Value> = errors.problems().iter().map(data).collect();
            print(&format!(
                "{:#}\n",
                json!({ "ok": false, "errors": errors, "warnings": [] })
            ))?;
            return Err(Failure::Written);
        }
        Err(errors) => {
            complain(&report::errors(&errors, colours()));
            return Err(Failure::Written);
        }
    };
    let reached = match check.connect {
        true => block_on(async { Ok(connect(&plan).await) })?,
        false => Vec::new(),
    };
    let failed = reached.iter().any(|reached| reached.outcome.is_err());
    if check.json {
        print(&format!("{:#}\n", summary(&plan, check, &reached, !failed)))?;
    } else {
        complain(&report::problems(&plan.warnings, Weight::Warning, colours()));
        print(&page(&plan, check, &reached))?;
    }
    if failed { Err(Failure::Written) } else { Ok(()) }
}

/// How a backend answered.
struct Reached {
    name: String,
    outcome: Result<usize, String>,
    time: Duration,
}

/// Connects to every enabled backend, one after the other, and counts its tools.
async fn connect(plan: &Plan) -> Vec<Reached> {
    let mut all = Vec::new();
    for target in Target::of_plan(plan) {
        let started = Instant::now();
        let outcome = match target.connect().await {
            Ok(connection) => {
                let has_tools = connection.connected.hello.capabilities.get("tools").is_some();
                let tools = match has_tools {
                    true => connection
                        .list(Method::ToolsList, "tools")
                        .await
                        .map(|tools| tools.len()),
                    false => Ok(0),
                };
                connection.close().await;
                tools
            }
            Err(failure) => Err(failure),
        };
        let told = |failure| match failure {
            Failure::Told { message, .. } => clean(&message),
            Failure::Written | Failure::Interrupted => "interrupted".to_owned(),
        };
        all.push(Reached {
            name: target.name.to_string(),
            outcome: outcome.map_err(told),
            time: started.elapsed(),
        });
    }
    all
}

fn page(plan: &Plan, check: &Check, reached: &[Reached]) -> String {
    let count = plan.backends.iter().filter(|backend| backend.enabled).count();
    let mut out = match count {
        1 => "The configuration is fine: 1 backend.\n".to_owned(),
        count => format!("The configuration is fine: {count} backends.\n"),
    };
    if check.stack {
        let _ = writeln!(out, "\n{}", mcp_proxy::describe_stack().trim_end());
    }
    for reached in reached {
        let took = reached.time.as_millis();
        let _ = match &reached.outcome {
            Ok(tools) => writeln!(out, "  {}  answers, {tools} tools, {took} ms", reached.name),
            Err(message) => writeln!(out, "  {}  {message}", reached.name),
        };
    }
    out
}

fn summary(plan: &Plan, check: &Check, reached: &[Reached], ok: bool) -> Value {
    let warnings: Vec<Value> = plan.warnings.iter().map(data).collect();
    let backends: Vec<Value> = plan
        .backends
        .iter()
        .map(|backend| {
            let mut one = json!({
                "name": &*backend.name,
                "namespace": backend.namespace.as_str(),
                "transport": backend.link.transport().as_str(),
                "enabled": backend.enabled,
            });
            if let Some(reached) = reached.iter().find(|reached| *reached.name == *backend.name) {
                one["milliseconds"] = json!(reached.time.as_millis().min(u128::from(u64::MAX)) as u64);
                match &reached.outcome {
                    Ok(tools) => one["tools"] = json!(tools),
                    Err(message) => one["error"] = json!(message),
                }
            }
            one
        })
        .collect();
    let mut all = json!({ "ok": ok, "errors": [], "warnings": warnings, "backends": backends });
    if check.stack {
        all["stack"] = json!(mcp_proxy::describe_stack().lines().collect::<Vec<_>>());
    }
    all
}

/// A problem for programs.
fn data(problem: &Problem) -> Value {
    let place = problem.place.as_ref();
    let (line, column) = place.and_then(Place::line_and_column).unzip();
    let origin = match place {
        Some(Place::Text { source, .. }) => Some(source.name.clone()),
        Some(other) => Some(other.to_string()),
        None => None,
    };
    json!({
        "file": origin,
        "line": line,
        "column": column,
        "key": problem.key,
        "message": problem.message,
        "help": problem.remedy,
    })
}
