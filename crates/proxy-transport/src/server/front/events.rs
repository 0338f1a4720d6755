//! [`StreamEvents`]: the body of an event stream of a session, whichever stream it is and whoever reads it.
//!
//! The first reader of a call's stream also drives the call. Whoever resumes it only reads: the call then runs in a task
//! of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use mcp_proxy_core::ProtocolVersion;

use super::Inner;
use super::answer::Answer;
use super::body::Silence;
use super::outbox::EVENT;
use super::running::{Running, Step};
use super::session::Entry;
use super::stream::{Event, Reader};

/// How long a client should wait before it resumes, in milliseconds: long enough for a restart of what lies between,
/// well within the time that a call goes on alone.
const RETRY: &str = "1000";

/// An event stream of a session: messages, comments in silence, for a call the answer, the end.
pub(super) struct StreamEvents {
    // Before the call, which then moves to a task: from now on that counts how long its client is away.
    reader: Reader,
    running: Option<Running>,
    session: Arc<Entry>,
    front: Arc<Inner>,
    ready: VecDeque<Bytes>,
    silence: Silence,
}

impl StreamEvents {
    /// `first`: this is the stream's first reader.
    pub(super) fn new(
        reader: Reader,
        session: Arc<Entry>,
        front: &Arc<Inner>,
        running: Option<Running>,
        first: bool,
    ) -> Self {
        let (mut ready, stream) = (VecDeque::new(), reader.stream());
        if first && stream.keeps() && session.session.version >= ProtocolVersion::V2025_11_25 {
            // Gives the client an id to resume by before anything else has come (SEP-1699). Older ones would take the
            // empty data for a message.
            ready.push_back(format!("id: {}-0\nretry: {RETRY}\ndata: \n\n", stream.number).into());
        }
        session.begin();
        Self {
            reader,
            running,
            session,
            front: front.clone(),
            ready,
            silence: Silence::new(front.options.keep_alive),
        }
    }

    /// The call has ended.
    pub(super) fn end(&mut self, answer: Option<Answer>) {
        // Ended before its answer is on the wire, so that the client may use the id again at once.
        self.running = None;
        let stream = self.reader.stream();
        stream.finish(answer);
        let keep = self.front.options.session.resume;
        self.session.streams.call_ended(stream, keep);
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.silence.broken();
                return Poll::Ready(Some(bytes));
            }
            match self.reader.poll_next(cx) {
                Poll::Ready(Some((number, event))) => {
                    self.write(number, event);
                    continue;
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {}
            }
            let Some(running) = &mut self.running else {
                return self.silence.poll(cx).map(Some);
            };
            match running.poll(cx) {
                Poll::Ready(Step::Done(answer)) => self.end(answer),
                // A session's messages go into its stream, not through the call.
                Poll::Ready(Step::Event(_)) => {}
                Poll::Pending => match self.reader.poll_next(cx) {
                    Poll::Ready(Some((number, event))) => self.write(number, event),
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Pending => return self.silence.poll(cx).map(Some),
                },
            }
        }
    }

    fn write(&mut self, number: u64, event: Event) {
        let stream = self.reader.stream();
        let id = |text: &[u8]| {
            let mut head = Vec::with_capacity(EVENT.len() + text.len() + 48);
            if stream.keeps() {
                head.extend_from_slice(format!("id: {}-{number}\n", stream.number).as_bytes());
            }
            head.extend_from_slice(EVENT);
            head.extend_from_slice(text);
            head
        };
        match event {
            Event::Message(text) => {
                let mut text = id(&text);
                text.extend_from_slice(b"\n\n");
                self.ready.push_back(text.into());
            }
            Event::Answer(answer) => {
                let [_, parts @ ..] = answer.into_event();
                self.ready.push_back(id(b"").into());
                self.ready.extend(parts.into_iter().filter(|part| !part.is_empty()));
            }
            // The specification wants no answer to a cancelled request; a comment says that this is the end.
            Event::Cancelled => self.ready.push_back(Bytes::from_static(b": cancelled\n\n")),
        }
    }
}

impl Drop for StreamEvents {
    fn drop(&mut self) {
        self.session.streams.left(self.reader.stream());
        self.session.end(&self.front.sessions);
    }
}
