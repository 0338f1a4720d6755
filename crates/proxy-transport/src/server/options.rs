//! What the front and the listener need to know: checked values, built by whoever read the configuration.

use std::path::PathBuf;
use std::time::Duration;

/// How the front answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontOptions {
    /// The path of the MCP endpoint, such as `/mcp`; it is answered on `/` as well.
    pub path: String,
    /// Values of `Host` that are answered, with or without a port. Empty: the loopback names.
    pub allowed_hosts: Vec<String>,
    /// Values of `Origin` that are answered, beside those of this machine. Requests without one are always answered.
    pub allowed_origins: Vec<String>,
    /// Largest request body, in bytes.
    pub body_bytes: usize,
    /// Silence after which a keep-alive comment is sent on an event stream.
    pub keep_alive: Duration,
    /// Whether clients may come over WebSocket, on the same path.
    #[cfg(feature = "websocket")]
    pub websocket: bool,
    /// Whether clients may come over HTTP+SSE, on `/sse` and `/message`.
    pub sse: bool,
    /// How sessions live.
    pub session: SessionOptions,
}

impl Default for FrontOptions {
    fn default() -> Self {
        Self {
            path: "/mcp".into(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            body_bytes: 4 * 1024 * 1024,
            keep_alive: Duration::from_secs(15),
            #[cfg(feature = "websocket")]
            websocket: false,
            sse: false,
            session: SessionOptions::default(),
        }
    }
}

/// How sessions live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// A session that has been silent this long has ended.
    pub idle: Duration,
    /// Most sessions at a time; beyond it the one idle longest ends.
    pub max: usize,
    /// Whether a call without its session's id is refused; otherwise it is served once, without interaction.
    pub required: bool,
    /// How long a call may go on after its client has disconnected.
    pub resume: Duration,
    /// How long a call of a sessionless client waits for the answer to what its backend has asked.
    pub suspend: Duration,
    /// Most calls that wait so at a time, in the whole process.
    pub max_suspended: usize,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(1800),
            max: 10_000,
            required: true,
            resume: Duration::from_secs(10),
            suspend: Duration::from_secs(600),
            max_suspended: 1000,
        }
    }
}

/// Where to listen: a TCP address, a unix socket, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Host name or address, and port; port 0 lets the system choose a free one.
    pub address: Option<(String, u16)>,
    /// Path of a unix socket.
    pub unix: Option<PathBuf>,
    /// TLS on the TCP address.
    pub tls: Option<ServerTls>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self {
            address: Some(("127.0.0.1".into(), 8080)),
            unix: None,
            tls: None,
        }
    }
}

/// TLS towards clients. Files are in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// Our certificate and its chain.
    pub cert: PathBuf,
    /// The private key of `cert`.
    pub key: PathBuf,
    /// Authorities whose certificates a client must show; `None` asks for none.
    pub client_ca: Option<PathBuf>,
}
