//! Resource URIs and task ids in what comes back: clients see the public form, which they can use in their next call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use mcp_proxy_core::catalogue::{
    BackendIndex, created_task, localise_related_task, localise_result, localise_task_result, localise_task_status,
};
use mcp_proxy_core::json::{Params, Slot};
use mcp_proxy_core::names::Namespace;
use mcp_proxy_core::{
    Asked, Call, ClientHandle, ClientPort, Error, ErrorKind, Interim, Method, Reply, RpcError, SessionKey,
};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::backend::Own;
use crate::interest::Interest;

/// Makes resource URIs and task ids in replies public, and notes whose a new task is.
#[derive(Clone)]
pub(crate) struct LocaliseLayer {
    owner: Arc<Owner>,
}

/// The backend whose names they are.
struct Owner {
    index: BackendIndex,
    name: Arc<str>,
    namespace: Namespace,
    interest: Arc<Interest>,
}

impl LocaliseLayer {
    pub(crate) fn new(own: &Own<'_>, interest: &Arc<Interest>) -> Self {
        Self {
            owner: Arc::new(Owner {
                index: own.index,
                name: own.name.clone(),
                namespace: own.namespace.clone(),
                interest: interest.clone(),
            }),
        }
    }
}

impl<S> Layer<S> for LocaliseLayer {
    type Service = Localise<S>;

    fn layer(&self, inner: S) -> Localise<S> {
        Localise {
            inner,
            owner: self.owner.clone(),
        }
    }
}

/// The service of [`LocaliseLayer`].
#[derive(Clone)]
pub(crate) struct Localise<S> {
    inner: S,
    owner: Arc<Owner>,
}

impl<S: Service<Call, Response = Reply, Error = Error>> Service<Call> for Localise<S> {
    type Response = Reply;
    type Error = Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        let task = match call.method {
            Method::ToolsCall => call.params.text(Slot::Task).is_some() || call.context.declared.takes_tasks(),
            Method::TasksGet | Method::TasksResult | Method::TasksCancel | Method::TasksUpdate => true,
            _ => false,
        };
        let task = task.then(|| {
            call.client = ClientHandle::new(Arc::new(TaskPort {
                client: std::mem::take(&mut call.client),
                owner: self.owner.clone(),
            }));
            call.context.session.as_ref().map(|session| session.key)
        });
        let method = call.method.clone();
        ResponseFuture {
            inner: self.inner.call(call),
            method,
            task,
            owner: self.owner.clone(),
        }
    }
}

pin_project! {
    /// The future of [`Localise`].
    pub(crate) struct ResponseFuture<F> {
        #[pin]
        inner: F,
        method: Method,
        // Set when the call may be about a task: to the session of its client, if it has one.
        task: Option<Option<SessionKey>>,
        owner: Arc<Owner>,
    }
}

impl<F: Future<Output = Result<Reply, Error>>> Future for ResponseFuture<F> {
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let owner: &Owner = this.owner;
        Poll::Ready(match ready!(this.inner.poll(cx)) {
            Ok(Reply::Result(result)) => {
                let mut result = localise_result(this.method, result, &owner.namespace);
                if let Some(session) = *this.task {
                    if let (Method::ToolsCall, Some(session)) = (&*this.method, session)
                        && let Some(id) = created_task(&result)
                    {
                        owner.interest.own_task(session, owner.index, &id);
                    }
                    result = localise_task_result(this.method, result, &owner.name);
                }
                Ok(Reply::Result(result))
            }
            Ok(Reply::Error(error)) if !owner.namespace.is_empty() => {
                Ok(Reply::Error(localise_error(error, &owner.namespace)))
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

/// The client of a call about a task: what comes in between says which task it belongs to (2025-11-25).
struct TaskPort {
    client: ClientHandle,
    owner: Arc<Owner>,
}

impl ClientPort for TaskPort {
    fn notify(&self, mut message: Interim) -> bool {
        if message.method == Method::TaskStatus {
            localise_task_status(&mut message.params, &self.owner.name);
        } else {
            localise_related_task(&mut message.params, &self.owner.name);
        }
        self.client.notify(message)
    }

    fn ask(&self, method: Method, mut params: Params) -> Asked {
        localise_related_task(&mut params, &self.owner.name);
        self.client.ask(method, params).unwrap_or_else(|| {
            let gone = Error::new(ErrorKind::Cancelled, "there is no client to ask");
            Box::pin(std::future::ready(Err(gone)))
        })
    }
}
