//! What every call goes through on the way to one backend.

use std::sync::Arc;

use mcp_proxy_core::names::Namespace;
use mcp_proxy_core::{Error, SharedService};
use mcp_proxy_transport::client::backend::BackendService;
use tower::ServiceBuilder;

use super::localise::LocaliseLayer;

/// A call enters at the first line and leaves at the last.
pub(crate) fn backend(name: &Arc<str>, namespace: &Namespace, service: BackendService) -> SharedService {
    let name = name.clone();
    let stack = ServiceBuilder::new()
        .layer(LocaliseLayer::new(namespace)) // above this line resource URIs in results are public ones
        .map_err(move |error: Error| error.backend(name.clone())) // above this line an error says whose it is
        .service(service);
    SharedService::new(stack)
}
