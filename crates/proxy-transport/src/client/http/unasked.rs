//! What a backend says on a session's own event stream, and whom it concerns.
//!
//! A session of one client: its client, by a running call where there is one, for that is certain to have a way to it.
//! A session that several share: the call that the message names, or the only one that runs, and otherwise those who
//! subscribed to what it is about. The rest is nobody's.

use std::sync::{Arc, Weak};
use std::task::Context;

use bytes::Bytes;
use mcp_proxy_core::json::{Message, Notification, RawJson, Request, ScanErrorKind};
use mcp_proxy_core::{Asked, Method, Reply, SessionKey};

use super::super::questions;
use super::asking::{Asking, answer};
use super::core::{Core, Outlet};
use super::interim::Allowance;
use super::session::Upstream;
use super::voice::{About, Voice};

/// Takes the messages of one session's own stream.
pub(super) struct Unasked {
    core: Weak<Core>,
    session: Weak<Upstream>,
    voice: Arc<Voice>,
    /// The client whose own session it is.
    owner: Option<SessionKey>,
    asking: Asking,
    allowance: Allowance,
}

impl Unasked {
    pub(super) fn new(core: &Arc<Core>, upstream: &Arc<Upstream>, owner: Option<SessionKey>) -> Self {
        Self {
            core: Arc::downgrade(core),
            session: Arc::downgrade(upstream),
            voice: upstream.voice.clone(),
            owner,
            asking: Asking::new(core),
            allowance: Allowance::new(),
        }
    }

    /// Where the calls of the session are entered.
    pub(super) fn voice(&self) -> &Arc<Voice> {
        &self.voice
    }

    /// Goes on with the questions.
    pub(super) fn poll_questions(&mut self, cx: &mut Context<'_>) {
        let session = &self.session;
        self.asking.poll(cx, || session.upgrade());
    }

    /// Counts what was too large to be read.
    pub(super) fn spoilt(&self) {
        if let Some(core) = self.core.upgrade() {
            core.drop_message();
        }
    }

    /// Takes one event.
    pub(super) fn event(&mut self, data: Bytes) {
        let Some(core) = self.core.upgrade() else {
            return;
        };
        match Message::scan(data.clone()) {
            Ok(message) => self.message(&core, message),
            // Revision 2025-03-26 lets a server put several messages into one array.
            Err(error) if *error.kind() == ScanErrorKind::Batch => {
                let elements = RawJson::parse(data).map(|array| array.elements()).unwrap_or_default();
                for element in elements {
                    match Message::scan(element.as_bytes().clone()) {
                        Ok(message) => self.message(&core, message),
                        Err(_) => core.drop_message(),
                    }
                }
            }
            Err(_) => core.drop_message(),
        }
    }

    fn message(&mut self, core: &Arc<Core>, message: Message) {
        let Some(outlet) = core.outlet() else {
            return core.drop_message();
        };
        let taken = match message {
            Message::Notification(notification) => self.notification(&outlet, notification),
            Message::Request(request) => self.request(core, &outlet, request),
            // Answers do not come this way.
            Message::Response(_) => false,
        };
        if !taken {
            core.drop_message();
        }
    }

    fn notification(&mut self, outlet: &Outlet, notification: Notification) -> bool {
        if outlet.events.take(&notification.method) {
            return true;
        }
        if !self.allowance.take() {
            return false;
        }
        match (&notification.method, self.owner) {
            // Only a server's notifications pass; these are a client's.
            (Method::Initialized | Method::RootsChanged, _) => false,
            (Method::Cancelled, _) => self.asking.withdraw(&notification),
            (Method::Progress, _) => match self.voice.progress(&notification) {
                Some((client, progress)) => client.notify(progress),
                None => false,
            },
            // Those who subscribed hear of it, whichever session the backend told.
            (Method::ResourceUpdated, _) => outlet.downstream.tell(None, notification),
            (_, Some(client)) => outlet.downstream.tell(Some(client), notification),
            (Method::TaskStatus, None) => outlet.downstream.tell(None, notification),
            (Method::LogMessage, None) => match self.voice.only() {
                About::One(client) => client.notify(notification),
                About::Nobody | About::Several => false,
            },
            _ => false,
        }
    }

    fn request(&mut self, core: &Arc<Core>, outlet: &Outlet, request: Request) -> bool {
        let Some(upstream) = self.session.upgrade().filter(|_| self.allowance.take()) else {
            return false;
        };
        let reply = match questions::without_client(&request.method) {
            Some(reply) => reply,
            None if !self.asking.has_room() => questions::too_many(),
            None => {
                let id = request.id.clone();
                match self.ask(outlet, request) {
                    Ok(asked) => {
                        let hold = self.voice.hold();
                        let held = async move {
                            let _hold = hold;
                            asked.await
                        };
                        self.asking.add(&id, Box::pin(held));
                        return true;
                    }
                    Err(reply) => {
                        answer(core, &upstream, &id, &reply);
                        return true;
                    }
                }
            }
        };
        answer(core, &upstream, &request.id, &reply);
        true
    }

    /// Asks the client that the question is for, or says what to answer in its place.
    fn ask(&self, outlet: &Outlet, Request { method, params, .. }: Request) -> Result<Asked, Reply> {
        let client = match self.owner {
            Some(_) => self.voice.newest(),
            None => match self.voice.only() {
                About::One(client) => Some(client),
                About::Nobody => return Err(questions::of_nobody(&method)),
                About::Several => return Err(questions::ambiguous()),
            },
        };
        match (client, self.owner) {
            (Some(client), _) if client.is_open() => client
                .ask(method.clone(), params)
                .ok_or_else(|| questions::of_nobody(&method)),
            (_, Some(owner)) => Ok(outlet.downstream.ask(owner, method, params)),
            _ => Err(questions::of_nobody(&method)),
        }
    }
}
