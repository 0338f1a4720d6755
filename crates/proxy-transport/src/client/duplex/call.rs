//! One call over a connection: an id, a place in the queue, the wait for its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mcp_proxy_core::json::{RawJson, Slot};
use mcp_proxy_core::{Call, Error, ErrorKind, LogLevel, Method, Reply};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::Inner;
use super::callers::Caller;
use super::level;
use super::link::{Era, Link, does_not_read, not_open};
use super::waiting::{Outbound, Waiting};
use super::wire;
use crate::client::sessionless::{Manner, rounds};

/// Makes a call. `inner` keeps the connection alive until the answer is there.
pub(super) async fn call(inner: Arc<Inner>, call: Call) -> Result<Reply, Error> {
    let link = &inner.link;
    let made = match link.era() {
        Some(Era::Sessionless(manner)) => Box::pin(in_rounds(link, manner, &call)).await,
        Some(Era::Session { logs: true }) => {
            let call = levelled(link, call).await;
            send(link, call).await
        }
        _ => send(link, call).await,
    };
    made.map_err(|error| error.backend(link.options.name.clone()))
}

/// A call to a backend to which every request has to say everything, and which asks by its result.
async fn in_rounds(link: &Arc<Link>, manner: Manner, call: &Call) -> Result<Reply, Error> {
    let round = |params| {
        let call = Call { params, ..call.clone() };
        send(link, call)
    };
    rounds::converse(manner, call, round).await
}

/// Sees to what the backend logs, where the call has to do with that.
async fn levelled(link: &Arc<Link>, mut call: Call) -> Call {
    if let Some(wanted) = call.context.log_level
        && call.context.version.is_sessionless()
    {
        Box::pin(level::raise(link, wanted)).await;
    } else if call.method == Method::SetLevel
        && let Some(wanted) = call
            .params
            .string(Slot::Level)
            .and_then(|level| LogLevel::parse(&level))
        && let Some(more) = link.level.set(wanted)
    {
        call.params.set_string(Slot::Level, more.as_str());
    }
    call
}

/// Sends one request and waits for its answer.
pub(super) async fn send(link: &Arc<Link>, call: Call) -> Result<Reply, Error> {
    let mut waiter = begin(link, call, |_| {}).await?;
    waiter.answer().await
}

/// Sends one request; `about_to` hears of its id before.
pub(super) async fn begin(link: &Arc<Link>, mut call: Call, about_to: impl FnOnce(u64)) -> Result<Waiter<'_>, Error> {
    if !link.is_open() {
        return Err(not_open());
    }
    let room = timeout(link.options.idle_timeout, link.requests.reserve())
        .await
        .map_err(|_| does_not_read())?
        .map_err(|_| not_open())?;
    let id = link.options.ids.fetch_add(1, Ordering::Relaxed);
    let token = call.params.value(Slot::ProgressToken).map(|token| token.detached());
    if token.is_some() {
        call.params.set(Slot::ProgressToken, &RawJson::encode(&id));
    }
    let caller = Caller::of(&call);
    let lasts = call.method == Method::SubscriptionsListen;
    let waiting = Waiting::new(call.client, caller, token, lasts);
    let waiter = Waiter {
        answer: link.register(id, waiting.clone())?,
        link,
        id,
        call: waiting.clone(),
        // The specification forbids to cancel the handshake; whoever gives it up closes the connection. A backend that
        // does not know what it was asked first would not know what is cancelled either.
        cancellable: !matches!(call.method, Method::Initialize | Method::Discover),
    };
    about_to(id);
    room.send(Outbound {
        text: wire::request(id, &call.method, &call.params),
        call: Some(waiting),
    });
    Ok(waiter)
}

/// Waits for the answer. Dropped before it came, it withdraws the request, or tells the backend.
pub(super) struct Waiter<'a> {
    link: &'a Arc<Link>,
    id: u64,
    call: Arc<Waiting>,
    answer: oneshot::Receiver<Result<Reply, Error>>,
    cancellable: bool,
}

impl Waiter<'_> {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Waits for the answer, however long the backend says nothing.
    pub(super) async fn end(&mut self) -> Result<Reply, Error> {
        (&mut self.answer).await.unwrap_or_else(|_| Err(not_open()))
    }

    async fn answer(&mut self) -> Result<Reply, Error> {
        let limit = self.link.options.idle_timeout;
        loop {
            let due = self.call.last_heard() + limit;
            match timeout_at(due, &mut self.answer).await {
                Ok(answer) => return answer.unwrap_or_else(|_| Err(not_open())),
                Err(_) if self.call.last_heard() + limit > Instant::now() => {}
                // Its client is slow, not the backend.
                Err(_) if self.link.is_asking(self.id) => self.call.hear(),
                Err(_) => {
                    let sent = self.call.was_taken();
                    let message = format!("the backend said nothing for {} s", limit.as_secs_f64());
                    return Err(Error::new(ErrorKind::Timeout { sent }, message));
                }
            }
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if self.link.give_up(self.id) && self.cancellable {
            self.link.cancel(self.id);
        }
    }
}
