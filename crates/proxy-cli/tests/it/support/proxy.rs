//! The proxy as an operator runs it: a `proxy.toml` in a folder, `mcp-proxy --config`, and its log on stderr.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::eventually;
use super::http::Http;
use super::processes::{MARK, kill, with_mark};
use super::session::Session;

/// How long a debug build may take to be listening on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Log lines kept for the message of a failing test.
const LOG_LINES: usize = 400;

/// A `proxy.toml` in the making. Ports are picked by the proxy (`port = 0`), the separator is `__`.
pub(crate) struct Config {
    proxy: String,
    listen: String,
    backends: String,
    mark: String,
}

impl Config {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self {
            proxy: String::new(),
            listen: String::new(),
            backends: String::new(),
            mark,
        }
    }

    /// A line of the `[proxy]` table.
    pub(crate) fn proxy(mut self, line: &str) -> Self {
        let _ = writeln!(self.proxy, "{line}");
        self
    }

    /// A line of the `[proxy.listen]` table.
    pub(crate) fn listen(mut self, line: &str) -> Self {
        let _ = writeln!(self.listen, "{line}");
        self
    }

    /// A child process; `more` are further lines of its table, which stand before `env`.
    pub(crate) fn stdio(mut self, name: &str, command: &[String], env: &[(&str, &str)], more: &str) -> Self {
        let (program, args) = command.split_first().expect("a command has a program");
        let args = args.iter().map(|arg| quoted(arg)).collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            self.backends,
            "\n[[backends]]\nname = {}\ntransport = \"stdio\"\ncommand = {}\nargs = [{args}]\n{more}\n[backends.env]\n{MARK} = {}",
            quoted(name),
            quoted(program),
            quoted(&self.mark),
        );
        for (key, value) in env {
            let _ = writeln!(self.backends, "{key} = {}", quoted(value));
        }
        self
    }

    /// A server that already runs.
    pub(crate) fn http(mut self, name: &str, url: &str, more: &str) -> Self {
        let _ = writeln!(
            self.backends,
            "\n[[backends]]\nname = {}\ntransport = \"http\"\nurl = {}\n{more}",
            quoted(name),
            quoted(url)
        );
        self
    }

    /// A `[[backends]]` table written by hand.
    pub(crate) fn backend(mut self, table: &str) -> Self {
        let _ = writeln!(self.backends, "\n[[backends]]\n{table}");
        self
    }

    /// Further tables, written by hand.
    pub(crate) fn table(mut self, table: &str) -> Self {
        let _ = writeln!(self.backends, "\n{table}");
        self
    }

    /// The mark that this proxy's processes will carry.
    pub(crate) fn mark(&self) -> String {
        self.mark.clone()
    }

    /// The finished text.
    pub(crate) fn text(&self) -> String {
        let Self {
            proxy,
            listen,
            backends,
            ..
        } = self;
        format!(
            "[proxy]\nname = \"it\"\nseparator = \"__\"\n{proxy}\n[proxy.listen]\nport = 0\n{listen}\n\
             [observability]\njson_logs = true\nlog_level = \"info\"\n{backends}"
        )
    }

    /// Starts the proxy and waits until it listens. Its backends may still be on their way.
    pub(crate) async fn start(self) -> ProxyUnderTest {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("proxy.toml");
        std::fs::write(&file, self.text()).expect("proxy.toml is written");
        ProxyUnderTest::start(folder, &[Path::new("--config"), &file], self.mark).await
    }
}

/// A running proxy; dropping it ends it and everything that carries its mark.
pub(crate) struct ProxyUnderTest {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
    pub(crate) mark: String,
    child: Child,
    folder: TempDir,
    log: Arc<Mutex<Vec<String>>>,
    _reader: JoinSet<()>,
}

impl ProxyUnderTest {
    /// Starts the binary with these words, in that folder.
    pub(crate) async fn start(folder: TempDir, words: &[&Path], mark: String) -> Self {
        let mut child = binary()
            .args(words)
            .current_dir(folder.path())
            .env(MARK, &mark)
            // For files that a test did not write; the environment wins over them.
            .env("MCP_PROXY__PROXY__LISTEN__PORT", "0")
            .env("MCP_PROXY__OBSERVABILITY__JSON_LOGS", "true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mcp-proxy starts");
        let log = Arc::default();
        let (found, mut address) = watch::channel(None);
        let mut reader = JoinSet::new();
        reader.spawn(read_log(
            child.stderr.take().expect("stderr is piped"),
            Arc::clone(&log),
            found,
        ));
        let pid = child.id().expect("it was just started");
        // Built before the wait: if the wait fails, drop still cleans up and shows the log.
        let placeholder = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut proxy = Self {
            address: placeholder,
            pid,
            mark,
            child,
            folder,
            log,
            _reader: reader,
        };
        let listening = tokio::time::timeout(START_LIMIT, address.wait_for(Option::is_some)).await;
        proxy.address = match listening {
            Ok(Ok(address)) => address.expect("waited until it is some"),
            Ok(Err(_)) => panic!("mcp-proxy ended before it was listening"),
            Err(_) => panic!("mcp-proxy logged no `listening` line with an `address` within {START_LIMIT:?}"),
        };
        proxy
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// The folder of its `proxy.toml`.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn http(&self) -> Http {
        Http::new(self.address, "/mcp")
    }

    /// Opens a session in the newest version of the session era.
    pub(crate) async fn session(&self) -> Session {
        Session::open(self.http(), "2025-11-25")
            .await
            .expect("the proxy opens a session")
    }

    /// Waits until every one of these backends has tools in the list: `names` are their prefixes, separator included.
    pub(crate) async fn wait_for_tools_of(&self, names: &[&str]) {
        let session = self.session().await;
        eventually(&format!("tools of {names:?}"), Duration::from_secs(60), || async {
            let tools = session.list("tools/list", "tools").await.ok()?;
            let has = |name: &&str| {
                tools
                    .iter()
                    .any(|tool| tool["name"].as_str().is_some_and(|n| n.starts_with(*name)))
            };
            names.iter().all(has).then_some(())
        })
        .await;
        session.close().await;
    }

    /// Ends the proxy as the kernel would, without giving it a chance to clean up.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("the proxy is ours to end");
    }

    /// Waits for its end.
    pub(crate) async fn wait(&mut self) -> ExitStatus {
        tokio::time::timeout(START_LIMIT, self.child.wait())
            .await
            .expect("the proxy ends")
            .expect("it is our child")
    }

    /// Whether it still runs; a proxy that a request could end would fail every test after it.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Lines of the log that say this.
    pub(crate) fn log_lines(&self, part: &str) -> Vec<String> {
        let log = self.log.lock().expect("no holder panics");
        log.iter().filter(|line| line.contains(part)).cloned().collect()
    }
}

impl Drop for ProxyUnderTest {
    fn drop(&mut self) {
        kill(self.pid);
        for pid in with_mark(&self.mark) {
            kill(pid);
        }
        if std::thread::panicking()
            && let Ok(log) = self.log.lock()
        {
            eprintln!("--- log of mcp-proxy (pid {}) ---\n{}\n---", self.pid, log.join("\n"));
        }
    }
}

/// The binary under test, for a command of one's own; it never outlives its handle.
pub(crate) fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-proxy"));
    // What the developer exported must not change what is tested.
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("MCP_PROXY_") {
            command.env_remove(key);
        }
    }
    command.env_remove("RUST_LOG").env("NO_COLOR", "1").kill_on_drop(true);
    command
}

async fn read_log(stderr: ChildStderr, log: Arc<Mutex<Vec<String>>>, found: watch::Sender<Option<SocketAddr>>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if found.borrow().is_none()
            && let Some(address) = listening(&line)
        {
            found.send_replace(Some(address));
        }
        let mut log = log.lock().expect("no other holder panics");
        if log.len() == LOG_LINES {
            log.remove(0);
        }
        log.push(line);
    }
}

/// The bound address in the line that says so, whether its fields are nested or flattened.
fn listening(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let field = |name| {
        line["fields"]
            .get(name)
            .or_else(|| line.get(name))
            .and_then(Value::as_str)
    };
    if field("message") != Some("listening") {
        return None;
    }
    field("address")?.parse().ok()
}

/// Text as a TOML basic string; JSON escapes are a subset of TOML's.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
