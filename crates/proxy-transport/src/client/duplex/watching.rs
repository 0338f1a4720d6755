//! Which resources a session-era backend was asked to report updates of: `resources/subscribe` and its opposite, by
//! difference.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashSet;
use mcp_proxy_core::json::{Params, Slot};
use mcp_proxy_core::{Call, Error, Method, Reply};
use tokio::task::JoinSet;

use super::{Inner, call};

/// The resources that the backend was told of.
#[derive(Default)]
pub(super) struct Watching(Mutex<HashSet<Box<str>>>);

impl Watching {
    fn told(&self) -> MutexGuard<'_, HashSet<Box<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the subscriptions those of `wanted`.
///
/// # Cancel safety
/// What was answered counts; the rest is asked for by the next call of this.
pub(super) async fn subscribe(inner: &Arc<Inner>, wanted: Arc<[Box<str>]>) -> Result<(), Error> {
    let changes: Vec<(Method, Box<str>)> = {
        let told = inner.watching.told();
        let kept: HashSet<&str> = wanted.iter().map(AsRef::as_ref).collect();
        let new = wanted.iter().filter(|uri| !told.contains(*uri));
        let old = told.iter().filter(|uri| !kept.contains(uri.as_ref()));
        // The new first: where a backend counts, it does not stop and start again.
        new.map(|uri| (Method::ResourcesSubscribe, uri.clone()))
            .chain(old.map(|uri| (Method::ResourcesUnsubscribe, uri.clone())))
            .collect()
    };
    let mut running = JoinSet::new();
    let mut changes = changes.into_iter();
    loop {
        while running.len() < AT_ONCE
            && let Some((method, uri)) = changes.next()
        {
            running.spawn(tell(inner.clone(), method, uri));
        }
        match running.join_next().await {
            None => return Ok(()),
            Some(Ok(told)) => told?,
            Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

async fn tell(inner: Arc<Inner>, method: Method, uri: Box<str>) -> Result<(), Error> {
    let mut params = Params::absent();
    params.set_string(Slot::Uri, &uri);
    let reply = call::call(inner.clone(), Call::new(method.clone()).with_params(params)).await?;
    if let Reply::Error(error) = reply {
        // Asking again would be answered the same.
        tracing::warn!(
            backend = %inner.link.options.name, %method, code = error.code(),
            "the backend refused to report updates of a resource"
        );
    }
    match method {
        Method::ResourcesSubscribe => inner.watching.told().insert(uri),
        _ => inner.watching.told().remove(&uri),
    };
    Ok(())
}

/// Subscriptions that are asked for at the same time.
const AT_ONCE: usize = 16;
