//! `subscriptions/listen`: a stream on which a client hears of the changes it asked for.
//!
//! The first message acknowledges what is honoured; every message carries the id of the request that listens; the result
//! comes only when the proxy ends the stream. What is honoured is for the stack to say: it is called like for any other
//! method, and keeps resources and tasks under the stream's own session key. A stream whose reader is too slow ends without
//! a result, and its client listens anew.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use hashbrown::HashMap;
use http::StatusCode;
use mcp_proxy_core::json::{Notification, Params, RawJson, Request, RequestId};
use mcp_proxy_core::{Call, Method, Reply, RpcError, Session, SessionKey, codes};

use super::super::answer::Answer;
use super::super::body::Silence;
use super::super::outbox::{self, Outbox, Push};
use super::super::respond::Refusal;
use super::super::session::Sessions;
use super::super::{Inner, lock};
use super::dress::refused;
use super::{Envelope, keys};

/// Most streams at a time.
const MAX_LISTENERS: usize = 10_000;

/// One stream.
struct Listener {
    /// The id of the request that listens, as every message on the stream repeats it.
    id: RawJson,
    outbox: Outbox,
    honoured: Honoured,
    /// Its result was sent.
    finished: AtomicBool,
}

/// What a stream carries.
#[derive(Clone, Copy, Default)]
struct Honoured {
    tools: bool,
    prompts: bool,
    resources: bool,
    updates: bool,
    tasks: bool,
}

impl Honoured {
    /// Reads the filter that was honoured.
    fn of(filter: &RawJson) -> Self {
        let is = |key: &str| filter.get(key).is_some_and(|value| is_wanted(&value));
        Self {
            tools: is("toolsListChanged"),
            prompts: is("promptsListChanged"),
            resources: is("resourcesListChanged"),
            updates: is("resourceSubscriptions"),
            tasks: is("taskIds"),
        }
    }

    fn takes(self, method: &Method) -> bool {
        match method {
            Method::ToolsChanged => self.tools,
            Method::PromptsChanged => self.prompts,
            Method::ResourcesChanged => self.resources,
            Method::ResourceUpdated => self.updates,
            Method::TaskChanged => self.tasks,
            _ => false,
        }
    }
}

/// Whether a member of a filter asks for anything.
fn is_wanted(value: &RawJson) -> bool {
    value.as_bytes() == &b"true"[..] || !value.elements().is_empty()
}

impl Listener {
    /// Sends a message if the stream carries such; false when it does not, or its reader is too slow and it ends.
    fn tell(&self, message: &Notification) -> bool {
        if !self.honoured.takes(&message.method) {
            return false;
        }
        let pushed = self.outbox.push(self.tagged(message.clone()), true);
        if pushed == Push::Full {
            self.outbox.close();
        }
        pushed == Push::Taken
    }

    fn tagged(&self, mut message: Notification) -> Bytes {
        message.params.add_meta(&[(keys::SUBSCRIPTION, &self.id)]);
        outbox::text(&message)
    }

    fn acknowledge(&self, filter: &RawJson) {
        let mut params = Params::absent();
        params.add_meta(&[(keys::SUBSCRIPTION, &self.id)]);
        let params = params.to_raw().map(|params| params.with("notifications", filter));
        let message = Notification {
            method: Method::SubscriptionsAcknowledged,
            params: params
                .and_then(|params| Params::parse(params.as_bytes().clone()).ok())
                .unwrap_or_default(),
        };
        self.outbox.push(outbox::text(&message), false);
    }

    /// The end that was meant: the result, then nothing.
    fn finish(&self, about: &Bytes) {
        self.finished.store(true, Ordering::SeqCst);
        let key = RawJson::encode(keys::SUBSCRIPTION);
        let id = self.id.as_bytes();
        let text = [
            br#"{"jsonrpc":"2.0","id":"#,
            &id[..],
            br#","result":{"resultType":"complete","_meta":{"#,
            key.as_bytes(),
            b":",
            id,
            b",",
            about,
            b"}}}",
        ];
        self.outbox.push(text.concat().into(), false);
        self.outbox.close();
    }
}

/// All streams.
#[derive(Default)]
pub(in super::super) struct Listeners {
    all: Mutex<HashMap<SessionKey, Arc<Listener>>>,
    ended: AtomicBool,
}

impl Listeners {
    /// Tells whoever asked for it.
    pub(in super::super) fn broadcast(&self, message: &Notification) {
        let all: Vec<_> = lock(&self.all).values().cloned().collect();
        for listener in all {
            listener.tell(message);
        }
    }

    /// Tells one stream; `None` when there is none of that key.
    pub(in super::super) fn tell(&self, to: SessionKey, message: &Notification) -> Option<bool> {
        let listener = lock(&self.all).get(&to).cloned()?;
        Some(listener.tell(message))
    }

    /// Ends a stream without a word; false when there is none of that key.
    pub(in super::super) fn terminate(&self, key: SessionKey) -> bool {
        let listener = lock(&self.all).remove(&key);
        listener.is_some_and(|listener| {
            listener.outbox.close();
            true
        })
    }

    /// Ends all streams in good order, and every one that is still to come.
    pub(in super::super) fn finish(&self, front: &Inner) {
        self.ended.store(true, Ordering::SeqCst);
        let all = std::mem::take(&mut *lock(&self.all));
        for listener in all.values() {
            listener.finish(front.about.member(&*front.app));
        }
    }

    fn is_full(&self) -> bool {
        lock(&self.all).len() >= MAX_LISTENERS
    }
}

/// What must be undone when a stream ends, however it does.
struct Seat {
    front: Arc<Inner>,
    key: SessionKey,
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.front.listeners.all).remove(&self.key);
        self.front.app.session_closed(self.key);
    }
}

/// Begins to listen; the answer when nothing comes of it.
pub(super) async fn listen(
    front: &Arc<Inner>,
    request: Request,
    envelope: Envelope,
    interim: bool,
) -> Result<Stream, Answer> {
    let unserved = |status, code, message: &'static str, id: &RequestId| {
        Err(Refusal::new(status, code, message).answer_with_status(id))
    };
    if !interim {
        let message = "`Accept` must name text/event-stream";
        return unserved(StatusCode::NOT_ACCEPTABLE, codes::INVALID_REQUEST, message, &request.id);
    }
    let filter = request.params.to_raw().and_then(|params| params.get("notifications"));
    let Some(filter) = filter.filter(RawJson::is_object) else {
        let error = RpcError::new(codes::INVALID_PARAMS, "`notifications` must be an object");
        return Err(refused(&request.id, &error));
    };
    if front.listeners.is_full() {
        let message = "too many streams are open";
        return unserved(StatusCode::SERVICE_UNAVAILABLE, codes::OVERLOADED, message, &request.id);
    }
    let is_empty = !filter.members().iter().any(|(_, value)| is_wanted(value));
    let (id, answer) = subscribe(front, request, envelope).await;
    let (seat, filter) = answer.map_err(|error| refused(&id, &error))?;
    let listener = Arc::new(Listener {
        id: RawJson::parse(id.detached().as_bytes().clone()).unwrap_or_else(|_| RawJson::from_static("null")),
        outbox: Outbox::new(true),
        honoured: Honoured::of(&filter),
        finished: AtomicBool::new(false),
    });
    // Before anybody can find the stream, so that nothing comes before it.
    listener.acknowledge(&filter);
    if is_empty {
        listener.finish(front.about.member(&*front.app));
    } else {
        lock(&front.listeners.all).insert(seat.key, listener.clone());
        if front.listeners.ended.load(Ordering::SeqCst) {
            front.listeners.finish(front);
        }
    }
    Ok(Stream {
        listener,
        silence: Silence::new(front.options.keep_alive),
        _seat: seat,
    })
}

/// Asks the stack what of the filter it honours.
async fn subscribe(
    front: &Arc<Inner>,
    request: Request,
    envelope: Envelope,
) -> (RequestId, Result<(Seat, RawJson), RpcError>) {
    let mut context = envelope.context();
    let session = Arc::new(Session {
        key: Sessions::next_key(),
        version: context.version,
        declared: Arc::new(context.declared.detached()),
    });
    let seat = Seat {
        front: front.clone(),
        key: session.key,
    };
    front.app.session_opened(&session);
    context.declared = session.declared.clone();
    context.session = Some(session);
    let mut call = Call::new(request.method).with_params(request.params);
    call.context = context;
    let answer = match front.app.service().call(call).await {
        Ok(Reply::Result(result)) => match result.get("notifications").filter(RawJson::is_object) {
            Some(filter) => Ok((seat, filter)),
            None => Err(RpcError::new(
                codes::INTERNAL_ERROR,
                "the proxy failed inside; its log says more",
            )),
        },
        Ok(Reply::Error(error)) => Err(error),
        Err(error) => Err(error.to_rpc()),
    };
    (request.id, answer)
}

/// A stream that was opened. Dropping it ends it.
pub(in super::super) struct Stream {
    listener: Arc<Listener>,
    silence: Silence,
    _seat: Seat,
}

impl Stream {
    /// The next message, as one line of JSON.
    pub(in super::super) fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.listener.outbox.poll_next(cx)
    }

    /// Whether it has its result, or will have none.
    pub(in super::super) fn is_finished(&self) -> bool {
        self.listener.finished.load(Ordering::SeqCst)
    }

    /// The next event or comment.
    pub(in super::super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self.poll_line(cx) {
            Poll::Ready(text) => {
                self.silence.broken();
                Poll::Ready(text.map(|text| outbox::event(&text)))
            }
            Poll::Pending => self.silence.poll(cx).map(Some),
        }
    }
}
