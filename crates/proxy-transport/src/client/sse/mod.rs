//! Backends that speak the HTTP+SSE transport of revision 2024-11-05, which later revisions have replaced.
//!
//! ```text
//!   GET url ──────────► event stream: `endpoint` first, then everything the backend says
//!   POST endpoint ────► 202; the answer comes on the stream
//! ```
//!
//! Together the two are one two-way stream of messages, so this is a framing for the [duplex](super::duplex) peer. The
//! stream is the connection: when it ends, every call fails at once and the manager connects again.
//!
//! The backend names the address that messages are posted to, with our credentials among the headers. So it must be of
//! the very origin that the configuration names (RFC 6454: scheme, host and port); any other is refused.

mod posts;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use http::Uri;
use mcp_proxy_core::{Downstream, Error, ErrorKind};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use url::{Position, Url};

use self::posts::{Posts, Told};
use super::duplex::framing::{FrameError, Incoming};
use super::duplex::{Behalf, DuplexOptions, DuplexPeer};
use super::http::reach::{EventBody, Reach};
use super::options::HttpOptions;
use super::{BoxFuture, Connected, Connector};

/// Reaches a backend over HTTP+SSE. One connection serves all clients; [`HttpOptions::session`] says nothing here.
pub struct SseConnector {
    name: Arc<str>,
    options: HttpOptions,
    /// One counter for all connections: ids never repeat.
    ids: Arc<AtomicU64>,
    /// What is wrong with the options is told at the first attempt to connect.
    reach: Result<Arc<Reach>, Error>,
}

impl SseConnector {
    /// Connects to `options.url`, where the event stream is; `name` is the backend's, for the log.
    pub fn new(name: impl Into<Arc<str>>, options: HttpOptions) -> Self {
        Self {
            name: name.into(),
            ids: Arc::new(AtomicU64::new(1)),
            reach: Reach::new(options.clone()).map(Arc::new),
            options,
        }
    }

    async fn open(&self, downstream: Arc<dyn Downstream>) -> Result<Connected, Error> {
        let reach = self.reach.clone()?;
        reach.prepare().await?;
        let mut body = reach.events().await?;
        let named = body.next().await.map_err(no_endpoint)?;
        let endpoint = endpoint(
            &self.options.url,
            &named.ok_or_else(|| no_endpoint("the stream ended"))?,
        )?;
        let (tell, told) = mpsc::channel(TOLD);
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let events = Events {
            body,
            told,
            reach: reach.clone(),
            sweep,
        };
        let options = DuplexOptions {
            name: self.name.clone(),
            idle_timeout: self.options.idle_timeout,
            max_message_bytes: self.options.max_message_bytes,
            ids: self.ids.clone(),
            // Its revision is long gone where there are no sessions.
            memory: None,
        };
        let posts = Posts::new(reach, endpoint, tell);
        DuplexPeer::connect_framed(events, posts, options, Behalf::everybody(downstream)).await
    }
}

impl Connector for SseConnector {
    fn connect(&self, downstream: Arc<dyn Downstream>) -> BoxFuture<'_, Result<Connected, Error>> {
        Box::pin(self.open(downstream))
    }
}

impl std::fmt::Debug for SseConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SseConnector")
    }
}

/// Where messages are posted: what the backend named, which may be relative.
fn endpoint(base: &Url, named: &[u8]) -> Result<Uri, Error> {
    let named = std::str::from_utf8(named).map_err(no_endpoint)?;
    if named.starts_with('{') {
        return Err(no_endpoint("the first event is a message"));
    }
    let url = base.join(named.trim()).map_err(no_endpoint)?;
    if url.origin() != base.origin() {
        let message = "the backend wants messages at another origin than its URL's, which is refused";
        // Without path and query, where a session id may stand.
        let origin = url.origin().ascii_serialization();
        return Err(Error::new(ErrorKind::ServerFault, message).caused_by(format!("it named {origin:?}")));
    }
    url[Position::BeforePath..Position::AfterQuery]
        .parse()
        .map_err(no_endpoint)
}

fn no_endpoint(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let message = "the backend's event stream does not begin with an `endpoint` of HTTP+SSE";
    Error::new(ErrorKind::ServerFault, message).caused_by(cause)
}

/// The event stream, and what became of messages that were posted.
struct Events {
    body: EventBody,
    told: mpsc::Receiver<Told>,
    reach: Arc<Reach>,
    sweep: Interval,
}

impl Incoming for Events {
    async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            tokio::select! {
                // What the backend has said counts for more than what became of a message.
                biased;
                data = self.body.next() => return data,
                Some(told) = self.told.recv() => return Err(told.into()),
                _ = self.sweep.tick() => self.reach.sweep(),
            }
        }
    }
}

/// Failed messages that wait to be told. Whoever posts waits beyond that, and the stream is always read.
const TOLD: usize = 16;

/// How often idle connections are looked through.
const SWEEP: std::time::Duration = std::time::Duration::from_secs(15);
