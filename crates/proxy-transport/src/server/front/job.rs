//! [`Job`]: what one POST waits for. One call, or those of a batch.

use std::task::{Context, Poll};

use mcp_proxy_core::json::{Request, RequestId, Slot};
use mcp_proxy_core::{LogLevel, Method, Reply, codes, json::RawJson};
use std::sync::Arc;

use http::StatusCode;

use super::Inner;
use super::answer::Answer;
use super::caller::{Caller, unknown_session};
use super::calls::NotEntered;
use super::respond::Refusal;
use super::running::{Running, Step};
use super::state::Ways;

/// What one POST waits for.
pub(super) enum Job {
    /// A call.
    One(Running),
    /// The calls of a batch; interim messages of theirs are dropped.
    Many(Vec<Item>),
}

/// One request of a batch.
pub(super) enum Item {
    /// It runs.
    Running(Running),
    /// It has its answer, or wants none any more.
    Done(Option<Answer>),
}

/// A request that was accepted.
pub(super) enum Begun {
    /// It is answered at once.
    Now(Answer),
    /// It runs.
    Later(Running),
}

/// Accepts a request other than `initialize`.
pub(super) fn begin(
    front: &Arc<Inner>,
    caller: &Caller,
    request: Request,
    ways: Ways,
) -> Result<Begun, (Refusal, RequestId)> {
    match &request.method {
        Method::Ping => {
            let pong = Reply::Result(RawJson::from_static("{}"));
            return Ok(Begun::Now(Answer::new(Some(&request.id), Ok(pong))));
        }
        method if method.as_str().starts_with("notifications/") => {
            let error = Reply::error(codes::METHOD_NOT_FOUND, "a notification has no id");
            return Ok(Begun::Now(Answer::new(Some(&request.id), Ok(error))));
        }
        _ => {}
    }
    let refuse = |status, code, message: &'static str| Refusal::new(status, code, message);
    if front.is_draining() {
        let refusal = refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            codes::OVERLOADED,
            "the proxy is shutting down",
        );
        return Err((refusal, request.id));
    }
    let session = caller.session.clone();
    if request.method == Method::SetLevel
        && let Some(session) = &session
        && let Some(level) = request.params.string(Slot::Level).as_deref().and_then(LogLevel::parse)
    {
        session.set_log_level(level);
    }
    Running::start(front, session, request, ways, caller.context())
        .map(Begun::Later)
        .map_err(|(why, id)| {
            let refusal = match why {
                NotEntered::Duplicate => refuse(
                    StatusCode::BAD_REQUEST,
                    codes::INVALID_REQUEST,
                    "a request of this id is still running in this session",
                ),
                NotEntered::Full => refuse(
                    StatusCode::OK,
                    codes::OVERLOADED,
                    "too many calls are running in this session",
                ),
                NotEntered::Closed => unknown_session(),
            };
            (refusal, id)
        })
}

impl Job {
    /// Goes on. After [`Step::Done`] nothing more comes.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        match self {
            Self::One(running) => running.poll(cx),
            Self::Many(items) => {
                let mut pending = false;
                for item in items.iter_mut() {
                    pending |= item.poll(cx).is_pending();
                }
                if pending {
                    return Poll::Pending;
                }
                Poll::Ready(Step::Done(join(items)))
            }
        }
    }

    /// Whether there are messages for its session's client, so that the response must become a stream.
    pub(super) fn has_stream(&self) -> bool {
        match self {
            Self::One(running) => running.call().stream().is_some(),
            Self::Many(_) => false,
        }
    }

    /// The id of the request, when it is one.
    pub(super) fn id(&self) -> Option<&RequestId> {
        match self {
            Self::One(running) => Some(running.id()),
            Self::Many(_) => None,
        }
    }
}

impl Item {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Self::Running(running) = self else {
                return Poll::Ready(());
            };
            match running.poll(cx) {
                Poll::Pending => return Poll::Pending,
                // The outbox of a batch is closed, so none comes.
                Poll::Ready(Step::Event(_)) => {}
                Poll::Ready(Step::Done(answer)) => *self = Self::Done(answer),
            }
        }
    }
}

/// The answers of a batch as an array; `None` when there is none.
fn join(items: &[Item]) -> Option<Answer> {
    let answers = || {
        items.iter().filter_map(|item| match item {
            Item::Done(answer) => answer.as_ref(),
            Item::Running(_) => None,
        })
    };
    let mut text = Vec::with_capacity(2 + answers().map(|answer| answer.len() + 1).sum::<usize>());
    for answer in answers() {
        text.push(if text.is_empty() { b'[' } else { b',' });
        answer.write(&mut text);
    }
    text.push(b']');
    (text.len() > 1).then(|| Answer::text(text))
}
