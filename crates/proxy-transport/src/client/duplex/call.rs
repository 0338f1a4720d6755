//! One call over a connection: an id, a place in the queue, the wait for its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mcp_proxy_core::json::{RawJson, Slot};
use mcp_proxy_core::{Call, Error, ErrorKind, Reply};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::Inner;
use super::callers::Caller;
use super::link::{Link, does_not_read, not_open};
use super::waiting::{Outbound, Waiting};
use super::wire;

/// Makes a call. `inner` keeps the connection alive until the answer is there.
pub(super) async fn call(inner: Arc<Inner>, call: Call) -> Result<Reply, Error> {
    let link = &inner.link;
    send(link, call)
        .await
        .map_err(|error| error.backend(link.options.name.clone()))
}

async fn send(link: &Arc<Link>, mut call: Call) -> Result<Reply, Error> {
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
    let waiting = Waiting::new(call.client, caller, token);
    let mut waiter = Waiter {
        answer: link.register(id, waiting.clone())?,
        link,
        id,
        call: waiting.clone(),
        // The specification forbids to cancel the handshake; whoever gives it up closes the connection.
        cancellable: call.method != mcp_proxy_core::Method::Initialize,
    };
    room.send(Outbound {
        text: wire::request(id, &call.method, &call.params),
        call: Some(waiting),
    });
    waiter.answer().await
}

/// Waits for the answer. Dropped before it came, it withdraws the request, or tells the backend.
struct Waiter<'a> {
    link: &'a Arc<Link>,
    id: u64,
    call: Arc<Waiting>,
    answer: oneshot::Receiver<Result<Reply, Error>>,
    cancellable: bool,
}

impl Waiter<'_> {
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
