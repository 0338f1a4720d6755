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

use super::running::{CallState, Running, Step};

/// Most calls that go on without their client at a time, in the whole process; one more is cancelled instead.
const MAX_ORPHANS: usize = 10_000;

/// Lets the call go on by itself. False when it cannot: nobody could resume it, it has ended, or there are too many.
pub(super) fn hand_over(call: &Arc<CallState>) -> bool {
    let front = call.front();
    let resume = front.options.session.resume;
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return false;
    };
    // Without a session nobody could ever resume it.
    let Some(session) = call.session().cloned() else {
        return false;
    };
    if resume.is_zero() || !call.is_unfinished() {
        return false;
    }
    if front.orphans.fetch_add(1, Ordering::Relaxed) >= MAX_ORPHANS {
        front.orphans.fetch_sub(1, Ordering::Relaxed);
        return false;
    }
    let Some(mut orphan) = Running::orphan(call) else {
        // It goes on by itself already.
        front.orphans.fetch_sub(1, Ordering::Relaxed);
        return true;
    };
    let (front, stream) = (front.clone(), call.stream().cloned());
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
            (None, stream) => {
                tracing::debug!("a call whose client has disconnected was cancelled");
                stream.inspect(|stream| session.streams.forget(stream));
            }
        }
    };
    let tasks = &call.front().tasks;
    tasks.spawn_on(task, &runtime);
    drop(front);
    true
}
