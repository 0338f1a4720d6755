//! [`Listener`]: sockets that feed a [`Front`]. TCP, TLS over TCP, and a unix socket.
//!
//! Connections are bounded in number; a client that is slow with its TLS handshake or its request head,
//! or that stops reading, is cut off. There
//! is no accept queue of our own: at the bound, connections wait in the system's backlog.

mod connection;
mod patience;
#[cfg(test)]
mod tests;
mod tls;
#[cfg(unix)]
mod unix;

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::front::{Front, FrontBody};
use super::options::ListenOptions;
use connection::{Server, Stop};

/// Most connections at a time.
const MAX_CONNECTIONS: usize = 10_000;
/// First and longest pause after an accept that failed for want of resources, such as file descriptors.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Answers what the [`Front`] does not serve; without one, that is 404.
pub type Fallback =
    Arc<dyn Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<FrontBody>> + Send>> + Send + Sync>;

/// Bound sockets that nobody serves yet.
pub struct Listener {
    tcp: Option<(TcpListener, Option<TlsAcceptor>)>,
    #[cfg(unix)]
    unix: Option<unix::UnixSocket>,
}

/// A connection that was accepted.
enum Accepted {
    Tcp(TcpStream, Option<TlsAcceptor>),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

impl Listener {
    /// Binds what `options` name. Port 0 lets the system choose; [`local_addr`](Self::local_addr) tells the choice.
    ///
    /// The unix socket is created with mode 0600. One that was left behind is replaced, but only when nobody listens on
    /// it.
    ///
    /// # Errors
    /// When an address is taken or not ours, when a certificate or key cannot be used, or when nothing is to be bound.
    pub async fn bind(options: ListenOptions) -> io::Result<Self> {
        if options.address.is_none() && options.unix.is_none() {
            let message = "nothing to listen on: neither an address nor a unix socket is configured";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let tcp = match &options.address {
            None => None,
            Some((host, port)) => {
                let tls = options.tls.as_ref().map(tls::acceptor).transpose()?;
                let host = host.trim_start_matches('[').trim_end_matches(']');
                let listener = TcpListener::bind((host, *port)).await.map_err(|error| {
                    let message = format!("cannot listen on {host} port {port}: {error}");
                    io::Error::new(error.kind(), message)
                })?;
                Some((listener, tls))
            }
        };
        #[cfg(unix)]
        let unix = match options.unix {
            Some(path) => Some(unix::UnixSocket::bind(path).await?),
            None => None,
        };
        #[cfg(not(unix))]
        if options.unix.is_some() {
            let message = "unix sockets do not exist on this system";
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        Ok(Self {
            tcp,
            #[cfg(unix)]
            unix,
        })
    }

    /// The TCP address, once the system has chosen it.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|(tcp, _)| tcp.local_addr().ok())
    }

    /// Serves connections until `shutdown`; then accepts no more, closes idle ones, and returns when the busy ones have
    /// had their answers. [`Front::drain`] sees to it that they get them.
    ///
    /// # Cancel safety
    /// Dropping the future closes everything at once.
    pub async fn serve(self, front: Front, fallback: Option<Fallback>, shutdown: impl Future<Output = ()>) {
        let stop = Stop::default();
        let server = Arc::new(Server::new(front, fallback, stop.clone()));
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        let mut pause = PAUSE.0;
        loop {
            tokio::select! {
                // Biased: a flood of connections must not keep the shutdown from being seen.
                biased;
                () = &mut shutdown => break,
                Some(ended) = connections.join_next() => note(ended),
                accepted = poll_fn(|cx| self.poll_accept(cx)), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok(accepted) => {
                        pause = PAUSE.0;
                        connections.spawn(server.clone().serve(accepted));
                    }
                    // The client has changed its mind; the next one is fine.
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept connections for now");
                        tokio::select! {
                            () = &mut shutdown => break,
                            () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE.1),
                        }
                    }
                },
            }
        }
        // First the sockets: who connects from now on is refused, and may ask another instance.
        drop(self);
        stop.now();
        while let Some(ended) = connections.join_next().await {
            note(ended);
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        if let Some((tcp, tls)) = &self.tcp
            && let Poll::Ready(accepted) = tcp.poll_accept(cx)
        {
            return Poll::Ready(accepted.map(|(stream, _)| Accepted::Tcp(stream, tls.clone())));
        }
        #[cfg(unix)]
        if let Some(unix) = &self.unix
            && let Poll::Ready(accepted) = unix.poll_accept(cx)
        {
            return Poll::Ready(accepted.map(Accepted::Unix));
        }
        Poll::Pending
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("local_addr", &self.local_addr())
            .finish_non_exhaustive()
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection failed inside the proxy");
    }
}
