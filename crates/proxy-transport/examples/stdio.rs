//! Starts an MCP server as a supervised child process, prints what it says of itself, and waits for the end of its own
//! input: `cargo run --example stdio -- COMMAND ARGUMENTS…`.
//!
//! It also shows what a program that embeds the proxy does to supervise its children: the first thing in `main` is to see
//! whether this process was started as the supervisor.

use std::io::{Read, Write};
use std::process::ExitCode;

use mcp_proxy_transport::client::Connector;
use mcp_proxy_transport::client::options::StdioOptions;
use mcp_proxy_transport::client::stdio::StdioConnector;
use mcp_proxy_transport::supervise;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|argument| argument == supervise::ARGUMENT).is_some() {
        return supervise::main(arguments);
    }
    let mut arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
    let Some(command) = arguments.next() else {
        return ExitCode::from(2);
    };
    let mut options = StdioOptions::new(command);
    options.args = arguments.collect();
    options.inherit_env = vec!["MCP_PROXY_TEST_*".to_owned()];
    options.supervisor = std::env::current_exe().ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map(|runtime| runtime.block_on(run(options))) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

async fn run(options: StdioOptions) -> Result<(), Box<dyn std::error::Error>> {
    let connected = StdioConnector::new("example", options)
        .connect(<dyn mcp_proxy_core::Downstream>::nobody())
        .await?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "ready {}", connected.hello.version)?;
    stdout.flush()?;
    std::io::stdin().lock().read_to_end(&mut Vec::new())?;
    connected.peer.close().await;
    Ok(())
}
