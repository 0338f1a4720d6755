//! Tools that can only be called as tasks (2025-11-25), for clients whose revision has no such tasks.
//!
//! The call is made as a task, and its result fetched by `tasks/result`, which waits for it. The client sees a call that
//! takes its time. Dropping the call cancels the task.

use std::task::{Context, Poll};
use std::time::Duration;

use mcp_proxy_core::catalogue::{TaskSupport, created_task, without_related_task};
use mcp_proxy_core::json::{Params, RawJson, Slot};
use mcp_proxy_core::{Call, ClientHandle, Error, ErrorKind, Method, ProtocolVersion, Reply};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tower::{Layer, Service, ServiceExt};

use super::answer::Either;

/// Longest time such a task may take.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// How long telling the backend that nobody wants the result may take.
const CANCEL: Duration = Duration::from_secs(10);

/// Calls tools as tasks where they insist and the client cannot.
#[derive(Clone)]
pub(crate) struct RunTaskLayer {
    errands: TaskTracker,
}

impl RunTaskLayer {
    /// Cancellations that outlive their calls run in `errands`.
    pub(crate) fn new(errands: &TaskTracker) -> Self {
        Self {
            errands: errands.clone(),
        }
    }
}

impl<S> Layer<S> for RunTaskLayer {
    type Service = RunTask<S>;

    fn layer(&self, inner: S) -> RunTask<S> {
        RunTask {
            inner,
            errands: self.errands.clone(),
        }
    }
}

/// The service of [`RunTaskLayer`].
#[derive(Clone)]
pub(crate) struct RunTask<S> {
    inner: S,
    errands: TaskTracker,
}

impl<S> Service<Call> for RunTask<S>
where
    S: Service<Call, Response = Reply, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Reply;
    type Error = Error;
    type Future = Either<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        if !must_be_task(&call) {
            return Either::Inner {
                future: self.inner.call(call),
            };
        }
        // The one that is ready goes along; its clone is made ready for whoever comes next.
        let clone = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, clone);
        Either::Rare {
            future: Box::pin(run(ready, self.errands.clone(), call)),
        }
    }
}

/// A client of 2025-11-25 can call it as a task, and does or is told to.
fn must_be_task(call: &Call) -> bool {
    call.method == Method::ToolsCall
        && call
            .item
            .as_deref()
            .is_some_and(|item| item.task_support == Some(TaskSupport::Required))
        && call.context.version != ProtocolVersion::V2025_11_25
}

async fn run<S>(mut service: S, errands: TaskTracker, mut call: Call) -> Result<Reply, Error>
where
    S: Service<Call, Response = Reply, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
{
    let mut about = Call::new(Method::TasksResult);
    about.context = call.context.clone();
    about.client = call.client.clone();
    about.backend = call.backend;
    call.params.set(Slot::Task, &RawJson::from_static("{}"));
    let begun = service.call(call).await?;
    let Some(id) = begun.result().and_then(created_task) else {
        // The backend has done it at once, or refused.
        return Ok(begun);
    };
    about.params = Params::absent();
    about.params.set_string(Slot::TaskId, &id);
    let guard = CancelGuard {
        service: Some(service.clone()),
        errands,
        about: about.clone(),
    };
    let reply = timeout(LONGEST, service.oneshot(about)).await.unwrap_or_else(|_| {
        let message = "the backend's task took longer than this proxy waits";
        Err(Error::new(ErrorKind::Timeout { sent: true }, message))
    })?;
    guard.disarm();
    Ok(match reply {
        Reply::Result(result) => Reply::Result(without_related_task(&result)),
        error => error,
    })
}

/// Cancels the task when dropped.
struct CancelGuard<S>
where
    S: Service<Call, Response = Reply, Error = Error> + Send + 'static,
    S::Future: Send,
{
    service: Option<S>,
    errands: TaskTracker,
    about: Call,
}

impl<S> CancelGuard<S>
where
    S: Service<Call, Response = Reply, Error = Error> + Send + 'static,
    S::Future: Send,
{
    fn disarm(mut self) {
        self.service = None;
    }
}

impl<S> Drop for CancelGuard<S>
where
    S: Service<Call, Response = Reply, Error = Error> + Send + 'static,
    S::Future: Send,
{
    fn drop(&mut self) {
        let (Some(service), Ok(runtime)) = (self.service.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let mut call = self.about.clone();
        call.method = Method::TasksCancel;
        call.client = ClientHandle::none();
        let cancel = async move {
            // Best effort: the client is gone, and the backend ends the task by its own limits.
            let _ = timeout(CANCEL, service.oneshot(call)).await;
        };
        self.errands.spawn_on(cancel, &runtime);
    }
}
