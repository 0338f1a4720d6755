//! `logging/setLevel`: one call of a client, passed on to every backend that logs.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use mcp_proxy_core::catalogue::Feature;
use mcp_proxy_core::json::{RawJson, Slot};
use mcp_proxy_core::{Call, CallFuture, Error, LogLevel, Method, Reply, codes};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::{Layer, Service};

use super::CatalogueHandle;
use super::answer::{Answer, Either};
use super::route::Route;
use crate::interest::Interest;

/// How long backends have to take the level; the answer does not depend on them.
const PATIENCE: Duration = Duration::from_secs(2);

/// Passes a log level on to every backend that declared `logging`.
#[derive(Clone)]
pub(crate) struct LevelLayer {
    catalogue: CatalogueHandle,
    interest: Arc<Interest>,
    route: Route,
}

impl LevelLayer {
    pub(crate) fn new(catalogue: &CatalogueHandle, interest: &Arc<Interest>, route: Route) -> Self {
        Self {
            catalogue: catalogue.clone(),
            interest: interest.clone(),
            route,
        }
    }
}

impl<S> Layer<S> for LevelLayer {
    type Service = Level<S>;

    fn layer(&self, inner: S) -> Level<S> {
        Level {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`LevelLayer`].
#[derive(Clone)]
pub(crate) struct Level<S> {
    inner: S,
    layer: LevelLayer,
}

impl<S: Service<Call, Response = Reply, Error = Error>> Service<Call> for Level<S> {
    type Response = Reply;
    type Error = Error;
    type Future = Answer<Either<S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        if call.method != Method::SetLevel {
            return Answer::Inner {
                future: Either::Inner {
                    future: self.inner.call(call),
                },
            };
        }
        let Some(level) = call.params.string(Slot::Level).as_deref().and_then(LogLevel::parse) else {
            let levels = LogLevel::ALL.map(LogLevel::as_str).join(", ");
            let message = format!("`level` must be one of {levels}");
            return Answer::known(Reply::error(codes::INVALID_PARAMS, &message));
        };
        Answer::Inner {
            future: Either::Rare {
                future: self.layer.fan_out(call, level),
            },
        }
    }
}

impl LevelLayer {
    /// Tells all at once. A backend that refuses or is silent keeps its own level: the client has asked for less or more
    /// to read, nothing that could fail.
    ///
    /// Clients that share a backend share its level, so it is the least that any of them wants; the front keeps from
    /// each what it did not ask for.
    fn fan_out(&self, mut call: Call, level: LogLevel) -> CallFuture {
        let session = call.context.session.as_ref().map(|session| session.key);
        let least = self.interest.set_level(session, level);
        if least != level {
            call.params.set_string(Slot::Level, least.as_str());
        }
        let mut telling = JoinSet::new();
        for backend in self.catalogue.load().backends_with(Feature::Logging) {
            telling.spawn(timeout(PATIENCE, self.route.call_backend(backend, call.clone())));
        }
        Box::pin(async move {
            while telling.join_next().await.is_some() {}
            Ok(Reply::Result(RawJson::from_static("{}")))
        })
    }
}
