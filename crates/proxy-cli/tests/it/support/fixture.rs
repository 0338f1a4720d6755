//! Servers that a test starts itself: our fixture, and any program that serves HTTP on a port of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use mcp_proxy_test::{fixture_program, free_port};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use super::eventually;
use super::processes::kill_group;

/// How long a server may take to be listening on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A server on a port of 127.0.0.1; dropping it ends it.
pub(crate) struct HttpServer {
    pub(crate) address: SocketAddr,
    child: Child,
    /// Whether it leads a group of its own, in which its children are.
    has_group: bool,
    _reader: JoinSet<()>,
}

impl HttpServer {
    /// The fixture server. `port` 0 picks a free one.
    pub(crate) async fn fixture(port: u16, more: &[&str]) -> Self {
        Self::start_fixture("http", port, more).await
    }

    /// The fixture server over WebSocket, on a free port.
    pub(crate) async fn web_socket_fixture(more: &[&str]) -> Self {
        Self::start_fixture("ws", 0, more).await
    }

    /// The fixture server on any transport that has a port.
    pub(crate) async fn start_fixture(transport: &str, port: u16, more: &[&str]) -> Self {
        let transport = if transport == "websocket" { "ws" } else { transport };
        let mut command = Command::new(fixture_binary().await);
        command
            .args(["--transport", transport, "--port", &port.to_string()])
            .args(more);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("mcp-fixture starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let first = tokio::time::timeout(START_LIMIT, lines.next_line()).await;
        let line = first
            .expect("mcp-fixture says where it listens")
            .expect("UTF-8")
            .expect("mcp-fixture lives on");
        let address = line
            .split("://")
            .nth(1)
            .and_then(|rest| rest.split('/').next())
            .and_then(|a| a.parse().ok());
        let address = address.unwrap_or_else(|| panic!("an address in {line:?}"));
        // Read on, so that the server never waits for room in the pipe.
        let mut reader = JoinSet::new();
        reader.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            address,
            child,
            has_group: false,
            _reader: reader,
        }
    }

    /// A program that takes its port from the variable `PORT`, on any free port.
    pub(crate) async fn program(command: &[String]) -> Self {
        Self::program_on(free_port().expect("a free port"), command).await
    }

    /// A program that takes its port from the variable `PORT`, or from words of its command that say the same.
    pub(crate) async fn program_on(port: u16, command: &[String]) -> Self {
        let (program, args) = command.split_first().expect("a command has a program");
        let mut child = Command::new(program)
            .args(args)
            .env("PORT", port.to_string())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program} starts: {error}"));
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("the server to listen", START_LIMIT, || async {
            TcpStream::connect(address).await.ok()
        })
        .await;
        assert!(matches!(child.try_wait(), Ok(None)), "{program} lives on");
        Self {
            address,
            child,
            has_group: true,
            _reader: JoinSet::new(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Ends it at once, and what it started.
    pub(crate) async fn kill(mut self) {
        self.kill_group();
        self.child.kill().await.expect("the server is ours to end");
    }
}

impl HttpServer {
    fn kill_group(&self) {
        // Until it was waited for, the number is its own.
        if let (true, Some(pid)) = (self.has_group, self.child.id()) {
            kill_group(pid);
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// The program `mcp-fixture`, built first if need be.
async fn fixture_binary() -> &'static Path {
    static BINARY: OnceCell<PathBuf> = OnceCell::const_new();
    let build = || async {
        tokio::task::spawn_blocking(fixture_program)
            .await
            .expect("it does not panic")
    };
    BINARY.get_or_try_init(build).await.expect("mcp-fixture can be built")
}

/// The words that start the fixture as a child process. Its name stands in its command line, where a test finds it.
pub(crate) async fn fixture_command(name: &str) -> Vec<String> {
    let fixture = fixture_binary().await.to_str().expect("a UTF-8 path");
    [fixture, "--transport", "stdio", "--name", name]
        .map(str::to_owned)
        .to_vec()
}

/// The target folder that holds the binary under test.
pub(super) fn target() -> PathBuf {
    let profile = Path::new(env!("CARGO_BIN_EXE_mcp-proxy"))
        .parent()
        .expect("a binary lies in a folder");
    profile
        .parent()
        .expect("a profile lies in the target folder")
        .to_owned()
}
