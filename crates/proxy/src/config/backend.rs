//! `[[backends]]`: one MCP server behind the proxy.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mcp_proxy_core::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One MCP server behind the proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name", "transport"]))]
pub struct BackendSection {
    /// Its name, once in a configuration: letters, digits, `_` and `-`. `proxy` is reserved.
    pub name: String,
    /// How it is reached.
    pub transport: Transport,
    /// The program to start (`stdio`): a name to be found in `PATH`, or a path. A relative path that has a folder in it is
    /// relative to the folder of this file.
    pub command: Option<String>,
    /// The arguments of the program (`stdio`).
    pub args: Option<Vec<String>>,
    /// Environment variables set for the program (`stdio`). It inherits no others but `PATH`, `HOME`, `LANG`, `LC_*`,
    /// `TERM`, `TMPDIR`, `TZ`, `USER`, `LOGNAME`, `SHELL` and those of `inherit_env`.
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub env: Option<BTreeMap<String, Secret>>,
    /// The folder the program starts in (`stdio`). Relative to the folder of this file; default: the proxy's own.
    pub cwd: Option<PathBuf>,
    /// Names of further environment variables that the program inherits (`stdio`); `*` stands for any characters.
    pub inherit_env: Option<Vec<String>>,
    /// Where it answers (`http`, `sse`, `websocket`), such as `https://mcp.example.com/mcp`; with `sse` the URL of its event
    /// stream, with `websocket` one that begins with `wss://` or `ws://`.
    pub url: Option<String>,
    /// Sent as `Authorization: Bearer …` (`http`, `sse`, `websocket`). Better `${NAME}` or `${file:PATH}` than the token itself.
    #[schemars(with = "Option<String>")]
    pub bearer_token: Option<Secret>,
    /// Further headers of every request (`http`, `sse`), or of the one that opens the connection (`websocket`).
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub headers: Option<BTreeMap<String, Secret>>,
    /// TLS towards an `https` or `wss` URL (`http`, `sse`, `websocket`).
    pub tls: Option<BackendTlsSection>,
    /// What its public names begin with. Default: its name. Empty: its names stay as they are.
    pub namespace: Option<String>,
    /// How clients share it (`stdio`, `http`). Default: `auto`.
    pub session: Option<Sharing>,
    /// Whether it is used at all.
    pub enabled: bool,
    /// Whether it is reached only when the first client opens a session, rather than at start.
    pub lazy: bool,
    /// Stops the program after this long without a call, in seconds (`stdio`). The next call starts it again.
    #[schemars(range(min = 1))]
    pub idle_stop_seconds: Option<u64>,
}

impl Default for BackendSection {
    fn default() -> Self {
        Self {
            name: String::new(),
            transport: Transport::Stdio,
            command: None,
            args: None,
            env: None,
            cwd: None,
            inherit_env: None,
            url: None,
            bearer_token: None,
            headers: None,
            tls: None,
            namespace: None,
            session: None,
            enabled: true,
            lazy: false,
            idle_stop_seconds: None,
        }
    }
}

/// How a backend is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// A program the proxy starts, spoken to over its standard input and output.
    Stdio,
    /// A server that answers over Streamable HTTP.
    Http,
    /// A server on WebSocket with the subprotocol `mcp`. One connection serves all clients.
    #[serde(rename = "websocket")]
    WebSocket,
    /// A server on HTTP+SSE, the transport of 2024-11-05 with two endpoints. One connection serves all clients.
    Sse,
    /// The demonstration server inside the proxy.
    Builtin,
}

impl Transport {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Http => "http",
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::Builtin => "builtin",
        }
    }
}

/// How clients share a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// A backend that issues session ids gets one session for each client; any other is shared.
    Auto,
    /// One session, or one process, for all clients.
    Shared,
    /// One session, or one process, for each client.
    PerClient,
}

/// TLS towards a backend. Files are in PEM; paths are relative to the folder of the configuration.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackendTlsSection {
    /// Authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// The certificate the proxy shows, followed by its chain. Needs `key`.
    pub cert: Option<PathBuf>,
    /// The private key of the certificate.
    pub key: Option<PathBuf>,
}
