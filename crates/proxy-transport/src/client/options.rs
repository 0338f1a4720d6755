//! What a connector needs to know of its backend: checked values, built by whoever read the configuration.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use mcp_proxy_core::Secret;
use url::Url;

/// Largest message taken from or sent to a backend, unless said otherwise: 16 MiB.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Longest silence of a backend during one call, unless said otherwise.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

/// Longest time for opening a connection, unless said otherwise.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How clients share a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SessionMode {
    /// A backend that issues session ids gets one upstream session per client; any other is shared.
    #[default]
    Auto,
    /// One upstream session, or one process, for all clients.
    Shared,
    /// One upstream session, or one process, for each client.
    PerClient,
}

/// A backend that answers over Streamable HTTP.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpOptions {
    /// Where it answers; the scheme is `http` or `https`, and there is no user or password in it.
    pub url: Url,
    /// Sent with every request. The values are marked sensitive, so that no log shows them.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Sent as `Authorization: Bearer …`.
    pub bearer: Option<Secret>,
    /// Whom to trust and who we are, for `https`.
    pub tls: TlsOptions,
    /// How clients share it.
    pub session: SessionMode,
    /// Longest time for opening a connection, TLS handshake included.
    pub connect_timeout: Duration,
    /// Longest silence during one call; anything that arrives starts it anew.
    pub idle_timeout: Duration,
    /// Largest answer or event that is taken, in bytes.
    pub max_message_bytes: usize,
}

impl HttpOptions {
    /// The backend at `url` with nothing special about it.
    pub fn new(url: Url) -> Self {
        Self {
            url,
            headers: Vec::new(),
            bearer: None,
            tls: TlsOptions::default(),
            session: SessionMode::default(),
            connect_timeout: CONNECT_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            max_message_bytes: MAX_MESSAGE_BYTES,
        }
    }
}

/// TLS towards a backend. Files are in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// Authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// The certificate (and its chain) we show; needs `key`.
    pub cert: Option<PathBuf>,
    /// The private key of `cert`.
    pub key: Option<PathBuf>,
}

/// A backend that is a child process and speaks over its standard input and output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StdioOptions {
    /// The program: a path, or a name to be found in `PATH`.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Environment variables set for it.
    pub env: Vec<(String, Secret)>,
    /// The folder it starts in; ours when `None`.
    pub cwd: Option<PathBuf>,
    /// Variables of our own environment passed on besides the usual few; a `*` stands for any characters.
    pub inherit_env: Vec<String>,
    /// How clients share it.
    pub session: SessionMode,
    /// After this long without a call the process is stopped, and started again by the next call.
    pub idle_stop: Option<Duration>,
    /// The program that supervises children: the `mcp-proxy` binary, when we run as it.
    pub supervisor: Option<PathBuf>,
    /// Longest silence during one call; anything that arrives for the call starts it anew.
    pub idle_timeout: Duration,
    /// Longest line that is taken, in bytes.
    pub max_message_bytes: usize,
}

impl StdioOptions {
    /// The program `command` without arguments and with nothing special about it.
    pub fn new(command: impl Into<String>) -> Self {
        Self {
            command: command.into(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            inherit_env: Vec::new(),
            session: SessionMode::default(),
            idle_stop: None,
            supervisor: None,
            idle_timeout: IDLE_TIMEOUT,
            max_message_bytes: MAX_MESSAGE_BYTES,
        }
    }
}
