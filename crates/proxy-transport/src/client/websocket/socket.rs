//! An open WebSocket as the two halves of a framing, with its heartbeat.
//!
//! Both halves poll one socket under a mutex that is held for the length of a poll. It is polled with a waker of its own
//! that wakes both halves: reading may have to write (the answer to a ping), the reader sends the pings, and the socket
//! remembers only whoever polled last.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use futures_sink::Sink;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};

use crate::client::duplex::framing::{FrameError, Incoming, Outgoing};

/// The receiving half and the sending half of a socket that takes messages of up to `limit` bytes.
pub(crate) fn halves<S>(socket: WebSocketStream<Watched<S>>, limit: usize) -> (Receiver<S>, Sender<S>) {
    let shared = Arc::new(Shared {
        socket: Mutex::new(socket),
        wakers: Arc::default(),
    });
    let receiver = Receiver {
        shared: shared.clone(),
        limit,
        heartbeat: Heartbeat {
            timer: Box::pin(tokio::time::sleep(PING_AFTER)),
            asked: false,
        },
    };
    let sender = Sender {
        shared,
        queue: VecDeque::new(),
        pending: 0,
    };
    (receiver, sender)
}

struct Shared<S> {
    socket: Mutex<WebSocketStream<Watched<S>>>,
    wakers: Arc<Wakers>,
}

/// Wakes whichever half waits.
#[derive(Default)]
struct Wakers {
    reader: Mutex<Option<Waker>>,
    writer: Mutex<Option<Waker>>,
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        for slot in [&self.reader, &self.writer] {
            let waker = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

fn wait(slot: &Mutex<Option<Waker>>, cx: &Context<'_>) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
}

impl<S: AsyncRead + AsyncWrite + Unpin> Shared<S> {
    /// Polls the socket; both halves are woken when there is more to do.
    fn with<T>(&self, poll: impl FnOnce(Pin<&mut WebSocketStream<Watched<S>>>, &mut Context<'_>) -> T) -> T {
        let waker = Waker::from(self.wakers.clone());
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        poll(Pin::new(&mut *socket), &mut Context::from_waker(&waker))
    }
}

/// Reads messages and sees to the heartbeat.
pub(crate) struct Receiver<S> {
    shared: Arc<Shared<S>>,
    limit: usize,
    heartbeat: Heartbeat,
}

/// When to ask for a sign of life, or to stop waiting for one.
struct Heartbeat {
    timer: Pin<Box<Sleep>>,
    asked: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Incoming for Receiver<S> {
    async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        poll_fn(|cx| self.poll(cx)).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Receiver<S> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, FrameError>> {
        // Before the socket is polled, else a wake-up in between would be lost.
        wait(&self.shared.wakers.reader, cx);
        loop {
            let (polled, alive) = self.shared.with(|mut socket, cx| {
                let polled = socket.as_mut().poll_next(cx);
                (polled, std::mem::take(&mut socket.get_mut().get_mut().heard))
            });
            if alive {
                self.heartbeat.rest();
            }
            match polled {
                Poll::Ready(Some(Ok(Message::Text(text)))) if text.trim().is_empty() => {}
                Poll::Ready(Some(Ok(Message::Text(text)))) => return Poll::Ready(Ok(Some(text.into()))),
                Poll::Ready(Some(Ok(Message::Binary(_)))) => return Poll::Ready(Err(forbidden(BINARY))),
                Poll::Ready(Some(Ok(Message::Close(_))) | None) => return Poll::Ready(Ok(None)),
                // Pings are answered by the socket itself.
                Poll::Ready(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(self.judge(error))),
                Poll::Pending => match ready!(self.heartbeat.poll(cx)) {
                    Beat::Ask => self.ping()?,
                    Beat::Lost => {
                        let silence = format!("no answer to a ping within {} s", PONG_WITHIN.as_secs());
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, silence).into()));
                    }
                },
            }
        }
    }

    /// Never waits: a ping that cannot be written now is written before whatever comes next, and there is only one.
    fn ping(&self) -> Result<(), FrameError> {
        self.shared.with(|mut socket, cx| {
            let sent = socket.as_mut().start_send(Message::Ping(Bytes::new()));
            sent.map_err(|error| self.judge(error))?;
            match socket.poll_flush(cx) {
                Poll::Ready(Err(error)) => Err(self.judge(error)),
                Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
            }
        })
    }

    fn judge(&self, error: WsError) -> FrameError {
        match error {
            WsError::Capacity(CapacityError::MessageTooLong { .. }) => FrameError::TooLong { limit: self.limit },
            // Killed, or cut off: it broke no rule.
            WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                FrameError::Io(io::ErrorKind::UnexpectedEof.into())
            }
            WsError::Protocol(_) | WsError::Utf8(_) | WsError::Capacity(_) => {
                tracing::debug!(%error, "a WebSocket was closed");
                forbidden(BROKEN)
            }
            other => io_error(other).into(),
        }
    }
}

impl Heartbeat {
    /// There was a sign of life.
    fn rest(&mut self) {
        self.asked = false;
        self.timer.as_mut().reset(Instant::now() + PING_AFTER);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Beat> {
        ready!(self.timer.as_mut().poll(cx));
        if self.asked {
            return Poll::Ready(Beat::Lost);
        }
        self.asked = true;
        self.timer.as_mut().reset(Instant::now() + PONG_WITHIN);
        Poll::Ready(Beat::Ask)
    }
}

enum Beat {
    Ask,
    Lost,
}

/// Writes messages.
pub(crate) struct Sender<S> {
    shared: Arc<Shared<S>>,
    queue: VecDeque<Message>,
    pending: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sender<S> {
    fn poll_flush(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        wait(&self.shared.wakers.writer, cx);
        let Self { shared, queue, pending } = self;
        shared
            .with(|mut socket, cx| {
                while !queue.is_empty() {
                    ready!(socket.as_mut().poll_ready(cx))?;
                    let Some(message) = queue.pop_front() else { break };
                    // From here on the backend may know of it.
                    *pending -= message.len();
                    socket.as_mut().start_send(message)?;
                }
                socket.poll_flush(cx)
            })
            .map_err(io_error)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Outgoing for Sender<S> {
    fn push(&mut self, message: &[u8]) {
        let text = String::from_utf8_lossy(message);
        let message = Message::Text(Utf8Bytes::from(text.into_owned()));
        self.pending += message.len();
        self.queue.push_back(message);
    }

    fn pending(&self) -> usize {
        self.pending
    }

    async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    async fn end(&mut self) {
        // It fails when the other side is gone already, which is as good.
        let _ = poll_fn(|cx| {
            wait(&self.shared.wakers.writer, cx);
            self.shared.with(|socket, cx| socket.poll_close(cx))
        })
        .await;
    }
}

/// A stream that remembers whether anything has arrived on it: while a large message comes in, no pong can.
pub(crate) struct Watched<S> {
    inner: S,
    heard: bool,
}

impl<S> Watched<S> {
    /// Watches `inner`.
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, heard: false }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        self.heard |= buffer.filled().len() > before;
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

fn forbidden(what: &'static str) -> FrameError {
    FrameError::Forbidden { what }
}

fn io_error(error: WsError) -> io::Error {
    match error {
        WsError::Io(error) => error,
        other => io::Error::other(other),
    }
}

const BINARY: &str = "sent a binary message over a WebSocket, where the Model Context Protocol has text only";

const BROKEN: &str = "broke the rules of the WebSocket protocol";

/// After this long without anything from the backend it is asked for a sign of life.
const PING_AFTER: Duration = Duration::from_secs(20);

/// How long the backend has for it.
const PONG_WITHIN: Duration = Duration::from_secs(10);
