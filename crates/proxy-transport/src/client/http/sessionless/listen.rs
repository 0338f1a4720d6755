//! The stream of what a backend announces (`subscriptions/listen`): one for all clients.
//!
//! It is opened when there is something to hear, and again whenever it ends, with a growing pause; what may have been
//! missed meanwhile is looked up. When other resources are watched, the new stream is open before the old one is closed.
//! A backend that knows no such method has none. When nobody answers any more, the backend is gone.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use mcp_proxy_core::json::{Message, Params};
use mcp_proxy_core::{Downstream, Error, ErrorKind, Method, ProtocolVersion, Reply, codes};
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::core::Core;
use super::super::events::Events;
use super::super::patience::Patience;
use super::super::pool::Flow;
use super::super::reading::{Kind, Reading, small};
use super::super::sse::Parser;
use super::exchange;
use super::headers::About;
use crate::client::sessionless::listen::{Announces, Heard, Wanted, hear};

/// What the stream is about.
pub(super) struct Stream {
    pub(super) core: Arc<Core>,
    pub(super) version: ProtocolVersion,
    pub(super) announces: Announces,
    pub(super) events: Arc<Events>,
    pub(super) downstream: Arc<dyn Downstream>,
    /// Says what the open stream is about.
    pub(super) hearing: watch::Sender<Wanted>,
}

/// The stream while it is open.
struct Open {
    flow: Flow,
    parser: Parser,
    since: Instant,
}

/// An attempt to open it.
enum Opened {
    Stream(Box<Open>),
    /// The backend has none.
    None,
    /// It could not serve it just now.
    Later,
}

impl Stream {
    /// Keeps the stream open until the backend is gone. `wanted` is what anybody wants to hear of.
    pub(super) async fn run(self, mut wanted: watch::Receiver<Wanted>) {
        let mut open: Option<Box<Open>> = None;
        let (mut worked, mut missed) = (false, false);
        let mut pause = FIRST_PAUSE;
        loop {
            let now = wanted.borrow_and_update().clone();
            let Some(params) = self.announces.params(self.version, &now) else {
                (open, missed) = (None, false);
                self.hearing.send_replace(now);
                if wanted.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let opened = {
                let mut opening = pin!(self.open(&params));
                loop {
                    tokio::select! {
                        opened = &mut opening => break opened,
                        // The old stream is still the one that speaks.
                        () = self.follow(&mut open) => {
                            (open, missed) = (None, true);
                        }
                    }
                }
            };
            match opened {
                Ok(Opened::Stream(new)) => {
                    if std::mem::take(&mut missed) {
                        self.events.changed(&self.announces.lists());
                    }
                    worked = true;
                    open = Some(new);
                    self.hearing.send_replace(now);
                    tokio::select! {
                        changed = wanted.changed() => match changed {
                            Ok(()) => continue,
                            Err(_) => return,
                        },
                        () = self.follow(&mut open) => {}
                    }
                    if open.take().is_some_and(|open| open.since.elapsed() >= LONGEST_PAUSE) {
                        pause = FIRST_PAUSE;
                    }
                    missed = true;
                }
                Ok(Opened::None) if worked => {
                    let message = "the backend no longer announces what it did";
                    return self.events.closed(&Error::new(ErrorKind::ServerFault, message));
                }
                Ok(Opened::None) => return,
                Ok(Opened::Later) => {}
                Err(error) => return self.events.closed(&error),
            }
            let waited = tokio::time::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            let mut waited = pin!(waited);
            loop {
                tokio::select! {
                    () = &mut waited => break,
                    () = self.follow(&mut open) => (open, missed) = (None, true),
                }
            }
        }
    }

    /// Asks for the stream and waits until it is acknowledged.
    async fn open(&self, params: &Params) -> Result<Opened, Error> {
        let about = About {
            version: self.version,
            method: &Method::SubscriptionsListen,
            params,
            mirrors: &[],
        };
        let (sent, request) = exchange::write(&self.core, &about);
        let limit = self.core.idle_timeout.min(OPENING);
        let mut patience = pin!(Patience::new(limit));
        let (head, flow) = match exchange::send(&self.core, request, patience.as_mut()).await {
            Ok(response) => response,
            Err(error) if error.kind() == ErrorKind::NotSent => return Err(error),
            Err(_) => return Ok(Opened::Later),
        };
        let reading = Reading {
            core: &self.core,
            id: sent.id,
            flow,
            patience: patience.as_mut(),
        };
        let refused = match reading.kind(&head, false) {
            Kind::Events => {
                let parser = Parser::new(self.core.max_bytes);
                let mut open = Some(Box::new(Open {
                    flow: reading.flow,
                    parser,
                    since: Instant::now(),
                }));
                let acknowledged = tokio::time::timeout(limit, self.acknowledged(&mut open)).await;
                return Ok(match (acknowledged, open) {
                    (Ok(true), Some(open)) => Opened::Stream(open),
                    _ => Opened::Later,
                });
            }
            Kind::Json => reading.json().await,
            Kind::Other | Kind::SessionGone => reading.refusal(&head).await,
        };
        Ok(match refused {
            Ok(Reply::Error(error)) if error.code() == codes::INTERNAL_ERROR => Opened::Later,
            Ok(Reply::Error(_)) => Opened::None,
            Ok(Reply::Result(_)) => Opened::Later,
            Err(error) if error.kind() == ErrorKind::Refused || head.status == StatusCode::NOT_IMPLEMENTED => {
                Opened::None
            }
            Err(_) => Opened::Later,
        })
    }

    /// Reads up to the acknowledgement; false when the stream ended before.
    async fn acknowledged(&self, open: &mut Option<Box<Open>>) -> bool {
        match open {
            Some(open) => self.read(open, true).await,
            None => false,
        }
    }

    /// Takes what an open stream says until it ends; never ends without one.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    async fn follow(&self, open: &mut Option<Box<Open>>) {
        match open {
            // No bound on silence: there may be nothing to say for days, and a lost backend shows in the calls.
            Some(open) => {
                self.read(open, false).await;
            }
            None => std::future::pending().await,
        }
    }

    async fn read(&self, open: &mut Open, until_acknowledged: bool) -> bool {
        loop {
            while let Ok(Some(data)) = open.parser.next().inspect_err(|_| self.core.drop_message()) {
                match Message::scan(small(data)) {
                    Ok(Message::Notification(notification)) => match hear(notification) {
                        Heard::Acknowledged if until_acknowledged => return true,
                        Heard::Acknowledged => {}
                        Heard::Lists(kinds) => self.events.changed(kinds),
                        Heard::News(news) => {
                            // Who wants to hear it may have just left.
                            let _ = self.downstream.tell(None, *news);
                        }
                        Heard::Foreign => self.core.drop_message(),
                    },
                    // The answer to the request is its end.
                    Ok(Message::Response(_)) => return false,
                    _ => self.core.drop_message(),
                }
            }
            if open.parser.is_spoilt() {
                return false;
            }
            match poll_fn(|cx| open.flow.poll_chunk(cx)).await {
                Some(Ok(chunk)) => open.parser.feed(chunk),
                Some(Err(_)) | None => return false,
            }
        }
    }
}

/// How long opening it may take.
const OPENING: Duration = Duration::from_secs(10);

const FIRST_PAUSE: Duration = Duration::from_millis(500);

const LONGEST_PAUSE: Duration = Duration::from_secs(30);
