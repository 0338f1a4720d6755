//! The futures of layers that answer at once, pass the call on, or do something rare.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use mcp_proxy_core::{CallFuture, Error, Reply};
use pin_project_lite::pin_project;

pin_project! {
    /// Resolves to an answer that was known at once, or to the inner service's.
    #[project = AnswerProjection]
    pub(crate) enum Answer<F> {
        /// Known at once.
        Known { reply: Option<Reply> },
        /// Passed on.
        Inner { #[pin] future: F },
    }
}

impl<F> Answer<F> {
    pub(crate) fn known(reply: Reply) -> Self {
        Self::Known { reply: Some(reply) }
    }
}

impl<F: Future<Output = Result<Reply, Error>>> Future for Answer<F> {
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AnswerProjection::Known { reply } => Poll::Ready(Ok(reply.take().expect("polled once after it is ready"))),
            AnswerProjection::Inner { future } => future.poll(cx),
        }
    }
}

pin_project! {
    /// The inner service's future, or that of something rare, for which a box is honest.
    #[project = EitherProjection]
    pub(crate) enum Either<F> {
        /// Passed on.
        Inner { #[pin] future: F },
        /// Something of the layer's own.
        Rare { future: CallFuture },
    }
}

impl<F: Future<Output = Result<Reply, Error>>> Future for Either<F> {
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            EitherProjection::Inner { future } => future.poll(cx),
            EitherProjection::Rare { future } => future.as_mut().poll(cx),
        }
    }
}
