//! [`SharedService`]: the two type-erasure seams of the call path.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::{Service, ServiceExt};

use crate::{Call, Error, Reply};

/// A stack of layers with its type erased: cheap to clone, shared between threads.
///
/// Unlike [`tower::util::BoxCloneService`], cloning copies one pointer; the stack itself is cloned (a few pointers) and
/// made ready inside the call's future, so back-pressure is waited for there. One allocation a call.
#[derive(Clone)]
pub struct SharedService(Arc<dyn Erased>);

/// The future of an erased call.
pub type CallFuture = Pin<Box<dyn Future<Output = Result<Reply, Error>> + Send>>;

trait Erased: Send + Sync {
    fn call(&self, call: Call) -> CallFuture;
}

struct Holder<S>(S);

impl<S> Erased for Holder<S>
where
    S: Service<Call, Response = Reply, Error = Error> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    fn call(&self, call: Call) -> CallFuture {
        Box::pin(self.0.clone().oneshot(call))
    }
}

impl SharedService {
    /// Erases the type of `service`.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Call, Response = Reply, Error = Error> + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        Self(Arc::new(Holder(service)))
    }

    /// Makes a call. Dropping the future cancels it.
    pub fn call(&self, call: Call) -> CallFuture {
        self.0.call(call)
    }
}

impl Service<Call> for SharedService {
    type Response = Reply;
    type Error = Error;
    type Future = CallFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> CallFuture {
        self.0.call(call)
    }
}

impl fmt::Debug for SharedService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedService")
    }
}
