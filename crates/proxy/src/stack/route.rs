//! The last service of the edge: to the backend that the call was resolved to.

use std::sync::Arc;
use std::task::{Context, Poll};

use mcp_proxy_core::catalogue::BackendIndex;
use mcp_proxy_core::{Call, CallFuture, Error, ErrorKind, Reply, SharedService};
use tower::Service;

/// The backends' stacks, by their place in the configuration.
#[derive(Clone)]
pub(crate) struct Route {
    backends: Arc<[SharedService]>,
}

impl Route {
    pub(crate) fn new(backends: impl IntoIterator<Item = SharedService>) -> Self {
        Self {
            backends: backends.into_iter().collect(),
        }
    }

    /// A call to one backend, past the edge.
    pub(crate) fn call_backend(&self, backend: BackendIndex, mut call: Call) -> CallFuture {
        match self.backends.get(backend) {
            Some(service) => {
                call.backend = Some(backend);
                service.call(call)
            }
            None => Box::pin(async { Err(nowhere()) }),
        }
    }
}

impl Service<Call> for Route {
    type Response = Reply;
    type Error = Error;
    type Future = CallFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> CallFuture {
        match call.backend.and_then(|backend| self.backends.get(backend)) {
            Some(service) => service.call(call),
            None => Box::pin(async { Err(nowhere()) }),
        }
    }
}

/// A call that names no backend, or one that is gone since the catalogue was read.
fn nowhere() -> Error {
    Error::new(ErrorKind::NotSent, "the backend of this call is no longer configured")
}
