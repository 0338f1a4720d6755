//! What a backend says while a call is running: progress and log for the client of that call, changed lists for the
//! proxy, questions for nobody yet.

use std::sync::Arc;

use bytes::Bytes;
use mcp_proxy_core::catalogue::Kind;
use mcp_proxy_core::json::{Notification, Params, RawJson, Request};
use mcp_proxy_core::{ClientHandle, Method, codes};
use tokio::time::Instant;

use super::core::Core;
use super::events::Events;
use super::exchange::{Outgoing, tell};
use super::session::Upstream;

/// Takes the interim messages of one call.
pub(super) struct Relay<'a> {
    core: &'a Arc<Core>,
    upstream: Option<&'a Arc<Upstream>>,
    client: &'a ClientHandle,
    events: &'a Events,
    /// Our id, which is also the progress token the backend knows.
    id: u64,
    /// The client's own token.
    token: Option<RawJson>,
    allowance: Allowance,
}

impl<'a> Relay<'a> {
    /// A relay for the call that went out under `id`; `token` is its client's progress token.
    pub(super) fn new(core: &'a Arc<Core>, call: &Outgoing<'a>, id: u64, token: Option<RawJson>) -> Self {
        Self {
            core,
            upstream: call.upstream,
            client: call.client,
            events: call.events,
            id,
            token,
            allowance: Allowance::new(),
        }
    }

    /// Hands a notification to whom it concerns, or drops and counts it.
    pub(super) fn notification(&mut self, notification: Notification) {
        if self.events.take(&notification.method) {
            return;
        }
        let notification = match notification.method {
            // Only a server's notifications pass; these are a client's.
            Method::Cancelled | Method::Initialized | Method::RootsChanged => None,
            Method::Progress => self.own_progress(notification),
            _ => Some(notification),
        };
        match notification {
            Some(notification) if self.allowance.take() => {
                // The client's queue has a bound of its own and drops what it cannot hold.
                let _ = self.client.notify(notification);
            }
            _ => self.core.drop_message(),
        }
    }

    /// Answers a question of the backend. Questions to the client (sampling, elicitation, roots) are refused: nothing
    /// was declared that would allow them.
    pub(super) fn request(&mut self, request: Request) {
        match self.upstream {
            Some(upstream) if self.allowance.take() => answer(self.core, upstream, &request),
            _ => self.core.drop_message(),
        }
    }

    /// The progress of this very call, under the client's own token.
    fn own_progress(&self, notification: Notification) -> Option<Notification> {
        let token = self.token.as_ref()?;
        let params = with_token(&notification.params, self.id, token)?;
        Some(Notification {
            method: notification.method,
            params,
        })
    }
}

/// Answers a request of the backend in the background: `ping` with an empty result, anything else with an error.
pub(super) fn answer(core: &Arc<Core>, upstream: &Arc<Upstream>, request: &Request) {
    let reply = match request.method {
        Method::Ping => r#""result":{}"#.to_owned(),
        _ => format!(
            r#""error":{{"code":{},"message":"this client does not offer that method"}}"#,
            codes::METHOD_NOT_FOUND
        ),
    };
    let body = format!(r#"{{"jsonrpc":"2.0","id":{},{reply}}}"#, request.id);
    let (core, upstream) = (core.clone(), upstream.clone());
    let errand_core = core.clone();
    core.errand(async move {
        // Whoever asked has its own patience.
        let _ = tell(&errand_core, &upstream, body.into()).await;
    });
}

/// Which lists a notification speaks of; empty when it is about something else.
pub(super) fn changed_lists(method: &Method) -> &'static [Kind] {
    match method {
        Method::ToolsChanged => &[Kind::Tool],
        // One notification for both; the specification has none of their own for templates.
        Method::ResourcesChanged => &[Kind::Resource, Kind::Template],
        Method::PromptsChanged => &[Kind::Prompt],
        _ => &[],
    }
}

/// `params` of a progress notification with `token` in place of our id; `None` when the progress is not of this call.
fn with_token(params: &Params, id: u64, token: &RawJson) -> Option<Params> {
    let text = params.to_raw()?;
    let ours = text.get("progressToken")?;
    if ours.as_str().parse() != Ok(id) {
        return None;
    }
    // `ours` is a slice of `text`, so the distance of their pointers is its place.
    let start = ours.as_bytes().as_ptr() as usize - text.as_bytes().as_ptr() as usize;
    let end = start + ours.as_bytes().len();
    let (text, token) = (text.as_bytes(), token.as_bytes());
    let mut mapped = Vec::with_capacity(text.len() + token.len());
    mapped.extend_from_slice(&text[..start]);
    mapped.extend_from_slice(token);
    mapped.extend_from_slice(&text[end..]);
    Params::parse(Bytes::from(mapped)).ok()
}

/// How many interim messages one call may send: a burst, and then a steady rate. Beyond it a backend is flooding.
struct Allowance {
    left: u32,
    refilled: Instant,
}

impl Allowance {
    fn new() -> Self {
        Self {
            left: BURST,
            refilled: Instant::now(),
        }
    }

    fn take(&mut self) -> bool {
        if self.left == 0 {
            let passed = self.refilled.elapsed().as_millis() as u64;
            self.left = u32::try_from(passed * u64::from(PER_SECOND) / 1000).map_or(BURST, |new| new.min(BURST));
            if self.left == 0 {
                return false;
            }
            self.refilled = Instant::now();
        }
        self.left -= 1;
        true
    }
}

/// Interim messages that one call may send at once.
const BURST: u32 = 10_000;

/// And how many a second after that.
const PER_SECOND: u32 = 1_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(params: &str, token: &str, expected: Option<&str>) {
        let params = Params::parse(params.to_owned()).unwrap();
        let token = RawJson::parse(token.to_owned()).unwrap();
        let mapped = with_token(&params, 7, &token).map(|params| params.to_bytes());
        assert_eq!(mapped.as_deref(), expected.map(str::as_bytes));
    }

    #[test]
    fn progress_gets_the_clients_token_back() {
        check(
            r#"{"progressToken":7,"progress":1.50,"x":{"progressToken":7}}"#,
            r#""abc""#,
            Some(r#"{"progressToken":"abc","progress":1.50,"x":{"progressToken":7}}"#),
        );
        check(
            r#"{ "progress":1, "progressToken" : 7 }"#,
            "42",
            Some(r#"{ "progress":1, "progressToken" : 42 }"#),
        );
    }

    #[test]
    fn foreign_progress_is_nobodys() {
        check(r#"{"progressToken":8}"#, "1", None);
        check(r#"{"progressToken":"7"}"#, "1", None);
        check(r#"{"progress":7}"#, "1", None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_to_a_rate() {
        let mut allowance = Allowance::new();
        assert_eq!((0..20_000).filter(|_| allowance.take()).count(), BURST as usize);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!((0..20_000).filter(|_| allowance.take()).count(), 10_100 - 10_000);
    }
}
