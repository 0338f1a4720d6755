//! Going on with a call's event stream that broke off, or that the backend ended before the answer.
//!
//! Since its events bear ids, the backend has kept what came after the last of them, and a GET that names it brings the
//! rest (MCP until 2025-11-25, Transports, "Resumability and Redelivery"). Servers also do this on purpose, so as not to
//! hold a connection for a long call (SEP-1699). The call itself goes on meanwhile, so nothing is sent twice.

use std::time::Duration;

use http::HeaderValue;
use mcp_proxy_core::Error;

use super::interim::Relay;
use super::reading::{Reading, beside, release};
use super::sse::Parser;
use super::stream::{Opened, open};

impl Reading<'_> {
    /// Puts a new connection in place of the one that ended. An empty stream does not end the backend's silence, so one
    /// that opens such streams for ever is left in time.
    ///
    /// # Errors
    /// `cut`, the reason why the stream ended, when there is no going on; `Timeout`.
    pub(super) async fn resume(&mut self, relay: &mut Relay<'_>, parser: &mut Parser, cut: Error) -> Result<(), Error> {
        let last_id = parser.last_id().and_then(|id| HeaderValue::from_str(id).ok());
        let (Some(last_id), Some(upstream)) = (last_id, relay.upstream()) else {
            return Err(cut);
        };
        let asked = parser.retry_ms().map(Duration::from_millis);
        for attempt in 0..ATTEMPTS {
            let own = FIRST_PAUSE * (1 << attempt);
            let pause = match asked {
                Some(asked) if attempt == 0 => asked.max(SHORTEST_PAUSE),
                // It could not be had when the backend said, so it is more than a change of connections.
                Some(asked) => asked.max(own),
                None => own,
            };
            beside(&mut self.patience, relay, tokio::time::sleep(pause)).await?;
            let request = self.core.get(upstream, Some(&last_id));
            let opening = open(self.core, request, upstream.id.is_some());
            match beside(&mut self.patience, relay, opening).await? {
                Ok(Opened::Stream(flow)) => {
                    let ended = std::mem::replace(&mut self.flow, flow);
                    if ended.is_at_end() {
                        release(self.core, ended);
                    }
                    parser.restart();
                    return Ok(());
                }
                Ok(Opened::Later) | Err(_) => {}
                // Even a session that is gone says nothing of whether the call was run.
                Ok(Opened::None { .. } | Opened::Unknown) => break,
            }
        }
        Err(cut)
    }
}

/// How often in a row it is tried.
const ATTEMPTS: u32 = 5;

/// The pause before the first attempt, unless the backend names one; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// A backend that wants to be asked again at once would cost both sides a processor.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
