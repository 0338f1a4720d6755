//! POST: one JSON-RPC message (or a batch, in the one revision that has them) and its answer.
//!
//! The answer is JSON while nothing interim has come. With the first interim message, or after `keep_alive` of silence,
//! it becomes an event stream. The specification leaves that choice to the server for each request.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use mcp_proxy_core::json::{self as rpc, Message, Notification, RawJson, ScanError, ScanErrorKind, Slot};
use mcp_proxy_core::{Method, ProtocolVersion, codes};

use super::Inner;
use super::answer::Answer;
use super::body::FrontBody;
use super::caller::Caller;
use super::guard::{Accept, is_json};
use super::intake::collect;
use super::job::{Begun, Item, Job, begin};
use super::open::open;
use super::respond::{Refusal, empty, events, json};
use super::running::{Step, cancelled};
use super::sessionless;
use super::state::{Cause, Ways};

/// Most messages of a batch.
const MAX_BATCH: usize = 100;

/// Serves a POST.
pub(super) async fn post<B>(front: &Arc<Inner>, request: Request<B>) -> Response<FrontBody>
where
    B: Body<Data = Bytes>,
{
    let (head, body) = request.into_parts();
    let accept = Accept::of(&head.headers);
    if let Err(refusal) = negotiate(accept, is_json(&head.headers)) {
        return refusal.response(None);
    }
    let body = match collect(body, &head.headers, front.options.body_bytes).await {
        Ok(body) => body,
        Err(refusal) => return refusal.response(None),
    };
    let message = Message::scan(body.clone());
    if sessionless::claims(&head.headers, &message) {
        drop(body);
        return sessionless::post(front, head.headers, message, accept).await;
    }
    let job = match message {
        Ok(Message::Request(request)) if request.method == Method::Initialize => {
            return open(front, &head.headers, &request, accept);
        }
        Ok(Message::Request(request)) => {
            let caller = match Caller::find(front, &head.headers) {
                Ok(caller) => caller,
                Err(refusal) => return refusal.response(Some(&request.id)),
            };
            match begin(front, &caller, request, ways(accept)) {
                Ok(Begun::Now(answer)) => return answered(answer, accept),
                Ok(Begun::Later(running)) => Job::One(running),
                Err((refusal, id)) => return refusal.response(Some(&id)),
            }
        }
        Ok(Message::Notification(notification)) => {
            return match Caller::find(front, &head.headers) {
                Ok(caller) => {
                    notice(front, &caller, notification);
                    empty(StatusCode::ACCEPTED)
                }
                Err(refusal) => refusal.response(None),
            };
        }
        Ok(Message::Response(response)) => {
            return match Caller::find(front, &head.headers) {
                Ok(caller) => {
                    reply(front, &caller, response);
                    empty(StatusCode::ACCEPTED)
                }
                Err(refusal) => refusal.response(None),
            };
        }
        Err(error) if *error.kind() == ScanErrorKind::Batch => {
            match Caller::find(front, &head.headers).and_then(|caller| batch(front, &caller, body.clone())) {
                Ok(Some(job)) => job,
                Ok(None) => return empty(StatusCode::ACCEPTED),
                Err(refusal) => return refusal.response(None),
            }
        }
        Err(error) => return unreadable(&error).response(error.id()),
    };
    drop((head, body));
    finish(front, job, accept).await
}

/// Waits for the answer, or for the reason to begin a stream.
pub(super) async fn finish(front: &Arc<Inner>, mut job: Job, accept: Accept) -> Response<FrontBody> {
    let keep_alive = front.options.keep_alive;
    let mut first = None;
    if accept.json {
        let mut silence = pin!(tokio::time::sleep(keep_alive));
        first = poll_fn(|cx| match job.poll(cx) {
            Poll::Ready(step) => Poll::Ready(Some(step)),
            Poll::Pending if job.has_stream() => Poll::Ready(None),
            Poll::Pending if accept.stream => silence.as_mut().poll(cx).map(|()| None),
            Poll::Pending => Poll::Pending,
        })
        .await;
        match first {
            Some(Step::Done(Some(answer))) if !job.has_stream() => return json(answer),
            Some(Step::Done(None)) if !accept.stream => {
                return json(Answer::error(job.id(), &cancelled("its client asked for it")));
            }
            _ => {}
        }
    }
    events(FrontBody::call(job, first, front))
}

/// Where the messages of a session's call go.
fn ways(accept: Accept) -> Ways {
    match accept.stream {
        true => Ways::Stream,
        false => Ways::Closed,
    }
}

/// An answer that is there at once, in a form the client takes.
pub(super) fn answered(answer: Answer, accept: Accept) -> Response<FrontBody> {
    if accept.json {
        return json(answer);
    }
    let text = answer.into_event().concat();
    events(FrontBody::from(Bytes::from(text)))
}

fn negotiate(accept: Accept, is_json: bool) -> Result<(), Refusal> {
    if !is_json {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            codes::INVALID_REQUEST,
            "`Content-Type` must be application/json",
        ));
    }
    if !accept.json && !accept.stream {
        return Err(Refusal::new(
            StatusCode::NOT_ACCEPTABLE,
            codes::INVALID_REQUEST,
            "`Accept` must allow application/json or text/event-stream",
        ));
    }
    Ok(())
}

/// Acts on a notification of a client.
pub(super) fn notice(front: &Inner, caller: &Caller, notification: Notification) {
    let Some(session) = &caller.session else { return };
    match notification.method {
        Method::Cancelled => {
            let Some(id) = notification.params.text(Slot::RequestId) else {
                return;
            };
            match session.calls.find(id) {
                Some(call) => call.cancel(Cause::Client),
                // Some clients say so of a request of ours, when their user closes the form.
                None => session.asking.refuse(id),
            }
        }
        // About a question of a backend, whose patience is ours and fixed.
        Method::Progress => {}
        _ => front.app.notified(&session.session, notification),
    }
}

/// Takes a client's answer to what a backend asked. One that nobody waits for is dropped: it came late, or twice, or from
/// a session that was not asked.
pub(super) fn reply(front: &Inner, caller: &Caller, response: rpc::Response) {
    let id = response.id.and_then(|id| id.as_u64());
    let wanted = match (&caller.session, id) {
        (Some(session), Some(id)) => session.asking.settle(id, Ok(response.reply)),
        _ => false,
    };
    if !wanted {
        front.unwanted.fetch_add(1, Ordering::Relaxed);
    }
}

/// Starts the calls of a batch; `None` when it holds none.
pub(super) fn batch(front: &Arc<Inner>, caller: &Caller, body: Bytes) -> Result<Option<Job>, Refusal> {
    let bad = |message: String| Refusal::new(StatusCode::BAD_REQUEST, codes::INVALID_REQUEST, message);
    if caller.version != ProtocolVersion::V2025_03_26 {
        return Err(bad(format!("revision {} has no batches", caller.version)));
    }
    let messages = RawJson::parse(body).map_err(|error| unreadable(&error))?.elements();
    if messages.is_empty() || messages.len() > MAX_BATCH {
        return Err(bad(format!("a batch holds 1 to {MAX_BATCH} messages")));
    }
    let mut items = Vec::new();
    for message in messages {
        let item = match Message::scan(message.as_bytes().clone()) {
            Ok(Message::Notification(notification)) => {
                notice(front, caller, notification);
                continue;
            }
            Ok(Message::Response(response)) => {
                reply(front, caller, response);
                continue;
            }
            Ok(Message::Request(request)) if request.method == Method::Initialize => {
                let refusal = bad("`initialize` must not be part of a batch".to_owned());
                Item::Done(Some(refusal.answer(Some(&request.id))))
            }
            Ok(Message::Request(request)) => match begin(front, caller, request, Ways::Closed) {
                Ok(Begun::Now(answer)) => Item::Done(Some(answer)),
                Ok(Begun::Later(running)) => Item::Running(running),
                Err((refusal, id)) => Item::Done(Some(refusal.answer(Some(&id)))),
            },
            Err(error) => Item::Done(Some(unreadable(&error).answer(error.id()))),
        };
        items.push(item);
    }
    Ok((!items.is_empty()).then_some(Job::Many(items)))
}

/// The refusal of a text that is no message.
pub(super) fn unreadable(error: &ScanError) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, error.code(), error.to_string())
}
