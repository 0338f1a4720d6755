//! The task that reads. It never waits for anybody: what finds no room is dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use mcp_proxy_core::json::{Message, Notification, RawJson, Request, Response, ScanError, ScanErrorKind};
use mcp_proxy_core::{Error, ErrorKind, Method, RpcError, codes};
use memchr::memmem;
use tokio::sync::mpsc;

use super::allowance::Allowance;
use super::changes::Changes;
use super::framing::{FrameError, Incoming};
use super::link::Link;
use super::{progress, wire};
use crate::client::PeerEvent;

/// Reads until the connection ends or is closed, and says so last.
pub(super) async fn read(
    mut incoming: impl Incoming,
    link: Arc<Link>,
    events: mpsc::Sender<PeerEvent>,
    closed: mpsc::OwnedPermit<PeerEvent>,
) {
    let mut reader = Reader {
        link: &link,
        changes: Changes::default(),
        complaints: Allowance::new(10, 1),
    };
    let reason = loop {
        tokio::select! {
            () = link.done.cancelled() => break None,
            () = reader.changes.due() => reader.changes.pass_on(&events),
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
    link: &'a Link,
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
            Message::Request(request) => self.request(&request),
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
        match notification.method {
            Method::Progress => {
                if !self.progress(notification) {
                    let counter = &self.link.counters.undeliverable;
                    self.complain(counter, "progress of no call that waits was dropped", None);
                }
            }
            Method::LogMessage => {
                // It names no call, so it goes where it can be meant for one client only.
                let call = self.link.only_client();
                if let Some(call) = &call {
                    call.hear();
                }
                if !call.is_some_and(|call| call.client.notify(notification)) {
                    count(&self.link.counters.undeliverable);
                }
            }
            // About requests of the backend, all of which are answered at once.
            Method::Cancelled => {}
            method => match Changes::kinds(&method) {
                [] => count(&self.link.counters.undeliverable),
                kinds => self.changes.note(kinds),
            },
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

    fn request(&mut self, request: &Request) {
        let text = if request.method == Method::Ping {
            wire::pong(&request.id)
        } else {
            count(&self.link.counters.refused);
            let error = RpcError::new(codes::METHOD_NOT_FOUND, "the client does not offer this method");
            wire::refusal(&request.id, &error)
        };
        if !self.link.tell(text) {
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
