//! One connection: the handshake, then HTTP/1.1 until one side has had enough.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::patience::Patient;
use super::{Accepted, Fallback};
use crate::server::front::Front;

/// Longest time for a request head, and for a connection between two requests.
const HEAD: Duration = Duration::from_secs(30);
/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What all connections share.
pub(super) struct Server {
    front: Front,
    fallback: Option<Fallback>,
    stop: Stop,
    http: http1::Builder,
}

/// Tells all connections to end after the request they serve.
///
/// A flag beside the token: looking at the token takes a lock that all connections share, and this is looked at each
/// time a connection wakes.
#[derive(Clone, Default)]
pub(super) struct Stop {
    token: CancellationToken,
    flag: Arc<AtomicBool>,
}

impl Stop {
    /// Tells them.
    pub(super) fn now(&self) {
        self.flag.store(true, Ordering::SeqCst);
        self.token.cancel();
    }
}

impl Server {
    pub(super) fn new(front: Front, fallback: Option<Fallback>, stop: Stop) -> Self {
        // The bound on header fields is hyper's own, 100: setting another makes it allocate room for them at every request.
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .keep_alive(true)
            .half_close(false)
            .pipeline_flush(false);
        Self {
            front,
            fallback,
            stop,
            http,
        }
    }

    /// Serves a connection to its end. What goes wrong on it concerns nobody else.
    pub(super) async fn serve(self: Arc<Self>, accepted: Accepted) {
        let ended = match accepted {
            Accepted::Tcp(stream, tls) => self.tcp(stream, tls).await,
            #[cfg(unix)]
            Accepted::Unix(stream) => self.speak(stream).await,
        };
        if let Err(error) = ended {
            tracing::debug!(error = %*error, "a connection broke off");
        }
    }

    async fn tcp(&self, stream: TcpStream, tls: Option<TlsAcceptor>) -> Result<(), BoxError> {
        // An answer is written whole; waiting for more to send only delays it.
        stream.set_nodelay(true)?;
        match tls {
            None => self.speak(stream).await,
            // Boxed, so that connections without TLS do not each reserve the room for it.
            Some(tls) => Box::pin(self.secure(stream, tls)).await,
        }
    }

    async fn secure(&self, stream: TcpStream, tls: TlsAcceptor) -> Result<(), BoxError> {
        tokio::select! {
            () = self.stop.token.cancelled() => Ok(()),
            stream = tokio::time::timeout(HANDSHAKE, tls.accept(stream)) => self.speak(stream??).await,
        }
    }

    async fn speak<I>(&self, io: I) -> Result<(), BoxError>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = service_fn(|request| async move {
            Ok::<_, Infallible>(match &self.fallback {
                Some(fallback) if !self.front.serves(request.uri().path()) => fallback(request).await,
                _ => self.front.handle(request).await,
            })
        });
        let connection = self.http.serve_connection(TokioIo::new(Patient::new(io)), service);
        let mut connection = pin!(connection.with_upgrades());
        let mut stop = pin!(self.stop.token.cancelled());
        let (mut told, mut stopping) = (false, false);
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    return Poll::Ready(ended);
                }
                // Polled once, to be woken; the waker of a task stays the same.
                if !told {
                    told = true;
                    let _ = stop.as_mut().poll(cx);
                }
                if stopping || !self.stop.flag.load(Ordering::SeqCst) {
                    return Poll::Pending;
                }
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        })
        .await
        .map_err(Into::into)
    }
}
