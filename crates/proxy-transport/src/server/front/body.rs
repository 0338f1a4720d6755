//! [`FrontBody`]: what the front answers with. A whole text, the event stream of a call, or a session's own stream.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::Inner;
use super::answer::Answer;
use super::events::StreamEvents;
use super::job::Job;
use super::outbox;
use super::running::Step;
use super::session::Entry;
use super::stream::Reader;
use super::{sessionless, sse};

/// The body of a response of the [`Front`](super::Front).
///
/// Dropping the body of a running call does not cancel the call: it goes on for `session.resume`.
pub struct FrontBody(Kind);

enum Kind {
    Whole { answer: Answer, next: usize },
    Call(Box<CallEvents>),
    Stream(Box<StreamEvents>),
    Subscribed(Box<sessionless::Stream>),
    Conversation(Box<sse::Written>),
}

impl FrontBody {
    pub(super) fn empty() -> Self {
        Self::whole(Answer::default())
    }

    pub(super) fn whole(answer: Answer) -> Self {
        Self(Kind::Whole { answer, next: 0 })
    }

    /// The stream of a call; `first` is what has already come of it.
    pub(super) fn call(job: Job, first: Option<Step>, front: &Arc<Inner>) -> Self {
        let job = match job {
            Job::One(running) => match running.open_stream() {
                Some((stream, session)) => {
                    let reader = Reader::first(&stream);
                    let mut events = StreamEvents::new(reader, session, front, Some(running), true);
                    if let Some(Step::Done(answer)) = first {
                        events.end(answer);
                    }
                    return Self(Kind::Stream(Box::new(events)));
                }
                None => Job::One(running),
            },
            many @ Job::Many(_) => many,
        };
        let mut events = CallEvents {
            job: Some(job),
            ready: VecDeque::new(),
            silence: Silence::new(front.options.keep_alive),
        };
        if let Some(step) = first {
            events.take(step);
        }
        Self(Kind::Call(Box::new(events)))
    }

    /// A stream of a session's own, or the rest of any of its streams. `first`: nobody has read it before.
    pub(super) fn listen(reader: Reader, session: Arc<Entry>, front: &Arc<Inner>, first: bool) -> Self {
        Self(Kind::Stream(Box::new(StreamEvents::new(
            reader, session, front, None, first,
        ))))
    }

    /// The stream of a sessionless client that listens.
    pub(super) fn subscribed(stream: sessionless::Stream) -> Self {
        Self(Kind::Subscribed(Box::new(stream)))
    }

    /// The stream of a client over HTTP+SSE.
    pub(super) fn conversation(written: sse::Written) -> Self {
        Self(Kind::Conversation(Box::new(written)))
    }
}

impl From<Bytes> for FrontBody {
    fn from(text: Bytes) -> Self {
        Self::whole(Answer::text(text))
    }
}

impl Body for FrontBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut self.0 {
            Kind::Whole { answer, next } => {
                Poll::Ready(std::iter::from_fn(|| take(answer, next)).find(|p| !p.is_empty()))
            }
            Kind::Call(events) => events.poll_next(cx),
            Kind::Stream(events) => events.poll_next(cx),
            Kind::Subscribed(stream) => stream.poll_next(cx),
            Kind::Conversation(written) => written.poll_next(cx),
        };
        next.map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole { answer, next } => answer.parts.iter().skip(*next).all(Bytes::is_empty),
            Kind::Call(events) => events.job.is_none() && events.ready.is_empty(),
            Kind::Stream(_) | Kind::Subscribed(_) | Kind::Conversation(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole { answer, next } => {
                let left: usize = answer.parts.iter().skip(*next).map(Bytes::len).sum();
                SizeHint::with_exact(left as u64)
            }
            _ => SizeHint::default(),
        }
    }
}

impl std::fmt::Debug for FrontBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FrontBody")
    }
}

fn take(answer: &mut Answer, next: &mut usize) -> Option<Bytes> {
    let part = answer.parts.get_mut(*next)?;
    *next += 1;
    Some(std::mem::take(part))
}

/// The event stream of a call: interim messages, comments in silence, the answer, the end.
struct CallEvents {
    job: Option<Job>,
    ready: VecDeque<Bytes>,
    silence: Silence,
}

impl CallEvents {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.silence.broken();
                return Poll::Ready(Some(bytes));
            }
            let Some(job) = &mut self.job else {
                return Poll::Ready(None);
            };
            match job.poll(cx) {
                Poll::Ready(step) => self.take(step),
                Poll::Pending => return self.silence.poll(cx).map(Some),
            }
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Event(text) => self.ready.push_back(outbox::event(&text)),
            Step::Done(answer) => {
                // Ended before its answer is on the wire, so that the client may use the id again at once.
                self.job = None;
                match answer {
                    Some(answer) => self
                        .ready
                        .extend(answer.into_event().into_iter().filter(|part| !part.is_empty())),
                    // The specification wants no answer to a cancelled request; a comment says that this is the end.
                    None => self.ready.push_back(Bytes::from_static(b": cancelled\n\n")),
                }
            }
        }
    }
}

/// Measures silence and breaks it with a comment, so that nobody on the way takes the stream for dead.
pub(super) struct Silence {
    sleep: Pin<Box<Sleep>>,
    limit: Duration,
}

impl Silence {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep(limit)),
            limit,
        }
    }

    pub(super) fn broken(&mut self) {
        let next = tokio::time::Instant::now() + self.limit;
        self.sleep.as_mut().reset(next);
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        std::task::ready!(self.sleep.as_mut().poll(cx));
        self.broken();
        Poll::Ready(Bytes::from_static(b": keep-alive\n\n"))
    }
}
