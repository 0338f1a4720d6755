//! `serve`: the proxy itself.

use std::path::Path;
use std::process::ExitCode;

use mcp_proxy::Proxy;
use mcp_proxy::config::ProxyConfig;
use mcp_proxy::plan::{LinkPlan, Plan};
use tokio::signal::unix::{SignalKind, signal};

#[expect(clippy::print_stderr, reason = "there is no logger before the configuration is read")]
pub(crate) fn main(config: &Path) -> ExitCode {
    let plan = match ProxyConfig::load(config).and_then(|config| Plan::from_config(&config)) {
        Ok(plan) => plan,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::FAILURE;
        }
    };
    crate::logging::start(&plan.log);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all();
    if let Some(workers) = plan.workers {
        runtime.worker_threads(workers);
    }
    let served = runtime
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(serve(plan)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(mut plan: Plan) -> Result<(), Box<dyn std::error::Error>> {
    supervise_children(&mut plan);
    let (path, scheme) = (
        plan.front.path.clone(),
        if plan.listen.tls.is_some() { "https" } else { "http" },
    );
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let proxy = Proxy::start(plan).await?;
    if let Some(address) = proxy.address() {
        tracing::info!(%address, url = format!("{scheme}://{address}{path}"), "listening");
    }
    let shutdown = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
    };
    proxy.run_until(shutdown).await;
    Ok(())
}

/// Children run under this very program, so that they end with it however it ends.
fn supervise_children(plan: &mut Plan) {
    let Ok(program) = std::env::current_exe() else {
        tracing::warn!("this program cannot find itself: children run without a supervisor");
        return;
    };
    for backend in &mut plan.backends {
        if let LinkPlan::Stdio(options) = &mut backend.link {
            options.supervisor = Some(program.clone());
        }
    }
}
