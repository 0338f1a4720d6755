//! The task that reads. It never waits for anybody: what finds no room is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use mcp_proxy_core::json::{Message, Notification, RawJson, Request, Response, ScanError, ScanErrorKind, Slot};
use mcp_proxy_core::{Error, ErrorKind, Method, Reply, SessionKey};
use memchr::memmem;
use tokio::sync::mpsc;

use super::allowance::Allowance;
use super::asking::Asking;
use super::changes::Changes;
use super::framing::{FrameError, Incoming};
use super::link::{Era, Link};
use super::progress;
use crate::client::sessionless::listen::{self, Heard};
use crate::client::{PeerEvent, questions};

/// Reads until the connection ends or is closed, and says so last.
pub(super) async fn read(
    mut incoming: impl Incoming,
    link: Arc<Link>,
    events: mpsc::Sender<PeerEvent>,
    closed: mpsc::OwnedPermit<PeerEvent>,
) {
    let mut reader = Reader {
        link: &link,
        asking: Asking::new(link.clone()),
        changes: Changes::default(),
        complaints: Allowance::new(10, 1),
    };
    let reason = loop {
        tokio::select! {
            () = link.done.cancelled() => break None,
            () = reader.changes.due() => reader.changes.pass_on(&events),
            () = reader.asking.reap() => {}
            message = incoming.next() => match message {
                Ok(Some(text)) => reader.take(text),
                Ok(None) => break Some(Error::new(ErrorKind::SentUnknown, "the backend ended the connection")),
                Err(error @ FrameError::TooLong { limit }) => {
                    let message = format!("the backend sent a message longer than {limit} bytes");
                    break Some(Error::new(ErrorKind::ServerFault, message).caused_by(error));
                }
                Err(FrameError::Forbidden { what }) => {
                    break Some(Error::new(ErrorKind::ServerFault, format!("the backend {what}")));
                }
                Err(FrameError::Refused { id, error }) => {
                    // Its call may have been dropped meanwhile; then nobody wants to know.
                    link.answer(id, Err(error));
                }
                Err(FrameError::Io(error)) => {
                    let message = "the connection to the backend failed";
                    break Some(Error::new(ErrorKind::SentUnknown, message).caused_by(error));
                }
            },
        }
    };
    if let Some(reason) = reason {
        link.close(&reason);
    }
    // A connection that was given up because nobody used it has not failed: its events just end.
    if let Some(reason) = link.reason().filter(|reason| reason.kind() != ErrorKind::Cancelled) {
        closed.send(PeerEvent::Closed(reason));
    }
}

struct Reader<'a> {
    link: &'a Arc<Link>,
    asking: Asking,
    changes: Changes,
    complaints: Allowance,
}

impl Reader<'_> {
    fn take(&mut self, text: Bytes) {
        match Message::scan(text.clone()) {
            Ok(message) => self.message(message),
            Err(error) if *error.kind() == ScanErrorKind::Batch => self.batch(text),
            Err(error) => self.broken(&text, &error),
        }
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Response(response) => self.response(response),
            Message::Notification(notification) => self.notification(notification),
            Message::Request(request) => self.request(request),
        }
    }

    fn response(&mut self, Response { id, reply }: Response) {
        let known = match id {
            Some(id) => id.as_u64().is_some_and(|id| self.link.answer(id, Ok(reply))),
            None => self.link.answer_only(Ok(reply)),
        };
        if !known {
            self.complain(
                &self.link.counters.foreign,
                "an answer to no call that waits was dropped",
                None,
            );
        }
    }

    fn notification(&mut self, notification: Notification) {
        if let Some(Era::Sessionless(_)) = self.link.era()
            && let Some(request) = listen::subscription(&notification.params)
        {
            return self.announced(&request, notification);
        }
        match notification.method {
            Method::Progress => {
                if !self.progress(notification) {
                    let counter = &self.link.counters.undeliverable;
                    self.complain(counter, "progress of no call that waits was dropped", None);
                }
            }
            // They name no call, so they go where they can be meant for one client only.
            Method::LogMessage | Method::ElicitationComplete => self.unaddressed(notification),
            // Whoever subscribed to the resource, or made the task, hears of it.
            Method::ResourceUpdated => self.told(None, notification),
            Method::TaskStatus => self.told(self.link.behalf.owner, notification),
            Method::Cancelled => {
                if let Some(id) = notification.params.value(Slot::RequestId) {
                    self.link.withdraw_question(&id);
                }
            }
            method => match Changes::kinds(&method) {
                [] => count(&self.link.counters.undeliverable),
                kinds => self.changes.note(kinds),
            },
        }
    }

    /// Takes what came on a subscription.
    fn announced(&mut self, request: &RawJson, notification: Notification) {
        if !self.link.listening.is_heard(request) {
            return count(&self.link.counters.undeliverable);
        }
        match listen::hear(notification) {
            Heard::Acknowledged => {}
            Heard::Lists(kinds) => self.changes.note(kinds),
            Heard::News(news) => self.told(None, *news),
            Heard::Foreign => count(&self.link.counters.undeliverable),
        }
    }

    /// Hands a message to the one client that it can be meant for, if there is one.
    fn unaddressed(&mut self, notification: Notification) {
        let taken = match (self.link.only_client(), self.link.behalf.owner) {
            (Some(call), _) => {
                call.hear();
                call.client.notify(notification)
            }
            (None, Some(owner)) => self.link.behalf.downstream.tell(Some(owner), notification),
            (None, None) => false,
        };
        if !taken {
            count(&self.link.counters.undeliverable);
        }
    }

    /// Hands a message to whom it concerns outside calls.
    fn told(&mut self, to: Option<SessionKey>, notification: Notification) {
        if !self.link.behalf.downstream.tell(to, notification) {
            count(&self.link.counters.undeliverable);
        }
    }

    /// Hands progress to the call it is about; false when there is none that wants it.
    fn progress(&self, notification: Notification) -> bool {
        let Some(params) = notification.params.to_raw() else {
            return false;
        };
        let Some(call) = progress::call_of(&params).and_then(|id| self.link.call(id)) else {
            return false;
        };
        let Some(params) = call
            .token
            .as_ref()
            .and_then(|token| progress::with_token(&params, token))
        else {
            return false;
        };
        call.hear();
        // Dropped by a slow client is delivered as far as the backend is concerned.
        call.client.notify(Notification {
            method: Method::Progress,
            params,
        });
        true
    }

    fn request(&mut self, request: Request) {
        let (id, method) = (request.id.clone(), request.method.clone());
        let Some(reply) = self.asking.take(request) else {
            return;
        };
        if matches!(reply, Reply::Error(_)) {
            count(&self.link.counters.refused);
            tracing::debug!(backend = %self.link.options.name, %method, "a request of the backend was refused");
        }
        if !self.link.tell(questions::response(&id, &reply)) {
            let counter = &self.link.counters.undeliverable;
            self.complain(counter, "a request of a backend that does not read was dropped", None);
        }
    }

    /// Revision 2025-03-26 lets a server send several messages in one array.
    fn batch(&mut self, text: Bytes) {
        let Ok(array) = RawJson::parse(text) else { return };
        for element in array.elements() {
            match Message::scan(element.as_bytes().clone()) {
                Ok(message) => self.message(message),
                Err(error) => self.broken(element.as_bytes(), &error),
            }
        }
    }

    /// Many servers print to standard output what belongs in a log. But what bears the id of a call, and is no request
    /// of the backend's own, was meant as its answer: better to say so than to let the call wait.
    fn broken(&mut self, text: &Bytes, error: &ScanError) {
        let id = error.id().and_then(|id| id.as_u64());
        if let Some(id) = id
            && memmem::find(text, b"\"method\"").is_none()
        {
            let fault =
                Error::new(ErrorKind::ServerFault, "the backend's answer is malformed").caused_by(error.clone());
            if self.link.answer(id, Err(fault)) {
                return;
            }
        }
        self.complain(
            &self.link.counters.junk,
            "output that is no JSON-RPC message was dropped",
            Some(error),
        );
    }

    fn complain(&mut self, counter: &AtomicU64, what: &'static str, error: Option<&ScanError>) {
        count(counter);
        if let Some(suppressed) = self.complaints.take() {
            let error = error.map(tracing::field::display);
            tracing::warn!(backend = %self.link.options.name, error, suppressed, "{what}");
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
