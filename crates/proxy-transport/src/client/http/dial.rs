//! Opening a connection: name, TCP, TLS, HTTP.
//!
//! All addresses of a name get their chance: the next one is tried when the one before failed or has been silent for a
//! quarter of a second, and the first that answers wins (RFC 8305, without its sorting, which the resolver has done).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use mcp_proxy_core::{Error, ErrorKind};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

/// Where a backend answers and how to get there.
pub(super) struct Target {
    host: Host<String>,
    port: u16,
    /// The name its certificate must have; `None` for plain `http`.
    tls_name: Option<ServerName<'static>>,
    /// Set before the first connection is opened, replaced when the backend is connected again.
    tls: RwLock<Option<Arc<ClientConfig>>>,
    connect_timeout: Duration,
}

impl Target {
    /// Reads the address out of `url`.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub(super) fn new(url: &Url, connect_timeout: Duration) -> Result<Self, &'static str> {
        let host = url.host().ok_or("names no host")?.to_owned();
        let port = url
            .port_or_known_default()
            .ok_or("must begin with http:// or https://")?;
        let tls_name = match url.scheme() {
            "http" => None,
            "https" => Some(match &host {
                Host::Domain(name) => {
                    ServerName::try_from(name.clone()).map_err(|_| "has a host that no certificate can name")?
                }
                Host::Ipv4(ip) => ServerName::from(IpAddr::V4(*ip)),
                Host::Ipv6(ip) => ServerName::from(IpAddr::V6(*ip)),
            }),
            _ => return Err("must begin with http:// or https://"),
        };
        Ok(Self {
            host,
            port,
            tls_name,
            tls: RwLock::default(),
            connect_timeout,
        })
    }

    /// Whether connections are encrypted.
    pub(super) fn is_tls(&self) -> bool {
        self.tls_name.is_some()
    }

    /// What handshakes use from now on.
    pub(super) fn set_tls(&self, config: Arc<ClientConfig>) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = Some(config);
    }

    /// Opens a connection within the time limit.
    ///
    /// # Errors
    /// `NotSent`, whatever went wrong: nothing of a call has left yet.
    pub(super) async fn dial(&self) -> Result<Stream, Error> {
        match tokio::time::timeout(self.connect_timeout, self.open()).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(Error::new(ErrorKind::NotSent, "the backend cannot be reached").caused_by(error)),
            Err(_) => Err(Error::new(ErrorKind::NotSent, "the backend cannot be reached in time")
                .caused_by(format!("no connection within {:?}", self.connect_timeout))),
        }
    }

    async fn open(&self) -> io::Result<Stream> {
        let tcp = self.tcp().await?;
        // Small requests must not wait for the acknowledgement of the one before.
        tcp.set_nodelay(true)?;
        let Some(name) = &self.tls_name else {
            return Ok(Stream::Plain(TokioIo::new(tcp)));
        };
        let config = self.tls.read().unwrap_or_else(PoisonError::into_inner).clone();
        let config = config.ok_or_else(|| io::Error::other("TLS is not set up yet"))?;
        let tls = TlsConnector::from(config).connect(name.clone(), tcp).await?;
        Ok(Stream::Tls(Box::new(TokioIo::new(tls))))
    }

    async fn tcp(&self) -> io::Result<TcpStream> {
        let name = match &self.host {
            Host::Ipv4(ip) => return TcpStream::connect((*ip, self.port)).await,
            Host::Ipv6(ip) => return TcpStream::connect((*ip, self.port)).await,
            Host::Domain(name) => name,
        };
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), self.port))
            .await?
            .take(MAX_ADDRESSES)
            .collect();
        race(&addresses).await
    }
}

async fn race(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    if let [only] = addresses {
        return TcpStream::connect(*only).await;
    }
    let mut failure = io::Error::other("the name has no address");
    let mut running = JoinSet::new();
    let mut rest = addresses.iter().copied();
    loop {
        match rest.next() {
            Some(address) => drop(running.spawn(TcpStream::connect(address))),
            None if running.is_empty() => return Err(failure),
            None => {}
        }
        tokio::select! {
            // A connection that is there beats starting another.
            biased;
            Some(ended) = running.join_next() => match ended {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(error) => failure = io::Error::other(error),
            },
            () = tokio::time::sleep(HEAD_START), if rest.len() > 0 => {}
        }
    }
}

/// A connection's bytes, plain or encrypted.
pub(super) enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Read for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buffer),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buffer),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Self::Tls(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write_vectored(cx, slices),
            Self::Tls(io) => Pin::new(io).poll_write_vectored(cx, slices),
        }
    }
}

/// Addresses of one name that are tried at most.
const MAX_ADDRESSES: usize = 8;

/// How long an address is tried alone.
const HEAD_START: Duration = Duration::from_millis(250);
