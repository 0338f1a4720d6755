//! Subscriptions: which client wants to hear of which resource or task.
//!
//! Session-era clients name one resource at a time; a stream of `subscriptions/listen` (2026-07-28) brings all its wishes
//! at once and is told which of them are honoured. Either way backends are asked in the background for the union of what
//! their clients want, so no backend can delay the answer.

use std::sync::Arc;
use std::task::{Context, Poll};

use mcp_proxy_core::catalogue::{BackendIndex, Catalogue, Feature};
use mcp_proxy_core::json::{RawJson, Slot};
use mcp_proxy_core::{Call, Error, Method, Reply, RpcError, SessionKey, codes};
use tower::{Layer, Service};

use super::CatalogueHandle;
use super::answer::Answer;
use super::resolve::{no_resource, string};
use crate::interest::{About, Interest, Refused, Watch};

/// Answers `resources/subscribe`, `resources/unsubscribe` and `subscriptions/listen`.
#[derive(Clone)]
pub(crate) struct SubscribeLayer {
    catalogue: CatalogueHandle,
    interest: Arc<Interest>,
    watch: Watch,
}

impl SubscribeLayer {
    pub(crate) fn new(catalogue: &CatalogueHandle, interest: &Arc<Interest>, watch: &Watch) -> Self {
        Self {
            catalogue: catalogue.clone(),
            interest: interest.clone(),
            watch: watch.clone(),
        }
    }
}

impl<S> Layer<S> for SubscribeLayer {
    type Service = Subscribe<S>;

    fn layer(&self, inner: S) -> Subscribe<S> {
        Subscribe {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`SubscribeLayer`].
#[derive(Clone)]
pub(crate) struct Subscribe<S> {
    inner: S,
    layer: SubscribeLayer,
}

impl<S: Service<Call, Response = Reply, Error = Error>> Service<Call> for Subscribe<S> {
    type Response = Reply;
    type Error = Error;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let answer = match call.method {
            Method::ResourcesSubscribe => self.layer.subscribe(&call, true),
            Method::ResourcesUnsubscribe => self.layer.subscribe(&call, false),
            Method::SubscriptionsListen => self.layer.listen(&call),
            _ => {
                return Answer::Inner {
                    future: self.inner.call(call),
                };
            }
        };
        Answer::known(answer.map_or_else(Reply::Error, Reply::Result))
    }
}

impl SubscribeLayer {
    fn subscribe(&self, call: &Call, begin: bool) -> Result<RawJson, RpcError> {
        let catalogue = self.catalogue.load();
        let nobody = catalogue.backends_with(Feature::Subscriptions).next().is_none();
        if call.context.version.is_sessionless() || nobody {
            return Err(RpcError::new(codes::METHOD_NOT_FOUND, "method not found"));
        }
        let session = session(call)?;
        let uri = string(call, Slot::Uri, "uri")?;
        let target = catalogue.resource(&uri).ok_or_else(|| no_resource(&uri))?;
        if !catalogue.offers(target.backend, Feature::Subscriptions) {
            let message = "the backend of this resource takes no subscriptions";
            return Err(RpcError::new(codes::METHOD_NOT_FOUND, message));
        }
        if begin {
            self.add(session, target.backend, About::Resource, &target.local)?;
        } else {
            self.interest
                .remove(session, target.backend, About::Resource, &target.local, &self.watch);
        }
        Ok(RawJson::from_static("{}"))
    }

    /// The part of a filter that is honoured. What is left out was not understood, is offered by nobody, or is one wish
    /// too many.
    fn listen(&self, call: &Call) -> Result<RawJson, RpcError> {
        let session = session(call)?;
        let filter = call.params.to_raw().and_then(|params| params.get("notifications"));
        let filter = filter.unwrap_or_else(|| RawJson::from_static("{}"));
        let catalogue = self.catalogue.load();
        let declared = catalogue.capabilities(call.context.version);
        let mut honoured = RawJson::from_static("{}");
        for (member, feature) in LISTS {
            if filter.get(member).is_some_and(|asked| asked.as_str() == "true") && declared.get(feature).is_some() {
                honoured = honoured.with(member, &RawJson::from_static("true"));
            }
        }
        for (member, about) in [("resourceSubscriptions", About::Resource), ("taskIds", About::Task)] {
            let wishes = filter.get(member).map(|wishes| wishes.elements()).unwrap_or_default();
            let taken: Vec<RawJson> = wishes
                .into_iter()
                .filter(|wish| {
                    let name = wish.string();
                    let target = name.as_deref().and_then(|name| target(&catalogue, about, name));
                    target.is_some_and(|(backend, local)| self.add(session, backend, about, &local).is_ok())
                })
                .collect();
            if !taken.is_empty() {
                honoured = honoured.with(member, &RawJson::encode(&taken));
            }
        }
        Ok(RawJson::from_static("{}").with("notifications", &honoured))
    }

    fn add(&self, session: SessionKey, backend: BackendIndex, about: About, local: &str) -> Result<(), RpcError> {
        self.interest
            .add(session, backend, about, local, &self.watch)
            .map_err(|why| match why {
                Refused::Ended => RpcError::new(codes::INVALID_REQUEST, "this session has ended"),
                Refused::Full => RpcError::with_data(
                    codes::OVERLOADED,
                    "too many subscriptions",
                    &serde_json::json!({ "reason": "overloaded" }),
                ),
            })
    }
}

/// Members of a filter that stand for a list, and the capability that a change of the list belongs to.
const LISTS: [(&str, &str); 3] = [
    ("toolsListChanged", "tools"),
    ("promptsListChanged", "prompts"),
    ("resourcesListChanged", "resources"),
];

/// Whose it is, if its owner tells of changes.
fn target(catalogue: &Catalogue, about: About, public: &str) -> Option<(BackendIndex, String)> {
    let (backend, local, feature) = match about {
        About::Resource => {
            let target = catalogue.resource(public)?;
            (target.backend, target.local, Feature::Subscriptions)
        }
        About::Task => {
            let (backend, local) = catalogue.task(public)?;
            (backend, local.to_owned(), Feature::Tasks)
        }
    };
    catalogue.offers(backend, feature).then_some((backend, local))
}

fn session(call: &Call) -> Result<SessionKey, RpcError> {
    let session = call.context.session.as_ref().map(|session| session.key);
    session.ok_or_else(|| RpcError::new(codes::INVALID_REQUEST, "a subscription needs a session"))
}
