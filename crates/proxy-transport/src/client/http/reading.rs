//! Reading a response: which kind it is, and the answer in it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{StatusCode, response};
use mcp_proxy_core::json::{Message, RawJson, Response, ScanErrorKind};
use mcp_proxy_core::{Error, ErrorKind, Reply};

use super::core::{Core, EVENT_STREAM, JSON};
use super::interim::Relay;
use super::patience::Patience;
use super::pool::Flow;
use super::sse::Parser;
use super::status;

/// What a response is.
pub(super) enum Kind {
    /// One message.
    Json,
    /// A stream of messages.
    Events,
    /// The backend does not know the session.
    SessionGone,
    /// No answer, but perhaps an error in a refusal.
    Other,
}

/// A response being read.
pub(super) struct Reading<'a> {
    pub(super) core: &'a Arc<Core>,
    pub(super) id: u64,
    pub(super) flow: Flow,
    pub(super) patience: Pin<&'a mut Patience>,
}

impl Reading<'_> {
    pub(super) fn kind(&self, head: &response::Parts, in_session: bool) -> Kind {
        match head.status {
            StatusCode::OK => match status::media_type(&head.headers) {
                Some(kind) if kind.eq_ignore_ascii_case(EVENT_STREAM) => Kind::Events,
                Some(kind) if !kind.eq_ignore_ascii_case(JSON) => Kind::Other,
                _ => Kind::Json,
            },
            StatusCode::NOT_FOUND if in_session => Kind::SessionGone,
            _ => Kind::Other,
        }
    }

    pub(super) async fn json(mut self) -> Result<Reply, Error> {
        let limit = self.core.max_bytes;
        let body = self.collect(limit).await?;
        self.flow.finish(&self.core.pool);
        match Message::scan(body) {
            Ok(Message::Response(response)) if is_for(&response, self.id) => Ok(response.reply),
            Ok(_) => Err(Error::new(
                ErrorKind::ServerFault,
                "the backend answered something that was not asked",
            )),
            Err(error) => Err(malformed(error)),
        }
    }

    pub(super) async fn events(mut self, mut relay: Relay<'_>) -> Result<Reply, Error> {
        let mut parser = Parser::new(self.core.max_bytes);
        loop {
            while let Some(data) = parser.next().map_err(malformed)? {
                if let Some(reply) = self.event(small(data), &mut relay)? {
                    release(self.core, self.flow);
                    return Ok(reply);
                }
            }
            match self.chunk(&mut relay).await? {
                Some(Ok(chunk)) => parser.feed(chunk),
                // Boxed, since it is rare and would double every call's future.
                Some(Err(cause)) => Box::pin(self.resume(&mut relay, &mut parser, lost(cause))).await?,
                None => Box::pin(self.resume(&mut relay, &mut parser, unfinished())).await?,
            }
        }
    }

    /// The next piece of the stream. Open questions go on meanwhile, and while the client thinks about one, the backend
    /// is not silent.
    async fn chunk(&mut self, relay: &mut Relay<'_>) -> Result<Option<io::Result<Bytes>>, Error> {
        let flow = &mut self.flow;
        let chunk = beside(&mut self.patience, relay, poll_fn(|cx| flow.poll_chunk(cx))).await?;
        if let Some(Ok(_)) = chunk {
            self.patience.as_mut().hear();
        }
        Ok(chunk)
    }

    /// Takes one event; gives the answer if it was there.
    fn event(&self, data: Bytes, relay: &mut Relay<'_>) -> Result<Option<Reply>, Error> {
        match Message::scan(data.clone()) {
            Ok(message) => Ok(self.message(message, relay)),
            // Revision 2025-03-26 lets a server put several messages into one array.
            Err(error) if *error.kind() == ScanErrorKind::Batch && data.len() <= SMALL_EVENT => {
                let mut answer = None;
                for element in RawJson::parse(data).map_err(malformed)?.elements() {
                    let message = Message::scan(element.as_bytes().clone()).map_err(malformed)?;
                    answer = self.message(message, relay).or(answer);
                }
                Ok(answer)
            }
            Err(error) => Err(malformed(error)),
        }
    }

    fn message(&self, message: Message, relay: &mut Relay<'_>) -> Option<Reply> {
        match message {
            Message::Response(response) if is_for(&response, self.id) => return Some(response.reply),
            Message::Response(_) => self.core.drop_message(),
            Message::Notification(notification) => relay.notification(notification),
            Message::Request(request) => relay.request(request),
        }
        None
    }

    /// Any other status than 200. A JSON-RPC error in it is the answer, if it says so by its id.
    pub(super) async fn refusal(mut self, head: &response::Parts) -> Result<Reply, Error> {
        let judged = status::judge(head);
        if judged.kind() != ErrorKind::Refused {
            self.skip();
            return Err(judged);
        }
        // The status has said enough; the body only adds to it, so it gets little room and little time.
        let Ok(Ok(body)) = tokio::time::timeout(REFUSAL_TIME, self.collect(REFUSAL_BYTES)).await else {
            return Err(judged);
        };
        self.flow.finish(&self.core.pool);
        match Message::scan(body.clone()) {
            Ok(Message::Response(response)) if is_for(&response, self.id) => match response.reply {
                reply @ Reply::Error(_) => Ok(reply),
                Reply::Result(_) => Err(judged),
            },
            _ => Err(judged.caused_by(status::excerpt(head.status, &body))),
        }
    }

    pub(super) async fn collect(&mut self, limit: usize) -> Result<Bytes, Error> {
        let too_large = || {
            Error::new(ErrorKind::ServerFault, "the backend's answer is too large")
                .caused_by(format!("more than {limit} bytes"))
        };
        let announced = self.flow.exact_len();
        if announced.is_some_and(|len| len > limit as u64) {
            return Err(too_large());
        }
        let Some(first) = self.patience.as_mut().chunk(&mut self.flow).await? else {
            return Ok(Bytes::new());
        };
        let first = first.map_err(lost)?;
        if self.flow.is_at_end() && first.len() <= limit {
            return Ok(first);
        }
        // Room for what was announced, but not for what was only announced.
        let expected = announced.map_or(first.len() * 2, |len| usize::try_from(len).unwrap_or(limit));
        let mut body = BytesMut::with_capacity(expected.min(FIRST_ROOM).max(first.len()));
        body.extend_from_slice(&first);
        drop(first);
        while let Some(chunk) = self.patience.as_mut().chunk(&mut self.flow).await? {
            let chunk = chunk.map_err(lost)?;
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        match announced {
            Some(len) if len != body.len() as u64 => Err(lost(io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(body.freeze()),
        }
    }

    pub(super) fn skip(self) {
        release(self.core, self.flow);
    }
}

/// Waits for `work` while open questions go on. The backend's silence counts but for the time that a client thinks.
pub(super) async fn beside<T>(
    patience: &mut Pin<&mut Patience>,
    relay: &mut Relay<'_>,
    work: impl Future<Output = T>,
) -> Result<T, Error> {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if relay.is_asking() {
            patience.as_mut().hear();
        }
        relay.poll_questions(cx);
        match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending if relay.is_asking() => Poll::Pending,
            Poll::Pending => patience.as_mut().poll_expired(cx).map(Err),
        }
    })
    .await
}

/// Reads what is left of a body of which nobody wants to know, so that the connection can be used again; in the
/// background if it is not there yet, and only so far.
pub(super) fn release(core: &Arc<Core>, mut flow: Flow) {
    if flow.is_at_end() {
        return flow.finish(&core.pool);
    }
    let for_task = core.clone();
    core.errand(async move {
        let mut left = SKIPPED_BYTES;
        while let Some(Ok(chunk)) = std::future::poll_fn(|cx| flow.poll_chunk(cx)).await {
            match usize::checked_sub(left, chunk.len()) {
                Some(rest) => left = rest,
                None => return,
            }
        }
        flow.finish(&for_task.pool);
    });
}

/// What is kept of a small event must not keep the large buffer it came in.
pub(super) fn small(data: Bytes) -> Bytes {
    if data.len() <= SMALL_EVENT {
        Bytes::copy_from_slice(&data)
    } else {
        data
    }
}

pub(super) fn is_for(response: &Response, id: u64) -> bool {
    response.id.as_ref().and_then(|id| id.as_u64()) == Some(id)
}

pub(super) fn lost(cause: io::Error) -> Error {
    Error::new(
        ErrorKind::SentUnknown,
        "the connection to the backend broke off during the call",
    )
    .caused_by(cause)
}

fn unfinished() -> Error {
    Error::new(ErrorKind::SentUnknown, "the backend ended its stream without an answer")
}

pub(super) fn malformed(cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::ServerFault, "the backend's answer is malformed").caused_by(cause)
}

/// Most of a body that is read only to keep its connection, in bytes.
const SKIPPED_BYTES: usize = 64 * 1024;

/// Most of a refusal's body that is read, in bytes.
const REFUSAL_BYTES: usize = 64 * 1024;

/// Longest wait for it.
const REFUSAL_TIME: Duration = Duration::from_secs(5);

/// Events up to this size are copied out of the buffer they came in.
const SMALL_EVENT: usize = 64 * 1024;

/// Most room that is made for an answer before its bytes have come.
const FIRST_ROOM: usize = 1024 * 1024;
