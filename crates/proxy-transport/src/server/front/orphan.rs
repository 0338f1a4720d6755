//! Calls whose client has disconnected, or went on reading elsewhere: a task of their own drives them.
//!
//! A disconnect is no cancellation in this era (MCP, Transports, "Sending Messages to the Server"). Such a call has
//! `session.resume` to be taken up again; as long as somebody reads its stream it may run as long as any other.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use tokio::time::Instant;

use super::running::{Running, Step};
use super::state::CallState;

/// Most calls that go on without their client at a time, in the whole process; one more is cancelled instead.
const MAX_ORPHANS: usize = 10_000;

/// Lets the call go on by itself, if it does not yet. False when it cannot: nobody could resume it, it has ended, or there
/// are too many.
pub(super) fn hand_over(call: &Arc<CallState>) -> bool {
    adopt(call, true);
    call.is_handed()
}

/// The same, but not while it is being polled: by whoever asks, perhaps, and else by a response that is well alive.
pub(super) fn hand_over_unless_polled(call: &Arc<CallState>) {
    adopt(call, false);
}

fn adopt(call: &Arc<CallState>, wait: bool) {
    let front = call.front();
    let resume = front.options.session.resume;
    let (Ok(runtime), Some(session)) = (tokio::runtime::Handle::try_current(), call.session().cloned()) else {
        return;
    };
    // Resumption is off, or the call goes on by itself already.
    if resume.is_zero() || call.is_handed() {
        return;
    }
    if front.orphans.fetch_add(1, Ordering::Relaxed) >= MAX_ORPHANS {
        front.orphans.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let Some(mut orphan) = Running::orphan(call, wait) else {
        front.orphans.fetch_sub(1, Ordering::Relaxed);
        return;
    };
    let stream = call.stream().cloned();
    let began = Instant::now();
    let task = async move {
        let mut patience = pin!(tokio::time::sleep(resume));
        let answer = poll_fn(|cx| {
            if let Poll::Ready(Step::Done(answer)) = orphan.poll(cx) {
                return Poll::Ready(Some(answer));
            }
            let gone = match &stream {
                None => began,
                Some(stream) => match stream.watch(cx) {
                    None => return Poll::Pending,
                    Some(gone) => gone,
                },
            };
            if patience.deadline() != gone + resume {
                patience.as_mut().reset(gone + resume);
            }
            patience.as_mut().poll(cx).map(|()| None)
        })
        .await;
        drop(orphan);
        match (answer, stream) {
            (Some(answer), Some(stream)) => {
                stream.finish(answer);
                session.streams.call_ended(&stream, resume);
            }
            (Some(_), None) => {}
            (None, _) => tracing::debug!("a call whose client has disconnected was cancelled"),
        }
    };
    front.tasks.spawn_on(task, &runtime);
}
