//! Backends over WebSocket (RFC 6455): one JSON-RPC message a text message, subprotocol `mcp`.
//!
//! No revision of the Model Context Protocol defines this transport; this is what its SDKs have agreed on. It is a
//! framing for the [`duplex`] peer: one connection serves all clients, and when it ends every call fails at
//! once and the manager connects again.
//!
//! A connection on which nothing arrives is asked for a sign of life every 20 seconds, and given up when there is none
//! within 10: a backend that vanished without a word would otherwise be noticed by a call that waits in vain.

mod opening;
pub(crate) mod socket;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use mcp_proxy_core::{Downstream, Error};
use tokio::io::{AsyncRead, AsyncWrite};
use url::Url;

pub(crate) use opening::{SUBPROTOCOL, config};

use super::duplex::{self, Behalf, DuplexOptions, DuplexPeer};
use super::http::reach::Reach;
use super::options::HttpOptions;
use super::sessionless::memory::Memory;
use super::{BoxFuture, Connected, Connector};

/// Reaches a backend over WebSocket. One connection serves all clients; [`HttpOptions::session`] says nothing here.
pub struct WebSocketConnector {
    name: Arc<str>,
    options: HttpOptions,
    /// One counter for all connections: ids never repeat.
    ids: Arc<AtomicU64>,
    /// What is remembered of the era it speaks.
    memory: Arc<Memory>,
    /// What is wrong with the options is told at the first attempt to connect.
    reach: Result<Reach, Error>,
}

impl WebSocketConnector {
    /// Connects to `options.url`, whose scheme is `ws` or `wss`; `name` is the backend's, for the log.
    pub fn new(name: impl Into<Arc<str>>, options: HttpOptions) -> Self {
        let reach = HttpOptions {
            url: as_http(&options.url),
            ..options.clone()
        };
        Self {
            name: name.into(),
            ids: Arc::new(AtomicU64::new(1)),
            memory: Arc::default(),
            reach: Reach::new(reach),
            options,
        }
    }

    async fn open(&self, downstream: Arc<dyn Downstream>) -> Result<Connected, Error> {
        let reach = self.reach.as_ref().map_err(Clone::clone)?;
        reach.prepare().await?;
        let asked = !self.memory.is_session_only();
        match self.open_over(reach.dial().await?, reach, downstream.clone()).await {
            Err(error) if duplex::spares(&self.memory, asked, &error) => {
                self.open_over(reach.dial().await?, reach, downstream).await
            }
            opened => opened,
        }
    }

    async fn open_over<S>(&self, stream: S, reach: &Reach, downstream: Arc<dyn Downstream>) -> Result<Connected, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limit = self.options.max_message_bytes;
        let socket = opening::open(stream, &self.options.url, reach.headers(), limit).await?;
        let (incoming, outgoing) = socket::halves(socket, limit);
        let options = DuplexOptions {
            name: self.name.clone(),
            idle_timeout: self.options.idle_timeout,
            max_message_bytes: limit,
            ids: self.ids.clone(),
            memory: Some(self.memory.clone()),
        };
        DuplexPeer::connect_framed(incoming, outgoing, options, Behalf::everybody(downstream)).await
    }
}

impl Connector for WebSocketConnector {
    fn connect(&self, downstream: Arc<dyn Downstream>) -> BoxFuture<'_, Result<Connected, Error>> {
        Box::pin(self.open(downstream))
    }
}

impl std::fmt::Debug for WebSocketConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebSocketConnector")
    }
}

/// A WebSocket begins as a request over HTTP, at the same host and port.
fn as_http(url: &Url) -> Url {
    let mut url = url.clone();
    let scheme = match url.scheme() {
        "ws" => "http",
        "wss" => "https",
        // Whatever else it is, the opening refuses it.
        _ => return url,
    };
    // All four schemes are special ones of the URL standard, between which it lets one change.
    let changed = url.set_scheme(scheme);
    debug_assert!(changed.is_ok());
    url
}
