//! `[proxy]`: what the proxy calls itself, where it listens, how its sessions live.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The proxy itself: its name, where it listens, how its sessions live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name"]))]
pub struct ProxySection {
    /// What the proxy calls itself towards clients.
    pub name: String,
    /// The version it states towards clients. Default: that of the program.
    pub version: Option<String>,
    /// Stands between a backend's namespace and the name of its tool or prompt. Letters, digits and `_ - . /`; with `__`
    /// names suit clients that accept only letters, digits, `_` and `-`.
    pub separator: String,
    /// Told to clients in the handshake: what the tools behind this proxy are for.
    pub instructions: Option<String>,
    /// How long running calls may take to finish after the proxy was told to stop, in seconds.
    pub shutdown_timeout_seconds: u64,
    /// A `.mcp.json` whose servers become backends too. Where both define a name, this file wins. Relative to the folder
    /// of this file.
    pub import_backends: Option<PathBuf>,
    /// Where the proxy listens.
    pub listen: ListenSection,
    /// How sessions of clients live.
    pub session: SessionSection,
}

impl Default for ProxySection {
    fn default() -> Self {
        Self {
            name: String::new(),
            version: None,
            separator: "/".into(),
            instructions: None,
            shutdown_timeout_seconds: 30,
            import_backends: None,
            listen: ListenSection::default(),
            session: SessionSection::default(),
        }
    }
}

/// Where the proxy listens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ListenSection {
    /// The address, or a host name that leads to one. Default: `127.0.0.1`, which only this machine reaches.
    #[schemars(extend("default" = "127.0.0.1"))]
    pub host: Option<String>,
    /// The TCP port; 0 lets the system choose a free one. Default: 8080.
    #[schemars(extend("default" = 8080))]
    pub port: Option<u16>,
    /// The path of the MCP endpoint. It also answers on `/`.
    pub path: String,
    /// TLS on the TCP port.
    pub tls: Option<ListenTlsSection>,
    /// A unix socket. TCP is then off, unless `host` or `port` is written as well.
    pub unix: Option<PathBuf>,
    /// Whether clients may come over WebSocket (subprotocol `mcp`) as well, on the same path.
    pub websocket: bool,
    /// Whether clients may come over HTTP+SSE, the transport of 2024-11-05, as well: on `/sse` and `/message`.
    pub sse: bool,
    /// The values of the `Host` header that are answered, with or without a port. Default: those of the loopback
    /// interface.
    pub allowed_hosts: Vec<String>,
    /// The values of the `Origin` header that are answered, such as `https://app.example.com`. Requests without one are
    /// always answered, and so are those of pages on this machine.
    pub allowed_origins: Vec<String>,
    /// Largest request body, in bytes.
    #[schemars(range(min = 1))]
    pub body_bytes: usize,
    /// Silence on an event stream after which a comment keeps it alive, in seconds.
    #[schemars(range(min = 1))]
    pub keep_alive_seconds: u64,
}

impl Default for ListenSection {
    fn default() -> Self {
        Self {
            host: None,
            port: None,
            path: "/mcp".into(),
            tls: None,
            unix: None,
            websocket: false,
            sse: false,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            body_bytes: 4 * 1024 * 1024,
            keep_alive_seconds: 15,
        }
    }
}

/// TLS towards clients. Files are in PEM; paths are relative to the folder of the configuration.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["cert", "key"]))]
pub struct ListenTlsSection {
    /// The proxy's certificate, followed by its chain.
    pub cert: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
    /// Authorities: with them, only clients that show a certificate of theirs are answered.
    pub client_ca: Option<PathBuf>,
}

/// How sessions of clients live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SessionSection {
    /// A session that was silent this long has ended, in seconds.
    #[schemars(range(min = 1))]
    pub idle_seconds: u64,
    /// Most sessions at a time. Beyond it the one that was silent longest ends.
    #[schemars(range(min = 1))]
    pub max: usize,
    /// Whether a request without the id of its session is refused. `false` serves it once, without interaction, for clients
    /// that drop the id.
    pub required: bool,
    /// How long a call goes on after its client has disconnected, and how long its stream can then be read on, in seconds.
    /// 0 keeps nothing.
    pub resume_seconds: u64,
    /// How long a call of a client without sessions (2026-07-28) waits for the answer to what its backend has asked, in
    /// seconds.
    #[schemars(range(min = 1))]
    pub suspend_seconds: u64,
    /// Most calls that wait for such an answer at a time. Beyond it a backend is told that its question cannot be asked.
    /// 0 lets none wait.
    pub max_suspended: usize,
}

impl Default for SessionSection {
    fn default() -> Self {
        Self {
            idle_seconds: 1800,
            max: 10_000,
            required: true,
            resume_seconds: 10,
            suspend_seconds: 600,
            max_suspended: 1000,
        }
    }
}
