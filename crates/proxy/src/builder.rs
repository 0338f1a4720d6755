//! [`ProxyBuilder`]: a configuration written in Rust.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mcp_proxy_core::Secret;
use mcp_proxy_transport::client::Connector;

use crate::config::{BackendSection, ProxyConfig, Transport};
use crate::plan::Plan;
use crate::runtime::{Proxy, StartError};

/// Builds a proxy without a file. Each method is one key of the configuration; what is wrong with them is said by
/// [`build`](Self::build), all at once, as for a file.
///
/// ```
/// # async fn demo() -> Result<(), mcp_proxy::StartError> {
/// use mcp_proxy::ProxyBuilder;
///
/// let proxy = ProxyBuilder::new("my-proxy")
///     .separator("__")
///     .listen("127.0.0.1", 0)
///     .stdio_backend("files", "mcp-server-filesystem", &["/srv/notes"])
///     .http_backend("search", "http://127.0.0.1:9000/mcp")
///     .configure_backend(|backend| backend.lazy = true)
///     .build()
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "a builder does nothing until it is built"]
#[derive(Default)]
pub struct ProxyBuilder {
    config: ProxyConfig,
    connectors: HashMap<String, Arc<dyn Connector>>,
}

impl ProxyBuilder {
    /// A proxy called `name`, listening on 127.0.0.1:8080 with no backends.
    pub fn new(name: impl Into<String>) -> Self {
        let mut builder = Self::default();
        builder.config.proxy.name = name.into();
        builder
    }

    /// The version it states to clients.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.config.proxy.version = Some(version.into());
        self
    }

    /// What stands between a backend's namespace and a tool's name; `/` unless set.
    pub fn separator(mut self, separator: impl Into<String>) -> Self {
        self.config.proxy.separator = separator.into();
        self
    }

    /// Where to listen; port 0 picks a free one.
    pub fn listen(mut self, host: impl Into<String>, port: u16) -> Self {
        self.config.proxy.listen.host = Some(host.into());
        self.config.proxy.listen.port = Some(port);
        self
    }

    /// What clients are told to put before a model.
    pub fn instructions(mut self, instructions: impl Into<String>) -> Self {
        self.config.proxy.instructions = Some(instructions.into());
        self
    }

    /// How long running calls may take to finish at the end, in seconds.
    pub fn shutdown_timeout(mut self, seconds: u64) -> Self {
        self.config.proxy.shutdown_timeout_seconds = seconds;
        self
    }

    /// Adds a child process.
    pub fn stdio_backend(self, name: impl Into<String>, command: impl Into<String>, args: &[&str]) -> Self {
        self.stdio_backend_with_env(name, command, args, &[])
    }

    /// Adds a child process with environment variables of its own.
    pub fn stdio_backend_with_env(
        self,
        name: impl Into<String>,
        command: impl Into<String>,
        args: &[&str],
        env: &[(&str, &str)],
    ) -> Self {
        let env: BTreeMap<_, _> = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Secret::new(*value)))
            .collect();
        self.backend(BackendSection {
            name: name.into(),
            transport: Transport::Stdio,
            command: Some(command.into()),
            args: Some(args.iter().map(|&arg| arg.to_owned()).collect()),
            env: (!env.is_empty()).then_some(env),
            ..BackendSection::default()
        })
    }

    /// Adds a server on Streamable HTTP.
    pub fn http_backend(self, name: impl Into<String>, url: impl Into<String>) -> Self {
        self.backend(BackendSection {
            name: name.into(),
            transport: Transport::Http,
            url: Some(url.into()),
            ..BackendSection::default()
        })
    }

    /// Adds a server on Streamable HTTP that wants a bearer token.
    pub fn http_backend_with_token(
        self,
        name: impl Into<String>,
        url: impl Into<String>,
        token: impl Into<String>,
    ) -> Self {
        let token = Secret::new(token);
        self.http_backend(name, url)
            .configure_backend(|backend| backend.bearer_token = Some(token))
    }

    /// Adds the demonstration server that lives inside the proxy.
    pub fn builtin_backend(self, name: impl Into<String>) -> Self {
        self.backend(BackendSection {
            name: name.into(),
            transport: Transport::Builtin,
            ..BackendSection::default()
        })
    }

    /// Adds a backend that is reached in a way of your own.
    pub fn connector_backend(mut self, name: impl Into<String>, connector: Arc<dyn Connector>) -> Self {
        let name = name.into();
        self.connectors.insert(name.clone(), connector);
        self.builtin_backend(name)
    }

    /// Adds a whole section.
    pub fn backend(mut self, section: BackendSection) -> Self {
        self.config.backends.push(section);
        self
    }

    /// Changes the backend that was added last; does nothing before there is one.
    pub fn configure_backend(mut self, change: impl FnOnce(&mut BackendSection)) -> Self {
        if let Some(backend) = self.config.backends.last_mut() {
            change(backend);
        }
        self
    }

    /// The log level that a program may apply; the library itself only emits.
    pub fn log_level(mut self, level: impl Into<String>) -> Self {
        self.config.observability.log_level = level.into();
        self
    }

    /// Whether that program should log JSON.
    pub fn json_logs(mut self, json: bool) -> Self {
        self.config.observability.json_logs = json;
        self
    }

    /// The configuration as it would stand in a file. Backends of your own kind are lost.
    pub fn into_config(self) -> ProxyConfig {
        self.config
    }

    /// Checks everything, starts the backends and opens the listener.
    ///
    /// # Errors
    /// All problems of the configuration at once, or why the address could not be bound.
    pub async fn build(self) -> Result<Proxy, StartError> {
        let mut proxy = self.build_detached()?;
        proxy.bind().await?;
        Ok(proxy)
    }

    /// The same without a listener, for [`Proxy::into_router`].
    ///
    /// # Errors
    /// All problems of the configuration at once, or that no tokio runtime is there.
    pub fn build_detached(mut self) -> Result<Proxy, StartError> {
        let plan = Plan::from_config(&self.config)?;
        Proxy::assemble(plan, |name| self.connectors.remove(name))
    }
}

impl std::fmt::Debug for ProxyBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
