//! [`Proxy`]: a running proxy.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mcp_proxy_transport::server::front::Front;
use mcp_proxy_transport::server::listen::Listener;
use mcp_proxy_transport::server::options::ListenOptions;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::app::HubApp;
use super::hub::{Entry, Hub};
use super::start_error::StartError;
use crate::config::ProxyConfig;
use crate::plan::Plan;

/// A running proxy: its backends are being connected from the moment it exists.
///
/// Dropping it stops everything it started; [`stop`](Self::stop) does the same politely and waits for it. Two proxies
/// can live in one process.
///
/// ```no_run
/// # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
/// use mcp_proxy::{Proxy, config::ProxyConfig};
///
/// let mut proxy = Proxy::from_config(ProxyConfig::load("proxy.toml")?)?;
/// let address = proxy.bind().await?;
/// println!("listening on {address:?}");
/// proxy.run_until(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await;
/// # Ok(()) }
/// ```
pub struct Proxy {
    pub(super) running: Running,
    listen: ListenOptions,
    listener: Option<Listener>,
    shutdown_timeout: Duration,
}

/// What has to stop when the proxy does.
pub(super) struct Running {
    pub(super) hub: Arc<Hub>,
    pub(super) front: Front,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Proxy {
    /// Checks a configuration and starts its backends. Nothing listens yet.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration, or that no tokio runtime is there.
    pub fn from_config(config: ProxyConfig) -> Result<Self, StartError> {
        Self::from_plan(Plan::from_config(&config)?)
    }

    /// Starts the backends of a plan. Nothing listens yet.
    ///
    /// # Errors
    /// When there is no tokio runtime.
    pub fn from_plan(plan: Plan) -> Result<Self, StartError> {
        Self::assemble(plan, |_| None)
    }

    /// The plan, opened for calls: backends started and the listener bound.
    ///
    /// # Errors
    /// As [`from_plan`](Self::from_plan) and [`bind`](Self::bind).
    pub async fn start(plan: Plan) -> Result<Self, StartError> {
        let mut proxy = Self::from_plan(plan)?;
        proxy.bind().await?;
        Ok(proxy)
    }

    /// Starts a plan's backends; `connector` may bring its own for some, by name.
    pub(crate) fn assemble(
        plan: Plan,
        mut connector: impl FnMut(&str) -> Option<Arc<dyn mcp_proxy_transport::client::Connector>>,
    ) -> Result<Self, StartError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(StartError::NoRuntime);
        }
        let entries = plan
            .backends
            .into_iter()
            .map(|plan| Entry {
                connector: connector(&plan.name),
                plan,
            })
            .collect();
        let hub = Arc::new(Hub::start(entries, plan.instructions));
        let front = Front::new(
            plan.front,
            Arc::new(HubApp::new(hub.clone(), &plan.name, &plan.version)),
        );
        hub.front().fill(&front);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let follow = {
            let (hub, front) = (hub.clone(), front.clone());
            async move { hub.follow(|notification| front.broadcast(&notification)).await }
        };
        tasks.spawn(stop.clone().run_until_cancelled_owned(follow));
        Ok(Self {
            running: Running {
                hub,
                front,
                stop,
                tasks,
            },
            listen: plan.listen,
            listener: None,
            shutdown_timeout: plan.shutdown_timeout,
        })
    }

    /// Opens the listener. Connections wait until [`run_until`](Self::run_until).
    ///
    /// # Errors
    /// When the address is taken or not ours, or a certificate cannot be read.
    pub async fn bind(&mut self) -> Result<Option<SocketAddr>, StartError> {
        if self.listener.is_none() {
            self.listener = Some(Listener::bind(self.listen.clone()).await?);
        }
        Ok(self.address())
    }

    /// The bound address; `None` before [`bind`](Self::bind), and for a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(Listener::local_addr)
    }

    /// Serves until `shutdown` ends, then drains: running calls get the configured time to finish, streams are closed,
    /// backends stopped.
    pub async fn run_until(mut self, shutdown: impl Future<Output = ()>) {
        match self.listener.take() {
            Some(listener) => {
                let accepting = CancellationToken::new();
                let serving = listener.serve(self.running.front.clone(), None, accepting.clone().cancelled_owned());
                tokio::pin!(serving);
                tokio::select! {
                    () = shutdown => {}
                    () = &mut serving => {}
                }
                accepting.cancel();
                // The listener ends once its connections have; draining the front is what ends them.
                tokio::join!(self.stop(), serving);
            }
            None => {
                shutdown.await;
                self.stop().await;
            }
        }
    }

    /// Serves one client over a pair of byte streams, one message a line, as a program does over its standard input and
    /// output; no listener is needed. Ends when the client closes `input` or reads no more, then stops at once, or when
    /// `shutdown` ends, then drains.
    ///
    /// The first message is answered once every backend has been asked for its lists, or after five seconds.
    pub async fn run_over<R, W>(self, input: R, output: W, shutdown: impl Future<Output = ()>)
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (hub, front) = (self.running.hub.clone(), self.running.front.clone());
        // A client is there, whatever it will say.
        hub.wake();
        let talk = front.serve_lines(input, output, hub.settled());
        tokio::pin!(talk);
        tokio::select! {
            () = shutdown => {
                tokio::join!(self.stop(), talk);
            }
            () = &mut talk => self.stop().await,
        }
    }

    /// Stops politely: calls finish within the configured time, then backends are stopped and children reaped.
    pub async fn stop(self) {
        self.running.front.drain(Instant::now() + self.shutdown_timeout).await;
        self.running.hub.stop().await;
        self.running.stop.cancel();
        self.running.tasks.close();
        self.running.tasks.wait().await;
    }

    /// Where every backend stands, in configuration order: name and status.
    pub fn backends(&self) -> Vec<(Arc<str>, mcp_proxy_transport::client::backend::Status)> {
        self.running
            .hub
            .backends()
            .iter()
            .map(|backend| (backend.name().clone(), backend.status()))
            .collect()
    }

    /// What all backends offer together at this moment.
    pub fn catalogue(&self) -> Arc<mcp_proxy_core::catalogue::Catalogue> {
        self.running.hub.catalogue()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.front.abandon();
        self.stop.cancel();
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}
