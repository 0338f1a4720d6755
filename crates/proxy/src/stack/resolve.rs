//! From public names to a backend and its own names: the line below which nobody knows how names look outside.

use std::sync::Arc;
use std::task::{Context, Poll};

use mcp_proxy_core::catalogue::{Catalogue, Feature, Item, ResourceTarget};
use mcp_proxy_core::json::{RawJson, Slot};
use mcp_proxy_core::{Call, Error, Method, ProtocolVersion, Reply, RpcError, codes};
use serde_json::json;
use tower::{Layer, Service};

use super::CatalogueHandle;
use super::answer::Answer;

/// Resolves names through the catalogue; what it does not know is refused without asking any backend.
#[derive(Clone)]
pub(crate) struct ResolveLayer {
    catalogue: CatalogueHandle,
}

impl ResolveLayer {
    pub(crate) fn new(catalogue: &CatalogueHandle) -> Self {
        Self {
            catalogue: catalogue.clone(),
        }
    }
}

impl<S> Layer<S> for ResolveLayer {
    type Service = Resolve<S>;

    fn layer(&self, inner: S) -> Resolve<S> {
        Resolve {
            inner,
            catalogue: self.catalogue.clone(),
        }
    }
}

/// The service of [`ResolveLayer`].
#[derive(Clone)]
pub(crate) struct Resolve<S> {
    inner: S,
    catalogue: CatalogueHandle,
}

impl<S: Service<Call, Response = Reply, Error = Error>> Service<Call> for Resolve<S> {
    type Response = Reply;
    type Error = Error;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        match resolve(&self.catalogue.load(), &mut call) {
            Ok(()) => Answer::Inner {
                future: self.inner.call(call),
            },
            Err(error) => Answer::known(Reply::Error(error)),
        }
    }
}

fn resolve(catalogue: &Catalogue, call: &mut Call) -> Result<(), RpcError> {
    match call.method {
        Method::ToolsCall => {
            let name = string(call, Slot::Name, "name")?;
            let item = catalogue.tool(&name).or_else(|| catalogue.page_tool(&name));
            let item = item.ok_or_else(|| unknown("tool", &name))?;
            to_item(call, Slot::Name, item);
        }
        Method::PromptsGet => {
            let name = string(call, Slot::Name, "name")?;
            let item = catalogue.prompt(&name).ok_or_else(|| unknown("prompt", &name))?;
            to_item(call, Slot::Name, item);
        }
        Method::ResourcesRead => {
            let uri = string(call, Slot::Uri, "uri")?;
            let target = catalogue.resource(&uri).ok_or_else(|| no_resource(&uri))?;
            to_target(call, Slot::Uri, target);
        }
        Method::Complete => complete(catalogue, call)?,
        Method::TasksGet | Method::TasksResult | Method::TasksCancel | Method::TasksUpdate => task(catalogue, call)?,
        // What nobody here has a rule for can only be meant for a backend whose names are nobody's but its own.
        Method::Other(_) if catalogue.bare().is_some() => call.backend = catalogue.bare(),
        _ => return Err(unknown_method()),
    }
    Ok(())
}

/// A task belongs to the backend that its id names. Each era has tasks of its own, and only those that a client and the
/// backend both know are found.
fn task(catalogue: &Catalogue, call: &mut Call) -> Result<(), RpcError> {
    let version = call.context.version;
    let feature = if version.is_sessionless() {
        Feature::Tasks
    } else {
        Feature::SessionTasks
    };
    let known = match call.method {
        Method::TasksUpdate => version.is_sessionless(),
        Method::TasksResult => !version.is_sessionless(),
        _ => true,
    };
    if !known || version < ProtocolVersion::V2025_11_25 || catalogue.backends_with(feature).next().is_none() {
        return Err(unknown_method());
    }
    let id = string(call, Slot::TaskId, "taskId")?;
    let found = catalogue.task(&id);
    let (backend, local) = found
        .filter(|(backend, _)| catalogue.offers(*backend, feature))
        .ok_or_else(|| unknown("task", &id))?;
    call.params.set_string(Slot::TaskId, local);
    call.backend = Some(backend);
    Ok(())
}

fn complete(catalogue: &Catalogue, call: &mut Call) -> Result<(), RpcError> {
    let kind = call.params.value(Slot::Ref).and_then(|reference| reference.get("type"));
    let kind = kind.as_ref().and_then(RawJson::string);
    if kind.as_deref() == Some("ref/resource") {
        let uri = string(call, Slot::RefUri, "ref.uri")?;
        let target = catalogue
            .template(&uri)
            .ok_or_else(|| unknown("resource template", &uri))?;
        to_target(call, Slot::RefUri, target);
    } else if kind.as_deref() == Some("ref/prompt") {
        let name = string(call, Slot::RefName, "ref.name")?;
        let item = catalogue.prompt(&name).ok_or_else(|| unknown("prompt", &name))?;
        to_item(call, Slot::RefName, item);
    } else {
        let message = "`ref.type` must be ref/prompt or ref/resource";
        return Err(RpcError::new(codes::INVALID_PARAMS, message));
    }
    Ok(())
}

fn to_item(call: &mut Call, slot: Slot, item: &Arc<Item>) {
    // Most often the text differs by the namespace; without one nothing is spliced at all.
    if item.public != item.local {
        call.params.set(slot, &item.local_json);
    }
    call.backend = Some(item.backend);
    call.item = Some(item.clone());
}

fn to_target(call: &mut Call, slot: Slot, target: ResourceTarget) {
    match &target.item {
        Some(item) => call.params.set(slot, &item.local_json),
        None => call.params.set(slot, &RawJson::encode(&target.local)),
    }
    call.backend = Some(target.backend);
    call.item = target.item;
}

/// A member that must be there and a string. Owned, because the call is changed next.
pub(super) fn string(call: &Call, slot: Slot, name: &str) -> Result<String, RpcError> {
    call.params
        .string(slot)
        .map(|text| text.into_owned())
        .ok_or_else(|| RpcError::new(codes::INVALID_PARAMS, &format!("`{name}` is missing or no string")))
}

fn unknown_method() -> RpcError {
    RpcError::new(codes::METHOD_NOT_FOUND, "method not found")
}

/// The same words for what is absent and, once there are policies, for what is forbidden.
fn unknown(what: &str, name: &str) -> RpcError {
    RpcError::new(codes::INVALID_PARAMS, &format!("unknown {what}: {}", shortened(name)))
}

pub(super) fn no_resource(uri: &str) -> RpcError {
    RpcError::with_data(
        codes::RESOURCE_NOT_FOUND,
        "resource not found",
        &json!({ "uri": shortened(uri) }),
    )
}

/// A client's own words, echoed within reason.
fn shortened(name: &str) -> String {
    const CHARS: usize = 256;
    if name.chars().nth(CHARS).is_none() {
        name.to_owned()
    } else {
        name.chars().take(CHARS).chain(['…']).collect()
    }
}
