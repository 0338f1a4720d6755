//! What a backend says while a call is running: progress, log and questions for the client of that call, changed lists
//! for the proxy.

use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use mcp_proxy_core::catalogue::Kind;
use mcp_proxy_core::json::{Notification, Params, RawJson, Request};
use mcp_proxy_core::{ClientHandle, Method};
use tokio::time::Instant;

use super::super::questions;
use super::asking::{Asking, answer};
use super::core::Core;
use super::exchange::Outgoing;
use super::session::Upstream;

/// Takes the interim messages of one call.
pub(super) struct Relay<'a> {
    core: &'a Arc<Core>,
    upstream: Option<&'a Arc<Upstream>>,
    client: &'a ClientHandle,
    /// Our id, which is also the progress token the backend knows.
    id: u64,
    /// The client's own token.
    token: Option<RawJson>,
    asking: Asking,
    allowance: Allowance,
}

impl<'a> Relay<'a> {
    /// A relay for the call that went out under `id`; `token` is its client's progress token.
    pub(super) fn new(core: &'a Arc<Core>, call: &Outgoing<'a>, id: u64, token: Option<RawJson>) -> Self {
        Self {
            core,
            upstream: call.upstream,
            client: call.client,
            id,
            token,
            asking: Asking::new(core),
            allowance: Allowance::new(),
        }
    }

    /// The session that the call belongs to.
    pub(super) fn upstream(&self) -> Option<&'a Arc<Upstream>> {
        self.upstream
    }

    /// Whether the client is thinking about a question.
    pub(super) fn is_asking(&self) -> bool {
        self.asking.is_open()
    }

    /// Goes on with the questions of the call.
    pub(super) fn poll_questions(&mut self, cx: &mut Context<'_>) {
        self.asking.poll(cx, || self.upstream.cloned());
    }

    /// Hands a notification to whom it concerns, or drops and counts it.
    pub(super) fn notification(&mut self, notification: Notification) {
        if notification.method == Method::ResourceUpdated || !changed_lists(&notification.method).is_empty() {
            return self.announcement(notification);
        }
        let notification = match notification.method {
            Method::Cancelled if self.asking.withdraw(&notification) => return,
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

    /// What is about no call, whichever stream it came on.
    fn announcement(&mut self, notification: Notification) {
        let taken = self.core.outlet().is_some_and(|outlet| {
            outlet.events.take(&notification.method)
                // Those who subscribed hear of it, not the client of this call.
                || self.allowance.take() && outlet.downstream.tell(None, notification)
        });
        if !taken {
            self.core.drop_message();
        }
    }

    /// Takes a request of the backend. A question on the stream of a call is one to the client of that call.
    pub(super) fn request(&mut self, request: Request) {
        let Some(upstream) = self.upstream.filter(|_| self.allowance.take()) else {
            return self.core.drop_message();
        };
        let reply = match questions::without_client(&request.method) {
            Some(reply) => reply,
            None if !self.asking.has_room() => questions::too_many(),
            None => match self.client.ask(request.method.clone(), request.params) {
                Some(asked) => return self.asking.add(&request.id, asked),
                None => questions::of_nobody(&request.method),
            },
        };
        answer(self.core, upstream, &request.id, &reply);
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
pub(super) fn with_token(params: &Params, id: u64, token: &RawJson) -> Option<Params> {
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
pub(super) struct Allowance {
    left: u32,
    refilled: Instant,
}

impl Allowance {
    pub(super) fn new() -> Self {
        Self {
            left: BURST,
            refilled: Instant::now(),
        }
    }

    /// Whether one more may pass.
    pub(super) fn take(&mut self) -> bool {
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
