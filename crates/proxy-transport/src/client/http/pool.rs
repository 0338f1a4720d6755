//! Our own small pool of HTTP/1.1 connections.
//!
//! A pooled connection is a pair: the handle that takes a request, and the future that does the reading and writing.
//! While it is idle nobody polls it. Whoever makes a call takes one out, last in first out, and polls both halves in its
//! own task: no task per connection, no hand-over, and dropping the call closes the socket. It comes back only after a
//! body was read to its end.
//!
//! ```text
//!   idle ──checkout──► Link ──send──► Head + Flow ──last byte──► idle
//!    │ closed or old      │ error, drop     │ error, drop
//!    ▼                    ▼                 ▼
//!   dropped             dropped           dropped
//! ```

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, response};
use http_body::Body as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use mcp_proxy_core::{Error, ErrorKind};
use tokio::time::Instant;

use super::dial::{Stream, Target};

/// The connections to one backend.
pub(super) struct Pool {
    target: Target,
    idle: Mutex<VecDeque<Idle>>,
    open: Arc<AtomicUsize>,
    dialled: AtomicU64,
    reused: AtomicU64,
}

struct Idle {
    link: Link,
    until: Instant,
}

/// A connection that is ready for a request.
pub(super) struct Link {
    wire: Box<Wire>,
    /// Whether it has carried a request before: then the backend may be closing it just now.
    pub(super) reused: bool,
}

struct Wire {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once it has ended: it must not be polled again, and what was queued in it gets its error by the drop.
    driver: Option<Connection<Stream, Full<Bytes>>>,
    _permit: Permit,
}

/// Counts one open connection for as long as it lives.
struct Permit(Arc<AtomicUsize>);

/// A response whose body is still to be read. Dropping it closes the connection.
pub(super) struct Flow {
    wire: Box<Wire>,
    body: Incoming,
    ended: bool,
    keep: Duration,
}

/// How a request failed before there was a response.
pub(super) enum SendFault {
    /// Not a byte of it was written. Here it is again.
    NotSent(Box<Request<Full<Bytes>>>, io::Error),
    /// Some or all of it was written.
    Lost(io::Error),
}

impl Pool {
    /// An empty pool.
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            idle: Mutex::default(),
            open: Arc::default(),
            dialled: AtomicU64::new(0),
            reused: AtomicU64::new(0),
        }
    }

    /// Where its connections lead.
    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Connections opened and connections used again, so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        (
            self.dialled.load(Ordering::Relaxed),
            self.reused.load(Ordering::Relaxed),
        )
    }

    /// A connection: the one used last that is still open, else a new one.
    ///
    /// # Errors
    /// `NotSent` when the backend cannot be reached, `Overloaded` at the bound on open connections.
    pub(super) async fn checkout(&self) -> Result<Link, Error> {
        match self.take_idle() {
            Some(link) => Ok(link),
            None => self.dial().await,
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// As for [`checkout`](Self::checkout).
    pub(super) async fn dial(&self) -> Result<Link, Error> {
        let permit = Permit::take(&self.open)?;
        let stream = self.target.dial().await?;
        let (sender, driver) = http1::Builder::new()
            .handshake(stream)
            .await
            .map_err(|error| Error::new(ErrorKind::NotSent, "the backend cannot be reached").caused_by(error))?;
        self.dialled.fetch_add(1, Ordering::Relaxed);
        let wire = Wire {
            sender,
            driver: Some(driver),
            _permit: permit,
        };
        Ok(Link {
            wire: Box::new(wire),
            reused: false,
        })
    }

    /// Closes connections that have been idle for too long.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let mut old = Vec::new();
        let mut idle = self.idle();
        while idle.front().is_some_and(|entry| entry.until <= now) {
            old.extend(idle.pop_front());
        }
        drop(idle);
        drop(old);
    }

    /// Closes all idle connections.
    pub(super) fn clear(&self) {
        let old = std::mem::take(&mut *self.idle());
        drop(old);
    }

    fn take_idle(&self) -> Option<Link> {
        // Nobody waits here, and a waker left behind would be woken by the request that follows.
        let mut quiet = Context::from_waker(Waker::noop());
        loop {
            let Idle { mut link, until } = self.idle().pop_back()?;
            // One look at the socket tells whether the backend has closed it in the meantime.
            if until > Instant::now() && !link.wire.drive(&mut quiet) && link.wire.sender.is_ready() {
                self.reused.fetch_add(1, Ordering::Relaxed);
                link.reused = true;
                return Some(link);
            }
        }
    }

    fn put_idle(&self, wire: Box<Wire>, keep: Duration) {
        let entry = Idle {
            link: Link { wire, reused: true },
            until: Instant::now() + keep,
        };
        let mut idle = self.idle();
        idle.push_back(entry);
        let oldest = match idle.front() {
            Some(front) if idle.len() > MAX_IDLE || front.until <= Instant::now() => idle.pop_front(),
            _ => None,
        };
        drop(idle);
        drop(oldest);
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, VecDeque<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Sends a request and waits for the head of its response.
    ///
    /// # Errors
    /// Whether the request may have arrived. The connection is closed.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(super) async fn send(self, request: Request<Full<Bytes>>) -> Result<(response::Parts, Flow), SendFault> {
        let mut wire = self.wire;
        let mut answer = pin!(wire.sender.try_send_request(request));
        let answer = poll_fn(|cx| {
            let ended = wire.drive(cx);
            // Nothing but the driver makes progress here, and it was just polled with the real waker.
            match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                Poll::Pending if ended => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        match answer {
            Some(Ok(response)) => {
                let (head, body) = response.into_parts();
                if !body.is_end_stream() {
                    // The connection waits for somebody to want the body, and would wake this task when it does so
                    // itself, a moment from now.
                    wire.drive(&mut Context::from_waker(Waker::noop()));
                }
                let flow = Flow {
                    ended: body.is_end_stream(),
                    keep: keep_alive(&head.headers),
                    body,
                    wire,
                };
                Ok((head, flow))
            }
            Some(Err(mut error)) => match error.take_message() {
                Some(request) => Err(SendFault::NotSent(
                    Box::new(request),
                    io::Error::other(error.into_error()),
                )),
                None => Err(SendFault::Lost(io::Error::other(error.into_error()))),
            },
            None => Err(SendFault::Lost(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

impl Flow {
    /// How long the body is, when the response says so.
    pub(super) fn exact_len(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Whether the body was read to its end.
    pub(super) fn is_at_end(&self) -> bool {
        self.ended
    }

    /// The next piece of the body; `None` at its end. Trailers are skipped.
    ///
    /// # Errors
    /// When the connection breaks off or the framing is wrong.
    pub(super) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let mut quiet = Context::from_waker(Waker::noop());
        let mut driven = None;
        while !self.ended {
            match Pin::new(&mut self.body).poll_frame(&mut quiet) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.ended = self.body.is_end_stream();
                    match frame.into_data() {
                        Ok(data) if !data.is_empty() => return Poll::Ready(Some(Ok(data))),
                        _ => {}
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(io::Error::other(error)))),
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => match driven {
                    None => driven = Some(self.wire.drive(cx)),
                    Some(false) => return Poll::Pending,
                    Some(true) => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                },
            }
        }
        Poll::Ready(None)
    }

    /// Gives the connection back, if its body was read to the end and the backend keeps it open; else closes it.
    pub(super) fn finish(self, pool: &Pool) {
        let Self {
            mut wire,
            body,
            ended,
            keep,
        } = self;
        // One more turn lets the connection see its own end; the waker is set anew by whoever takes it out.
        if ended && !keep.is_zero() && !wire.drive(&mut Context::from_waker(Waker::noop())) && wire.sender.is_ready() {
            pool.put_idle(wire, keep);
        }
        drop(body);
    }
}

impl Wire {
    /// Lets the connection read and write; true once it has ended.
    fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(driver) = &mut self.driver else {
            return true;
        };
        match Pin::new(driver).poll(cx) {
            // Its error, if any, also reaches whoever waits for the response or the body.
            Poll::Ready(_) => {
                self.driver = None;
                true
            }
            Poll::Pending => false,
        }
    }
}

impl Permit {
    fn take(open: &Arc<AtomicUsize>) -> Result<Self, Error> {
        let permit = Self(open.clone());
        if open.fetch_add(1, Ordering::Relaxed) < MAX_OPEN {
            return Ok(permit);
        }
        Err(Error::new(
            ErrorKind::Overloaded,
            "too many connections to the backend are open",
        ))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long a connection may be kept idle: our bound, or a second less than what the backend announces, so that it is
/// not closing the connection while a call goes out on it.
fn keep_alive(headers: &HeaderMap) -> Duration {
    let announced = headers.get("keep-alive").and_then(|value| {
        let value = value.to_str().ok()?;
        let seconds = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
        seconds.parse().ok().map(Duration::from_secs)
    });
    announced.map_or(IDLE_AGE, |announced| {
        announced.saturating_sub(Duration::from_secs(1)).min(IDLE_AGE)
    })
}

/// Idle connections kept for one backend.
const MAX_IDLE: usize = 256;

/// How long one is kept.
const IDLE_AGE: Duration = Duration::from_secs(30);

/// Open connections to one backend, busy ones included. How many calls run at once is for layers to say; this only
/// keeps a backend that never answers from taking all file descriptors.
const MAX_OPEN: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: Option<&'static str>, seconds: u64) {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("keep-alive", value.parse().unwrap());
        }
        assert_eq!(keep_alive(&headers), Duration::from_secs(seconds), "{header:?}");
    }

    #[test]
    fn the_backend_may_shorten_the_keep_alive() {
        check(None, 30);
        check(Some("timeout=5"), 4);
        check(Some("max=100, timeout=20"), 19);
        check(Some("timeout=600"), 30);
        check(Some("timeout=0"), 0);
        check(Some("timeout=soon"), 30);
        check(Some("timeout=99999999999999999999999"), 30);
    }

    #[test]
    fn open_connections_are_bounded() {
        let open = Arc::new(AtomicUsize::new(0));
        let mut held: Vec<Permit> = (0..MAX_OPEN).map(|_| Permit::take(&open).unwrap()).collect();
        let Err(error) = Permit::take(&open) else {
            panic!("one too many")
        };
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        held.pop();
        assert!(Permit::take(&open).is_ok(), "a closed connection makes room");
    }
}
