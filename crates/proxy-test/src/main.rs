//! `mcp-fixture`: the scripted MCP server of the tests, as a program.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use mcp_proxy_test::{Era, Faults, Fixture};
use tokio::signal::unix::{SignalKind, signal};

/// A scripted MCP server for tests.
#[derive(Parser)]
#[command(name = "mcp-fixture", version)]
struct Arguments {
    /// How to reach it.
    #[arg(long, value_enum, default_value = "stdio")]
    transport: Transport,
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Path of the endpoint.
    #[arg(long, default_value = "/mcp")]
    path: String,
    /// Protocol eras to speak.
    #[arg(long, value_enum, default_value = "session")]
    era: Era,
    /// Issue no session ids: all clients share one session.
    #[arg(long)]
    no_session_id: bool,
    /// Name to report.
    #[arg(long, default_value = "mcp-fixture")]
    name: String,
    /// How many tools to offer on top of the usual ones.
    #[arg(long, default_value_t = 0)]
    tools: usize,
    /// File to append what was seen and done to, as JSON lines.
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// A way to misbehave, such as `wrong-id` or `pages=3`; may be given several times.
    #[arg(long = "fault")]
    faults: Vec<String>,
    /// Outlive a closed standard input and SIGTERM: only SIGKILL ends it.
    #[arg(long)]
    stubborn: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Transport {
    Stdio,
    Http,
    Ws,
    Sse,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let mut faults = Faults::default();
    for fault in &arguments.faults {
        faults.set(fault)?;
    }
    let mut builder = Fixture::http()
        .name(arguments.name)
        .host(arguments.host)
        .port(arguments.port)
        .path(arguments.path)
        .era(arguments.era)
        .session_ids(!arguments.no_session_id)
        .many_tools(arguments.tools)
        .faults(faults)
        .own_process();
    if let Some(file) = arguments.ledger {
        builder = builder.ledger_file(file);
    }
    // Listening for the signal replaces its default, which is to end the process.
    let _sigterm = if arguments.stubborn {
        Some(signal(SignalKind::terminate())?)
    } else {
        None
    };
    match arguments.transport {
        Transport::Stdio => builder.serve_pipes(tokio::io::stdin(), tokio::io::stdout()).await?,
        transport => {
            builder = match transport {
                Transport::Ws => builder.web_socket(),
                Transport::Sse => builder.sse(),
                Transport::Stdio | Transport::Http => builder,
            };
            let mut fixture = builder.start().await?;
            let mut stdout = std::io::stdout().lock();
            writeln!(stdout, "listening {}", fixture.url())?;
            stdout.flush()?;
            drop(stdout);
            fixture.ended().await;
        }
    }
    if arguments.stubborn {
        std::future::pending::<()>().await;
    }
    // A read of standard input may still be under way in a thread, which would hold up the end of the runtime.
    std::process::exit(0)
}

#[expect(
    clippy::print_stderr,
    reason = "a program's own complaint, and stdout may be the wire"
)]
fn complain(error: &str) {
    eprintln!("mcp-fixture: {error}");
}
