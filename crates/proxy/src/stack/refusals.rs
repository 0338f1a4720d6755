//! Where errors become replies: the outermost line, so that none can be forgotten.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use mcp_proxy_core::outcome::Class;
use mcp_proxy_core::{Call, Error, Reply};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// Turns every error into the JSON-RPC error that the client reads; the cause goes to the log.
#[derive(Clone, Copy)]
pub(crate) struct RefusalsLayer;

impl<S> Layer<S> for RefusalsLayer {
    type Service = Refusals<S>;

    fn layer(&self, inner: S) -> Refusals<S> {
        Refusals { inner }
    }
}

/// The service of [`RefusalsLayer`].
#[derive(Clone)]
pub(crate) struct Refusals<S> {
    inner: S,
}

impl<S: Service<Call, Response = Reply, Error = Error>> Service<Call> for Refusals<S> {
    type Response = Reply;
    type Error = Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        ResponseFuture {
            inner: self.inner.call(call),
        }
    }
}

pin_project! {
    /// The future of [`Refusals`].
    pub(crate) struct ResponseFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F: Future<Output = Result<Reply, Error>>> Future for ResponseFuture<F> {
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.project().inner.poll(cx));
        let class = Class::of(&outcome);
        Poll::Ready(Ok(outcome.unwrap_or_else(|error| {
            tracing::debug!(
                backend = error.backend_name().unwrap_or_default(),
                outcome = class.as_str(),
                %error,
                source = std::error::Error::source(&error).map(tracing::field::display),
                "a call failed"
            );
            Reply::Error(error.to_rpc())
        })))
    }
}
