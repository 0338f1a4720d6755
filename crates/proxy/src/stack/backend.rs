//! What every call goes through on the way to one backend.

use mcp_proxy_core::SharedService;
use mcp_proxy_core::names::Namespace;
use mcp_proxy_transport::client::backend::BackendService;
use tower::ServiceBuilder;

use super::localise::LocaliseLayer;

/// A call enters at the first line and leaves at the last.
pub(crate) fn backend(namespace: &Namespace, service: BackendService) -> SharedService {
    let stack = ServiceBuilder::new()
        .layer(LocaliseLayer::new(namespace)) // above this line resource URIs in results are public ones
        .service(service);
    SharedService::new(stack)
}
