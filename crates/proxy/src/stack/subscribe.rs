//! Subscriptions: which client wants to hear of which resource or task.
//!
//! Session-era clients name one resource at a time; a stream of `subscriptions/listen` (2026-07-28) brings all its wishes
//! at once and is told which of them are honoured. Either way backends are asked in the background for the union of what
//! their clients want. The answer waits for that, so that nothing is missed after it, but no longer than two seconds.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use mcp_proxy_core::catalogue::{BackendIndex, Catalogue, Feature};
use mcp_proxy_core::json::{RawJson, Slot};
use mcp_proxy_core::{Call, CallFuture, Error, Method, Reply, RpcError, SessionKey, codes};
use tokio::time::timeout;
use tower::{Layer, Service};

use super::CatalogueHandle;
use super::answer::{Answer, Either};
use super::resolve::{no_resource, string};
use crate::interest::{About, Interest, Refused, Settled, Watch};

/// Answers `resources/subscribe`, `resources/unsubscribe` and `subscriptions/listen`.
#[derive(Clone)]
pub(crate) struct SubscribeLayer {
    catalogue: CatalogueHandle,
    interest: Arc<Interest>,
    watch: Watch,
    settled: Settled,
}

impl SubscribeLayer {
    pub(crate) fn new(catalogue: &CatalogueHandle, interest: &Arc<Interest>, watch: &Watch, settled: &Settled) -> Self {
        Self {
            catalogue: catalogue.clone(),
            interest: interest.clone(),
            watch: watch.clone(),
            settled: settled.clone(),
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
    type Future = Answer<Either<S::Future>>;

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
                    future: Either::Inner {
                        future: self.inner.call(call),
                    },
                };
            }
        };
        match answer {
            Ok(taken) => Answer::Inner {
                future: Either::Rare {
                    future: self.layer.answer(taken),
                },
            },
            Err(error) => Answer::known(Reply::Error(error)),
        }
    }
}

/// A wish that was taken.
struct Taken {
    result: RawJson,
    /// Who has to be asked for something else now.
    backends: Vec<BackendIndex>,
}

impl SubscribeLayer {
    /// The answer, once the backends have been asked. What they say to it does not matter to the client: it is told of
    /// whatever they tell.
    fn answer(&self, taken: Taken) -> CallFuture {
        let asked: Vec<_> = taken
            .backends
            .into_iter()
            .map(|backend| (self.settled)(backend))
            .collect();
        Box::pin(async move {
            let all = async {
                for one in asked {
                    one.await;
                }
            };
            // A backend that takes longer has its updates before that missed, as one that is away.
            let _ = timeout(PATIENCE, all).await;
            Ok(Reply::Result(taken.result))
        })
    }

    fn subscribe(&self, call: &Call, begin: bool) -> Result<Taken, RpcError> {
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
        Ok(Taken {
            result: RawJson::from_static("{}"),
            // Nobody minds an update more.
            backends: if begin { vec![target.backend] } else { Vec::new() },
        })
    }

    /// The part of a filter that is honoured. What is left out was not understood, is offered by nobody, or is one wish
    /// too many.
    fn listen(&self, call: &Call) -> Result<Taken, RpcError> {
        let session = session(call)?;
        let filter = call.params.to_raw().and_then(|params| params.get("notifications"));
        let filter = filter.unwrap_or_else(|| RawJson::from_static("{}"));
        let catalogue = self.catalogue.load();
        let declared = catalogue.capabilities(call.context.version);
        let mut honoured = RawJson::from_static("{}");
        let mut backends = Vec::new();
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
                    target.is_some_and(|(backend, local)| {
                        let added = self.add(session, backend, about, &local).is_ok();
                        if added && !backends.contains(&backend) {
                            backends.push(backend);
                        }
                        added
                    })
                })
                .collect();
            if !taken.is_empty() {
                honoured = honoured.with(member, &RawJson::encode(&taken));
            }
        }
        Ok(Taken {
            result: RawJson::from_static("{}").with("notifications", &honoured),
            backends,
        })
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

/// How long a client waits for its backends to be asked.
const PATIENCE: Duration = Duration::from_secs(2);

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
