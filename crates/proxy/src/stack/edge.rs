//! What every call goes through before it belongs to a backend.

use std::sync::Arc;

use mcp_proxy_core::SharedService;
use tower::ServiceBuilder;

use super::CatalogueHandle;
use super::level::LevelLayer;
use super::lists::ListsLayer;
use super::refusals::RefusalsLayer;
use super::resolve::ResolveLayer;
use super::route::Route;
use super::subscribe::SubscribeLayer;
use crate::interest::{Interest, Settled, Watch};

/// A call enters at the first line and leaves at the last.
pub(crate) fn edge(
    catalogue: &CatalogueHandle,
    interest: &Arc<Interest>,
    watch: &Watch,
    settled: &Settled,
    route: Route,
) -> SharedService {
    let stack = ServiceBuilder::new()
        .layer(RefusalsLayer) // above this line no error is left; below, all are typed
        .layer(ListsLayer::new(catalogue)) // answered from the catalogue: no backend can delay a list
        .layer(LevelLayer::new(catalogue, interest, route.clone())) // goes to every backend, so it never reaches the next line
        .layer(SubscribeLayer::new(catalogue, interest, watch, settled)) // by public names; waits a little for the backend
        .layer(ResolveLayer::new(catalogue)) // below this line names are the backend's own
        .service(route);
    SharedService::new(stack)
}
