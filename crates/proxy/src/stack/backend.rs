//! What every call goes through on the way to one backend.

use std::sync::Arc;

use mcp_proxy_core::catalogue::BackendIndex;
use mcp_proxy_core::names::Namespace;
use mcp_proxy_core::{Error, SharedService};
use mcp_proxy_transport::client::backend::BackendService;
use tokio_util::task::TaskTracker;
use tower::ServiceBuilder;

use super::localise::LocaliseLayer;
use super::run_task::RunTaskLayer;
use crate::interest::Interest;

/// What belongs to one backend, beside its service.
pub(crate) struct Own<'a> {
    /// Its place in the configuration.
    pub(crate) index: BackendIndex,
    /// Its name.
    pub(crate) name: &'a Arc<str>,
    /// How its names become public.
    pub(crate) namespace: &'a Namespace,
}

/// A call enters at the first line and leaves at the last.
pub(crate) fn backend(
    own: &Own<'_>,
    interest: &Arc<Interest>,
    errands: &TaskTracker,
    service: BackendService,
) -> SharedService {
    let name = own.name.clone();
    let stack = ServiceBuilder::new()
        .layer(LocaliseLayer::new(own, interest)) // above this line URIs and task ids are public
        .layer(RunTaskLayer::new(errands)) // for clients without tasks; below the names, since it makes calls of its own
        .map_err(move |error: Error| error.backend(name.clone())) // above this line an error says whose it is
        .service(service);
    SharedService::new(stack)
}
