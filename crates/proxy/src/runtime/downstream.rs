//! What a backend says outside calls, on its way to the clients it concerns.
//!
//! Names in it become public ones here, and here it is decided who hears of it: the one client whose own upstream session
//! or process it came from, or those who asked to hear of what it is about. Anything else is nobody's and is dropped.

use std::sync::{Arc, OnceLock};

use mcp_proxy_core::catalogue::{BackendIndex, localise_related_task, localise_task_status};
use mcp_proxy_core::json::{Notification, Params, Slot};
use mcp_proxy_core::names::Namespace;
use mcp_proxy_core::{Asked, Downstream, Error, ErrorKind, Method, SessionKey};
use mcp_proxy_transport::server::front::{Front, WeakFront};

use crate::interest::{About, Interest};

/// The front, once there is one. Backends are started first, and must not keep alive what owns them.
#[derive(Clone, Default)]
pub(crate) struct FrontSlot(Arc<OnceLock<WeakFront>>);

impl FrontSlot {
    /// Messages go to this front from now on.
    pub(crate) fn fill(&self, front: &Front) {
        // There is one front in the life of a proxy.
        let _ = self.0.set(front.downgrade());
    }

    fn get(&self) -> Option<Front> {
        self.0.get()?.upgrade()
    }
}

/// The way from one backend to clients.
pub(super) struct BackendDownstream {
    pub(super) backend: BackendIndex,
    pub(super) name: Arc<str>,
    pub(super) namespace: Namespace,
    pub(super) interest: Arc<Interest>,
    pub(super) front: FrontSlot,
}

impl Downstream for BackendDownstream {
    fn tell(&self, to: Option<SessionKey>, notification: Notification) -> bool {
        let Some(front) = self.front.get() else { return false };
        let Some((to, notification)) = self.address(to, notification) else {
            return false;
        };
        // Not `any`, which would stop at the first who took it.
        to.into_iter()
            .filter(|session| front.tell(*session, &notification))
            .count()
            > 0
    }

    fn ask(&self, client: SessionKey, method: Method, mut params: Params) -> Asked {
        localise_related_task(&mut params, &self.name);
        match self.front.get() {
            Some(front) => front.ask(client, &method, &params),
            None => {
                let gone = Error::new(ErrorKind::Cancelled, "there is no client to ask");
                Box::pin(std::future::ready(Err(gone)))
            }
        }
    }
}

impl BackendDownstream {
    /// Who hears of it, and in which words.
    fn address(
        &self,
        to: Option<SessionKey>,
        mut notification: Notification,
    ) -> Option<(Vec<SessionKey>, Notification)> {
        let params = &mut notification.params;
        let to = match notification.method {
            Method::ResourceUpdated => {
                let uri = params.string(Slot::Uri)?.into_owned();
                if !self.namespace.is_empty() {
                    params.set_string(Slot::Uri, &self.namespace.uri(&uri));
                }
                self.interest.listeners(self.backend, About::Resource, &uri)
            }
            Method::TaskChanged => {
                let id = localise_task_status(params, &self.name)?;
                self.interest.listeners(self.backend, About::Task, &id)
            }
            Method::TaskStatus => {
                let id = localise_task_status(params, &self.name)?;
                let owner = to.or_else(|| self.interest.task_owner(self.backend, &id));
                owner.into_iter().collect()
            }
            // The lists are the proxy's own, and the rest belongs to running calls.
            Method::ToolsChanged
            | Method::ResourcesChanged
            | Method::PromptsChanged
            | Method::Cancelled
            | Method::Progress
            | Method::SubscriptionsAcknowledged => return None,
            _ => {
                localise_related_task(params, &self.name);
                to.into_iter().collect()
            }
        };
        Some((to, notification))
    }
}
