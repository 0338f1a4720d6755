//! Whom the backend means when it asks or says something without naming a call.

use std::sync::Arc;

use mcp_proxy_core::Method;
use mcp_proxy_core::json::{Params, RawJson, RequestId};
use tokio::sync::oneshot;

use super::super::asking::Verdict;
use super::super::callers::{Caller, Running};
use super::super::waiting::Waiting;
use super::{Link, State};
use crate::client::questions;

impl Link {
    /// The newest call of the one client that a message without address can be meant for; `None` when it could be several
    /// clients', or nobody's.
    pub(in super::super) fn only_client(&self) -> Option<Arc<Waiting>> {
        let state = self.state();
        match state.callers.running() {
            Running::One(caller) => state.newest(caller).map(|(_, call)| call),
            _ => None,
        }
    }

    /// Finds out whom the backend asks, and asks: the client of a running call, or whose own connection this is.
    pub(in super::super) fn attribute(&self, id: &RequestId, method: Method, params: Params) -> Verdict {
        let (end, ended) = oneshot::channel();
        let (client, calls) = {
            let state = self.state();
            if state.closed.is_some() || state.questions.contains(id) {
                return Verdict::Repeated;
            }
            match (state.callers.running(), self.behalf.owner) {
                (Running::One(caller), _) => match state.newest(caller) {
                    Some((_, call)) => (Some(call.client.clone()), state.sent_by(caller)),
                    None => (None, Vec::new()),
                },
                (Running::Several, None) => return Verdict::Answer(questions::ambiguous()),
                _ => (None, Vec::new()),
            }
        };
        // Outside the lock: the client's side may call back.
        let asked = match (client, self.behalf.owner) {
            (Some(client), _) => client.ask(method.clone(), params),
            (None, Some(owner)) => Some(self.behalf.downstream.ask(owner, method.clone(), params)),
            (None, None) => None,
        };
        let Some(asked) = asked else {
            return Verdict::Answer(questions::of_nobody(&method));
        };
        let mut state = self.state();
        // Its calls may have ended meanwhile; those that are left decide.
        let left: Vec<u64> = calls
            .iter()
            .copied()
            .filter(|call| state.waiting.contains_key(call))
            .collect();
        if !calls.is_empty() && left.is_empty() {
            return Verdict::Answer(questions::of_nobody(&method));
        }
        state.questions.add(id.clone(), left, end);
        Verdict::Ask { asked, end: ended }
    }

    /// A question has been answered: the calls it is about wait for the backend again.
    pub(in super::super) fn close_question(&self, id: &RequestId) {
        let mut state = self.state();
        let calls = state.questions.close(id);
        state.hear(&calls);
    }

    /// The backend takes a question of its own back.
    pub(in super::super) fn withdraw_question(&self, id: &RawJson) {
        let mut state = self.state();
        let calls = state.questions.withdraw(id);
        state.hear(&calls);
    }

    /// Whether the client of a call is being asked about it: then it is not the backend that is silent.
    pub(in super::super) fn is_asking(&self, id: u64) -> bool {
        self.state().questions.are_about(id)
    }
}

impl State {
    /// The backend has something to do for these calls again.
    fn hear(&self, calls: &[u64]) {
        for entry in calls.iter().filter_map(|call| self.waiting.get(call)) {
            entry.call.hear();
        }
    }

    /// The newest call of a client that was sent.
    fn newest(&self, caller: Caller) -> Option<(u64, Arc<Waiting>)> {
        let sent = self.waiting.iter().filter(|(_, entry)| entry.call.is_sent_by(caller));
        let (id, entry) = sent.max_by_key(|(id, _)| **id)?;
        Some((*id, entry.call.clone()))
    }

    /// All calls of a client that were sent.
    fn sent_by(&self, caller: Caller) -> Vec<u64> {
        let sent = self.waiting.iter().filter(|(_, entry)| entry.call.is_sent_by(caller));
        sent.map(|(id, _)| *id).collect()
    }
}
