//! [`Hub`]: the backends of one plan, and the catalogue merged from what they offer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use mcp_proxy_core::catalogue::{Catalogue, Source};
use mcp_proxy_core::json::{Notification, Params};
use mcp_proxy_core::{Downstream, SharedService};
use mcp_proxy_core::{Method, SessionKey};
use mcp_proxy_transport::client::Connector;
use mcp_proxy_transport::client::backend::{Backend, BackendOptions, Backoff, Phase, Status};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::downstream::{BackendDownstream, FrontSlot};
use super::merge::{Basis, differences, merge};
use crate::interest::{About, Interest, Settled, Watch};
use crate::plan::{BackendPlan, LinkPlan};
use crate::stack::backend::Own;
use crate::stack::route::Route;
use crate::stack::{CatalogueHandle, backend, edge};

/// How long a backend's first attempt may keep the proxy from calling itself ready.
const GRACE: Duration = Duration::from_secs(5);

/// One attempt to reach a server over a network, handshake and lists included.
const NETWORK_CONNECT: Duration = Duration::from_secs(15);

/// The same for a child process: package runners take their time when they start something for the first time.
const PROCESS_CONNECT: Duration = Duration::from_secs(60);

/// The backends and what they offer together.
pub(crate) struct Hub {
    backends: Vec<Backend>,
    sources: Vec<Source>,
    instructions: Option<Box<str>>,
    catalogue: CatalogueHandle,
    /// Held while the catalogue is merged.
    merging: Mutex<()>,
    service: SharedService,
    interest: Arc<Interest>,
    watch: Watch,
    front: FrontSlot,
    /// What outlives the call that began it, for seconds.
    errands: TaskTracker,
    changed: Arc<Notify>,
    started: Instant,
}

/// A backend to be started: its plan, or a connector that a library user brought along.
pub(crate) struct Entry {
    pub(crate) plan: BackendPlan,
    pub(crate) connector: Option<Arc<dyn Connector>>,
}

impl Hub {
    /// Starts every enabled backend on the current runtime and returns at once.
    pub(crate) fn start(entries: Vec<Entry>, instructions: Option<Arc<str>>) -> Self {
        let changed = Arc::new(Notify::new());
        let (interest, front) = (Arc::new(Interest::default()), FrontSlot::default());
        let (mut backends, mut sources) = (Vec::new(), Vec::new());
        for Entry { plan, connector } in entries.into_iter().filter(|entry| entry.plan.enabled) {
            sources.push(Source {
                name: plan.name.clone(),
                namespace: plan.namespace.clone(),
                trust_annotations: false,
            });
            let downstream = BackendDownstream {
                backend: backends.len(),
                name: plan.name.clone(),
                namespace: plan.namespace.clone(),
                interest: interest.clone(),
                front: front.clone(),
            };
            backends.push(start(plan, connector, &changed, Arc::new(downstream)));
        }
        let instructions = instructions.map(|text| Box::from(&*text));
        let catalogue = Arc::new(ArcSwap::from_pointee(merge(&backends, &sources, instructions.clone())));
        let errands = TaskTracker::new();
        let route = Route::new(backends.iter().zip(&sources).enumerate().map(|(index, (one, source))| {
            let own = Own {
                index,
                name: &source.name,
                namespace: &source.namespace,
            };
            backend::backend(&own, &interest, &errands, one.service())
        }));
        let watch: Watch = {
            let backends = backends.clone();
            Arc::new(move |backend, about, names| match (backends.get(backend), about) {
                (Some(backend), About::Resource) => backend.watch(names),
                (Some(backend), About::Task) => backend.watch_tasks(names),
                (None, _) => {}
            })
        };
        let settled: Settled = {
            let backends = backends.clone();
            Arc::new(move |backend| {
                let backend = backends.get(backend).cloned();
                Box::pin(async move {
                    if let Some(backend) = backend {
                        backend.watched().await;
                    }
                })
            })
        };
        let service = edge::edge(&catalogue, &interest, &watch, &settled, route);
        Self {
            backends,
            sources,
            instructions,
            catalogue,
            merging: Mutex::default(),
            service,
            interest,
            watch,
            front,
            errands,
            changed,
            started: Instant::now(),
        }
    }

    /// The stack that answers calls.
    pub(crate) fn service(&self) -> &SharedService {
        &self.service
    }

    /// The catalogue of this moment.
    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.load_full()
    }

    /// The backends, in configuration order.
    pub(crate) fn backends(&self) -> &[Backend] {
        &self.backends
    }

    /// Where messages of backends for clients go, once there is a front.
    pub(crate) fn front(&self) -> &FrontSlot {
        &self.front
    }

    /// A client is there: whatever waits for one may start.
    pub(crate) fn session_opened(&self, session: SessionKey) {
        self.interest.open(session);
        self.wake();
    }

    /// Connects what waits for a client.
    pub(crate) fn wake(&self) {
        self.backends.iter().for_each(Backend::wake);
    }

    /// A client said something that is about none of its calls.
    pub(crate) fn notified(&self, client: SessionKey, notification: &Notification) {
        match &notification.method {
            Method::RootsChanged => {
                for backend in &self.backends {
                    backend.notify(client, notification.clone());
                }
            }
            // As unknown requests: for the one backend whose names are nobody's but its own.
            Method::Other(_) => {
                if let Some(backend) = self.catalogue.load().bare() {
                    self.backends[backend].notify(client, notification.clone());
                }
            }
            method => tracing::trace!(%method, "a notification of a client ends here"),
        }
    }

    /// A client's session has ended.
    pub(crate) fn session_closed(&self, session: SessionKey) {
        self.interest.close(session, &self.watch);
        for backend in &self.backends {
            backend.session_closed(session);
        }
    }

    /// The backends whose first attempt is still under way. None after a few seconds: one that hangs must not keep the
    /// others from serving.
    pub(crate) fn missing(&self) -> Vec<String> {
        if self.started.elapsed() >= GRACE {
            return Vec::new();
        }
        let first_attempt = |backend: &&Backend| {
            let status = backend.status();
            status.phase == Phase::Connecting && status.listing.is_none() && status.failures == 0
        };
        self.backends
            .iter()
            .filter(first_attempt)
            .map(|backend| format!("backend `{}`", backend.name()))
            .collect()
    }

    /// Waits until every backend has been asked for its lists and they are in the catalogue; not for long.
    pub(crate) async fn settled(&self) {
        let first_attempts = async {
            for backend in &self.backends {
                let under_way = |status: &Status| {
                    let connecting = matches!(status.phase, Phase::Idle | Phase::Connecting);
                    connecting && status.listing.is_none() && status.failures == 0
                };
                // It fails when the backend was stopped, which settles it too.
                let _ = backend.follow().wait_for(|status| !under_way(status)).await;
            }
        };
        // Whoever hangs is left behind, and `list_changed` follows when it comes.
        let _ = tokio::time::timeout_at(self.started + GRACE, first_attempts).await;
        self.refresh();
    }

    /// Merges the catalogue anew; the old one and the new one.
    fn refresh(&self) -> (Arc<Catalogue>, Arc<Catalogue>) {
        // One at a time, so that an older merge never replaces a newer one.
        let _one = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        let new = Arc::new(merge(&self.backends, &self.sources, self.instructions.clone()));
        (self.catalogue.swap(new.clone()), new)
    }

    /// Keeps the catalogue current; `tell` is called with each `list_changed` that clients should hear. Never ends.
    pub(crate) async fn follow(&self, tell: impl Fn(Notification)) {
        let mut warned = Vec::new();
        let mut last = None;
        loop {
            self.changed.notified().await;
            let basis = Some(Basis::of(&self.backends));
            if basis == last {
                continue;
            }
            last = basis;
            let (old, new) = self.refresh();
            for warning in new.warnings() {
                // Said once, not with every change of some other backend.
                if !warned.contains(warning) {
                    tracing::warn!(backend = %warning.backend, "{}", warning.message);
                }
            }
            warned = new.warnings().to_vec();
            for method in differences(&old, &new) {
                tell(Notification {
                    method,
                    params: Params::absent(),
                });
            }
        }
    }

    /// Stops every backend, all at once. Bounded by the longest stop of one.
    pub(crate) async fn stop(&self) {
        let mut stopping = JoinSet::new();
        for backend in &self.backends {
            let backend = backend.clone();
            stopping.spawn(async move { backend.stop().await });
        }
        while stopping.join_next().await.is_some() {}
        // Without backends they end at once.
        self.errands.close();
        self.errands.wait().await;
    }
}

fn start(
    plan: BackendPlan,
    connector: Option<Arc<dyn Connector>>,
    changed: &Arc<Notify>,
    downstream: Arc<dyn Downstream>,
) -> Backend {
    let (connect_timeout, backoff) = match &plan.link {
        LinkPlan::Stdio(_) => (PROCESS_CONNECT, Backoff::PROCESS),
        LinkPlan::Builtin => (NETWORK_CONNECT, Backoff::PROCESS),
        // Everything else is reached over a network.
        _ => (NETWORK_CONNECT, Backoff::NETWORK),
    };
    let connector = connector.unwrap_or_else(|| plan.link.connector(&plan.name));
    let options = BackendOptions {
        name: plan.name,
        lazy: plan.lazy,
        connect_timeout,
        backoff,
    };
    Backend::start(options, connector, changed.clone(), downstream)
}
