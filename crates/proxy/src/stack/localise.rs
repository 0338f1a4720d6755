//! Resource URIs in what comes back: clients see the public form, which they can use in their next call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use mcp_proxy_core::catalogue::localise_result;
use mcp_proxy_core::names::Namespace;
use mcp_proxy_core::{Call, Error, Method, Reply, RpcError};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// Makes resource URIs in replies public.
#[derive(Clone)]
pub(crate) struct LocaliseLayer {
    namespace: Arc<Namespace>,
}

impl LocaliseLayer {
    pub(crate) fn new(namespace: &Namespace) -> Self {
        Self {
            namespace: Arc::new(namespace.clone()),
        }
    }
}

impl<S> Layer<S> for LocaliseLayer {
    type Service = Localise<S>;

    fn layer(&self, inner: S) -> Localise<S> {
        Localise {
            inner,
            namespace: self.namespace.clone(),
        }
    }
}

/// The service of [`LocaliseLayer`].
#[derive(Clone)]
pub(crate) struct Localise<S> {
    inner: S,
    namespace: Arc<Namespace>,
}

impl<S: Service<Call, Response = Reply, Error = Error>> Service<Call> for Localise<S> {
    type Response = Reply;
    type Error = Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let method = call.method.clone();
        ResponseFuture {
            inner: self.inner.call(call),
            method,
            namespace: self.namespace.clone(),
        }
    }
}

pin_project! {
    /// The future of [`Localise`].
    pub(crate) struct ResponseFuture<F> {
        #[pin]
        inner: F,
        method: Method,
        namespace: Arc<Namespace>,
    }
}

impl<F: Future<Output = Result<Reply, Error>>> Future for ResponseFuture<F> {
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(match ready!(this.inner.poll(cx)) {
            Ok(Reply::Result(result)) => Ok(Reply::Result(localise_result(this.method, result, this.namespace))),
            Ok(Reply::Error(error)) if !this.namespace.is_empty() => {
                Ok(Reply::Error(localise_error(error, this.namespace)))
            }
            other => other,
        })
    }
}

/// A not-found names the URI that was asked for; the client knows it by its public form.
fn localise_error(error: RpcError, namespace: &Namespace) -> RpcError {
    let raw = error
        .raw()
        .map_strings(&[&["data", "uri"]], |uri| Some(namespace.uri(uri).into_owned()));
    RpcError::from_raw(raw).unwrap_or(error)
}
