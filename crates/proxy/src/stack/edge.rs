//! What every call goes through before it belongs to a backend.

use mcp_proxy_core::SharedService;
use tower::ServiceBuilder;

use super::CatalogueHandle;
use super::level::LevelLayer;
use super::lists::ListsLayer;
use super::refusals::RefusalsLayer;
use super::resolve::ResolveLayer;
use super::route::Route;

/// A call enters at the first line and leaves at the last.
pub(crate) fn edge(catalogue: &CatalogueHandle, route: Route) -> SharedService {
    let stack = ServiceBuilder::new()
        .layer(RefusalsLayer) // above this line no error is left; below, all are typed
        .layer(ListsLayer::new(catalogue)) // answered from the catalogue: no backend can delay a list
        .layer(LevelLayer::new(catalogue, route.clone())) // goes to every backend, so it never reaches the next line
        .layer(ResolveLayer::new(catalogue)) // below this line names are the backend's own
        .service(route);
    SharedService::new(stack)
}
