//! The peer: calls in their rounds, and what may follow from a refusal.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mcp_proxy_core::catalogue::{Kind, Mirror};
use mcp_proxy_core::json::{Notification, Params, Slot};
use mcp_proxy_core::{Call, CallFuture, ClientHandle, Downstream, Error, ErrorKind, Method, Reply, SessionKey, codes};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::core::Core;
use super::super::events::{self, Events};
use super::exchange::{Outgoing, exchange};
use super::headers::About;
use super::mirrors::{self, Page};
use super::{Doubt, listen};
use crate::client::sessionless::Manner;
use crate::client::sessionless::listen::{Announces, Wanted};
use crate::client::sessionless::meta;
use crate::client::sessionless::rounds::converse;
use crate::client::{BoxFuture, Connected, Hello, Peer};

/// A backend of the sessionless era. There is no connection to keep: it is open until it is closed.
pub(in crate::client::http) struct SessionlessPeer {
    inner: Arc<Inner>,
    watched: watch::Sender<Wanted>,
    /// What the open stream is about.
    heard: watch::Receiver<Wanted>,
    /// Ends the tasks of this peer.
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct Inner {
    core: Arc<Core>,
    manner: Manner,
    events: Arc<Events>,
    doubt: Doubt,
}

impl SessionlessPeer {
    /// The peer of a backend that said `hello`, with its tasks running. Its lists are read next, and what changes between
    /// that and the opening of the stream would be lost; so the stream comes first, if it comes soon.
    pub(in crate::client::http) async fn start(
        core: Arc<Core>,
        hello: Hello,
        downstream: Arc<dyn Downstream>,
    ) -> Connected {
        let (events, sender, receiver) = Events::new();
        let manner = Manner::of(&hello);
        let (watched, wanted) = watch::channel(Wanted::default());
        let (hearing, heard) = watch::channel(Wanted::default());
        let peer = Self {
            inner: Arc::new(Inner {
                core: core.clone(),
                manner,
                events: events.clone(),
                doubt: Doubt::default(),
            }),
            watched,
            heard,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let stream = listen::Stream {
            core: core.clone(),
            version: manner.version,
            announces: Announces::of(&hello.capabilities),
            events: events.clone(),
            downstream,
            hearing,
        };
        peer.spawn(events::forward(events, sender));
        peer.spawn(stream.run(wanted));
        peer.spawn(super::super::sweep(core));
        let mut heard = peer.heard.clone();
        // A backend without a stream, or with one that takes its time, is as good as before.
        let _ = tokio::time::timeout(FIRST_STREAM, heard.changed()).await;
        Connected {
            peer: Arc::new(peer),
            hello,
            events: receiver,
        }
    }

    /// Waits until the open stream is about what is wanted.
    fn until(&self, is_wanted: impl FnMut(&Wanted) -> bool + Send + 'static) -> BoxFuture<'static, Result<(), Error>> {
        let mut heard = self.heard.clone();
        Box::pin(async move {
            let heard = heard.wait_for(is_wanted).await;
            heard.map(drop).map_err(|_| {
                Error::new(
                    ErrorKind::Refused,
                    "the backend has no stream on which it would tell of changes",
                )
            })
        })
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(task));
    }
}

impl Peer for SessionlessPeer {
    fn call(&self, call: Call) -> CallFuture {
        let inner = self.inner.clone();
        Box::pin(async move { inner.call(&call).await })
    }

    fn notify(&self, _: SessionKey, _: Notification) -> BoxFuture<'_, Result<(), Error>> {
        // Nothing of a client is kept upstream that could be told.
        Box::pin(async { Ok(()) })
    }

    fn watch(&self, uris: Arc<[Box<str>]>) -> BoxFuture<'_, Result<(), Error>> {
        self.watched.send_modify(|wanted| wanted.uris = uris.clone());
        self.until(move |heard| heard.uris == uris)
    }

    fn watch_tasks(&self, ids: Arc<[Box<str>]>) -> BoxFuture<'_, Result<(), Error>> {
        self.watched.send_modify(|wanted| wanted.tasks = ids.clone());
        self.until(move |heard| heard.tasks == ids)
    }

    fn is_open(&self) -> bool {
        !self.stop.is_cancelled()
    }

    fn session_closed(&self, _: SessionKey) {}

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.stop.cancel();
            self.tasks.close();
            // They end where they next wait; being late is no reason to wait longer.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.tasks.wait()).await;
            self.inner.core.pool.clear();
        })
    }
}

impl Drop for SessionlessPeer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Inner {
    async fn call(&self, call: &Call) -> Result<Reply, Error> {
        let outcome = converse(self.manner, call, |params| self.send(call, params)).await;
        match outcome {
            Ok(Reply::Result(result)) if call.method == Method::ToolsList => {
                Ok(Reply::Result(mirrors::callable(result)))
            }
            outcome => outcome,
        }
    }

    /// One round.
    async fn send(&self, call: &Call, params: Params) -> Result<Reply, Error> {
        let known: &[Mirror] = match &call.item {
            Some(item) if call.method == Method::ToolsCall => &item.mirrors,
            _ => &[],
        };
        let outcome = self.once(&call.method, &params, known, &call.client).await;
        match &outcome {
            Ok(Reply::Error(error)) if error.code() == codes::HEADER_MISMATCH => {
                // A header that is not as the tool wants it: nothing was run.
                match self.wanted(call, known).await {
                    Some(fresh) => self.once(&call.method, &params, &fresh, &call.client).await,
                    None => outcome,
                }
            }
            Ok(Reply::Result(_)) => outcome,
            _ => match self.doubt.settle(&self.core, true, &outcome).await {
                Some(changed) => {
                    self.events.closed(&changed);
                    Err(changed)
                }
                None => outcome.inspect_err(|error| self.note(error)),
            },
        }
    }

    async fn once(
        &self,
        method: &Method,
        params: &Params,
        mirrors: &[Mirror],
        client: &ClientHandle,
    ) -> Result<Reply, Error> {
        let about = About {
            version: self.manner.version,
            method,
            params,
            mirrors,
        };
        exchange(&self.core, Outgoing { about, client }).await
    }

    /// The mirrors that the called tool has now, when they are others than those `known`.
    async fn wanted(&self, call: &Call, known: &[Mirror]) -> Option<Vec<Mirror>> {
        if call.method != Method::ToolsCall {
            return None;
        }
        let name = call.params.string(Slot::Name)?;
        let mut list = Call::new(Method::ToolsList);
        list.context = call.context.clone();
        for _ in 0..MAX_PAGES {
            let params = meta::dress(self.manner, &list);
            let reply = self
                .once(&list.method, &params, &[], &ClientHandle::none())
                .await
                .ok()?;
            match mirrors::look_up(&reply, &name) {
                Page::Found(fresh) if fresh != known => {
                    self.events.changed(&[Kind::Tool]);
                    return Some(fresh);
                }
                Page::Next(cursor) => list.params.set_string(Slot::Cursor, &cursor),
                Page::Found(_) | Page::Nowhere => return None,
            }
        }
        None
    }

    /// Tells the manager of an error that says that the backend cannot be reached.
    fn note(&self, error: &Error) {
        if error.kind() == ErrorKind::NotSent {
            self.events.closed(error);
        }
    }
}

/// How long ending the tasks may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the first stream may keep the lists waiting.
const FIRST_STREAM: Duration = Duration::from_secs(1);

/// Pages in which a tool is looked for.
const MAX_PAGES: usize = 100;
