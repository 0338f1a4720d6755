//! Streamable HTTP towards backends. Which era one speaks is found out first; what follows here is the one with sessions
//! (2024-11-05 to 2025-11-25), the other is in `sessionless`.
//!
//! ```text
//!   Call ─► peer      which upstream session; heals one that the backend forgot
//!             │          session    opened at first use, by one for all who wait
//!             │          handshake  initialize, notifications/initialized
//!             ▼
//!          exchange   id and progress token, POST; cancelled when dropped
//!             │          encode     a message as text
//!             │          reading    the answer, from JSON or event stream
//!             │          resume     goes on with a stream that broke off
//!             │          interim    progress, log and questions to the client
//!             │          asking     questions until they are answered
//!             │          status     what an HTTP status means
//!             │          patience   the bound on silence
//!             ▼
//!           pool      connections, driven by the calling task
//!             └─ dial    name, TCP, TLS
//!
//!   listen     a task for each session that has an event stream of its own
//!      └─ stream ─► unasked   what comes there, and whom it concerns
//!                     ├─ voice    the calls that run in the session
//!                     └─ events   lists changed, backend gone: for the proxy itself
//!
//!   pooled     sessions for callers that have none
//!   watching   which resources the backend was asked to report on
//!   levels     which log level it was told
//! ```

mod asking;
mod core;
mod dial;
mod encode;
mod events;
mod exchange;
#[cfg(fuzzing)]
pub mod fuzzing;
mod handshake;
mod interim;
mod levels;
mod listen;
mod patience;
mod peer;
mod pool;
mod pooled;
pub(in crate::client) mod reach;
mod reading;
mod resume;
mod session;
mod sessionless;
mod sse;
mod status;
mod stream;
mod tls;
mod unasked;
mod voice;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use mcp_proxy_core::catalogue::Kind;
use mcp_proxy_core::json::RawJson;
use mcp_proxy_core::{Declared, Downstream, Error, ErrorKind};

use self::core::{Core, Outlet};
use self::events::Events;
use self::peer::HttpPeer;
use self::sessionless::SessionlessPeer;
use super::options::HttpOptions;
use super::sessionless::discover::Verdict;
use super::sessionless::memory::Memory;
use super::{BoxFuture, Connected, Connector, Hello};

/// Reaches a backend over Streamable HTTP.
///
/// All peers that it opens share one pool of connections and the upstream sessions of clients, so connecting again
/// costs nobody a session that still works.
pub struct HttpConnector {
    /// What is wrong with the options is told at the first attempt to connect.
    core: Result<Arc<Core>, Error>,
    memory: Memory,
}

impl HttpConnector {
    /// A connector for one backend. Opens nothing yet.
    pub fn new(options: HttpOptions) -> Self {
        Self {
            core: Core::new(options),
            memory: Memory::default(),
        }
    }

    /// How many connections were opened and how many times one was used again, so far.
    pub fn connections(&self) -> (u64, u64) {
        self.core.as_ref().map_or((0, 0), |core| core.pool.counts())
    }

    /// How many messages of the backend were dropped so far: foreign ids and progress tokens, floods, messages that
    /// belong to no call.
    pub fn dropped_messages(&self) -> u64 {
        self.core.as_ref().map_or(0, |core| core.dropped_messages())
    }
}

impl Connector for HttpConnector {
    fn connect(&self, downstream: Arc<dyn Downstream>) -> BoxFuture<'_, Result<Connected, Error>> {
        Box::pin(async move {
            let core = self.core.clone()?;
            core.prepare_tls().await?;
            if !self.memory.is_session_only()
                && let Verdict::Sessionless(hello) = sessionless::probe(&core).await?
            {
                return Ok(SessionlessPeer::start(core, *hello, downstream).await);
            }
            let (upstream, hello) = match handshake::open(&core, &Declared::everything().upward()).await {
                Ok(opened) => opened,
                Err(error) if self.memory.is_session_only() && is_answered(&error) => {
                    // It did open sessions a while ago, so it has changed.
                    self.memory.forget();
                    return match sessionless::probe(&core).await? {
                        Verdict::Sessionless(hello) => Ok(SessionlessPeer::start(core, *hello, downstream).await),
                        Verdict::Session => Err(error),
                    };
                }
                Err(error) => return Err(error),
            };
            self.memory.speaks_sessions();
            let (events, sender, receiver) = Events::new();
            let peer = HttpPeer::new(core.clone(), upstream, events.clone());
            peer.spawn(events::forward(events.clone(), sender));
            core.set_outlet(Outlet { events, downstream });
            let answered = peer.spawn_listening(announced(&hello));
            peer.spawn(sweep(core.clone()));
            listen::settled(&core, answered).await;
            Ok(Connected {
                peer: Arc::new(peer),
                hello,
                events: receiver,
            })
        })
    }
}

impl std::fmt::Debug for HttpConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpConnector")
    }
}

/// Whether somebody is there who refuses to open a session.
fn is_answered(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Refused | ErrorKind::ServerFault)
}

/// Closes idle connections, and ends idle sessions, of a backend that nobody calls any more.
async fn sweep(core: Arc<Core>) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        core.pool.sweep();
        core.pooled.sweep();
    }
}

/// The lists whose changes a backend has promised to announce.
fn announced(hello: &Hello) -> Vec<Kind> {
    let promises = |key: &str| {
        let declared = hello.capabilities.get(key).and_then(|raw| raw.get("listChanged"));
        declared.as_ref().map(RawJson::as_str) == Some("true")
    };
    let mut kinds = Vec::new();
    if promises("tools") {
        kinds.push(Kind::Tool);
    }
    if promises("resources") {
        kinds.extend([Kind::Resource, Kind::Template]);
    }
    if promises("prompts") {
        kinds.push(Kind::Prompt);
    }
    kinds
}

/// How often idle connections and sessions are looked through.
const SWEEP: Duration = Duration::from_secs(15);
