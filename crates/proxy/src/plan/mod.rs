//! The plan: a configuration that was checked and is ready to run. Its types cannot hold what the checks refuse.
//!
//! Every problem is found in one run, and what can only be guessed to be a mistake is a warning. Nothing is opened or
//! connected to; files are only asked whether they exist.

mod backend;
mod judge;
mod link;
mod listen;

use std::sync::Arc;
use std::time::Duration;

use mcp_proxy_core::names::Namespace;
use mcp_proxy_transport::client::Connector;
use mcp_proxy_transport::client::http::HttpConnector;
use mcp_proxy_transport::client::options::{HttpOptions, StdioOptions};
use mcp_proxy_transport::client::sse::SseConnector;
use mcp_proxy_transport::client::stdio::StdioConnector;
#[cfg(feature = "websocket")]
use mcp_proxy_transport::client::websocket::WebSocketConnector;
use mcp_proxy_transport::server::options::{FrontOptions, ListenOptions};

use crate::builtin::BuiltinConnector;
use crate::config::{ConfigErrors, Problem, ProxyConfig, Transport};
use judge::Judge;

/// A configuration that was checked and is ready to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the proxy calls itself.
    pub name: Arc<str>,
    /// The version it states.
    pub version: Arc<str>,
    /// What it tells clients in the handshake.
    pub instructions: Option<Arc<str>>,
    /// What stands between a namespace and a name; letters, digits and `_ - . /`, never empty.
    pub separator: Arc<str>,
    /// How long running calls may take to finish at the end.
    pub shutdown_timeout: Duration,
    /// Where to listen.
    pub listen: ListenOptions,
    /// How the front answers.
    pub front: FrontOptions,
    /// Threads that carry calls; one for each core when `None`.
    pub workers: Option<usize>,
    /// What is logged, and how.
    pub log: LogPlan,
    /// The backends in their order, disabled ones included; names differ.
    pub backends: Vec<BackendPlan>,
    /// What is probably not meant, sorted by place.
    pub warnings: Vec<Problem>,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPlan {
    /// Level, or levels of parts, as `tracing_subscriber`'s `EnvFilter` reads them.
    pub filter: String,
    /// Whether each line is a JSON object.
    pub json: bool,
}

/// One backend.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendPlan {
    /// Its name, once in a plan.
    pub name: Arc<str>,
    /// What its public names begin with.
    pub namespace: Namespace,
    /// Whether it is used at all.
    pub enabled: bool,
    /// Whether it is reached only when it is needed.
    pub lazy: bool,
    /// How it is reached.
    pub link: LinkPlan,
}

/// How a backend is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkPlan {
    /// A child process.
    Stdio(StdioOptions),
    /// A server on Streamable HTTP.
    Http(HttpOptions),
    /// A server on WebSocket; the URL begins with `ws` or `wss`.
    #[cfg(feature = "websocket")]
    WebSocket(HttpOptions),
    /// A server on HTTP+SSE; the URL is that of its event stream.
    Sse(HttpOptions),
    /// The demonstration server inside the proxy.
    Builtin,
}

impl LinkPlan {
    /// The transport, as it is written in a configuration.
    pub fn transport(&self) -> Transport {
        match self {
            Self::Stdio(_) => Transport::Stdio,
            Self::Http(_) => Transport::Http,
            #[cfg(feature = "websocket")]
            Self::WebSocket(_) => Transport::WebSocket,
            Self::Sse(_) => Transport::Sse,
            Self::Builtin => Transport::Builtin,
        }
    }

    /// What opens connections to the backend `name`. Opens nothing yet.
    pub fn connector(&self, name: &Arc<str>) -> Arc<dyn Connector> {
        let name = name.clone();
        match self {
            Self::Stdio(options) => Arc::new(StdioConnector::new(name, options.clone())),
            Self::Http(options) => Arc::new(HttpConnector::new(options.clone())),
            #[cfg(feature = "websocket")]
            Self::WebSocket(options) => Arc::new(WebSocketConnector::new(name, options.clone())),
            Self::Sse(options) => Arc::new(SseConnector::new(name, options.clone())),
            Self::Builtin => Arc::new(BuiltinConnector::new(name)),
        }
    }
}

impl Plan {
    /// Checks a configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_config(config: &ProxyConfig) -> Result<Self, ConfigErrors> {
        let mut judge = Judge::new(config);
        let proxy = &config.proxy;
        if proxy.name.trim().is_empty() {
            judge.value(
                "proxy.name",
                "the proxy needs a name",
                "write what clients should call it",
            );
        }
        separator(&mut judge, &proxy.separator);
        let (listen, front) = listen::plan(&mut judge, proxy);
        let backends = backend::plan_all(&mut judge, config);
        let workers = config.performance.workers;
        if workers == Some(0) {
            judge.value(
                "performance.workers",
                "calls need at least 1 thread",
                "write 1 or more, or delete the key",
            );
        }
        log_level(&mut judge, &config.observability.log_level);
        let warnings = judge.finish()?;
        Ok(Self {
            name: proxy.name.as_str().into(),
            version: proxy.version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION")).into(),
            instructions: proxy.instructions.as_deref().map(Arc::from),
            separator: proxy.separator.as_str().into(),
            shutdown_timeout: Duration::from_secs(proxy.shutdown_timeout_seconds),
            listen,
            front,
            workers,
            log: LogPlan {
                filter: config.observability.log_level.clone(),
                json: config.observability.json_logs,
            },
            backends,
            warnings,
        })
    }
}

/// The characters of tool names in the Model Context Protocol are the only ones a separator may bring in.
fn separator(judge: &mut Judge<'_>, separator: &str) {
    let path = "proxy.separator";
    let remedy = "write `/`, or `__` for clients that accept only letters, digits, `_` and `-`";
    let allowed = |char: char| char.is_ascii_alphanumeric() || "_-./".contains(char);
    if separator.is_empty() {
        judge.value(path, "without a separator names could not be told apart", remedy);
    } else if let Some(bad) = separator.chars().find(|char| !allowed(*char)) {
        judge.value(path, format!("names of tools cannot hold {bad:?}"), remedy);
    } else if separator.len() > 8 {
        judge.value(path, "a separator has at most 8 characters", remedy);
    }
}

fn log_level(judge: &mut Judge<'_>, filter: &str) {
    const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
    for part in filter.split(',') {
        let level = part.rsplit('=').next().unwrap_or(part).trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            let message = format!("`{}` is no log level", judge::shortened(level));
            let remedy = judge::choose(level, LEVELS);
            judge.value("observability.log_level", message, remedy);
        }
    }
}
