//! What everything that concerns one backend shares: its pool, the headers of every request, ids, limits, background
//! errands.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::Full;
use mcp_proxy_core::{Downstream, Error, ErrorKind};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use url::Position;

use super::super::options::{HttpOptions, SessionMode, TlsOptions};
use super::dial::Target;
use super::events::Events;
use super::pool::Pool;
use super::pooled::Pooled;
use super::session::{Sessions, Upstream};
use super::tls;

/// One backend, as all its connections and sessions see it.
pub(super) struct Core {
    pub(super) pool: Pool,
    pub(super) sessions: Sessions,
    pub(super) pooled: Pooled,
    /// Who may hold one more event stream open.
    pub(super) streams: Arc<Semaphore>,
    stream_manners: StreamManners,
    outlet: ArcSwapOption<Outlet>,
    pub(super) mode: SessionMode,
    pub(super) idle_timeout: Duration,
    pub(super) max_bytes: usize,
    /// Messages of the backend that were nobody's: foreign ids and tokens, floods, refused kinds.
    dropped: AtomicU64,
    generation: AtomicU64,
    /// Owns the openings of sessions and the errands, which outlive a peer.
    pub(super) tasks: TaskTracker,
    tls: TlsOptions,
    uri: Uri,
    headers: Headers,
    next_id: AtomicU64,
    errands: Arc<Semaphore>,
}

/// Where messages go that are about no call.
pub(super) struct Outlet {
    /// The proxy itself.
    pub(super) events: Arc<Events>,
    /// Its clients.
    pub(super) downstream: Arc<dyn Downstream>,
}

/// How the backend treats a GET for a session's own stream, as far as it has shown.
#[derive(Default)]
struct StreamManners {
    /// It offers none.
    none: AtomicBool,
    /// It does not answer before it has something to say.
    late: AtomicBool,
}

/// The headers of requests, made once. Values that differ from session to session have their place already, so filling
/// them in moves nothing.
struct Headers {
    bare: HeaderMap,
    shared: HeaderMap,
    session: HeaderMap,
}

impl Core {
    /// Prepares everything that never changes.
    ///
    /// # Errors
    /// What is wrong with the options: a URL or token that HTTP cannot carry.
    pub(super) fn new(options: HttpOptions) -> Result<Arc<Self>, Error> {
        let refused = |what: &str| Error::new(ErrorKind::NotSent, format!("the backend's URL {what}"));
        let target = Target::new(&options.url, options.connect_timeout).map_err(refused)?;
        let uri = options.url[Position::BeforePath..Position::AfterQuery]
            .parse()
            .map_err(|error: http::uri::InvalidUri| refused("has a path that HTTP cannot carry").caused_by(error))?;
        Ok(Arc::new(Self {
            pool: Pool::new(target),
            sessions: Sessions::default(),
            pooled: Pooled::default(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            stream_manners: StreamManners::default(),
            outlet: ArcSwapOption::empty(),
            mode: options.session,
            idle_timeout: options.idle_timeout,
            max_bytes: options.max_message_bytes,
            dropped: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            headers: Headers::new(&options)?,
            tls: options.tls,
            uri,
            next_id: AtomicU64::new(1),
            errands: Arc::new(Semaphore::new(MAX_ERRANDS)),
        }))
    }

    /// Reads the TLS files, for a backend that is reached by `https`.
    ///
    /// # Errors
    /// `NotSent` with the file in its source.
    pub(super) async fn prepare_tls(&self) -> Result<(), Error> {
        if !self.pool.target().is_tls() {
            return Ok(());
        }
        let options = self.tls.clone();
        let failed = || Error::new(ErrorKind::NotSent, "TLS towards the backend cannot be set up");
        let config = tokio::task::spawn_blocking(move || tls::client_config(&options))
            .await
            .map_err(|error| failed().caused_by(error))?
            .map_err(|error| failed().caused_by(error))?;
        self.pool.target().set_tls(config);
        Ok(())
    }

    /// A JSON-RPC id that was never used before with this backend.
    pub(super) fn mint_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// A POST of one JSON-RPC message. Without `upstream` it belongs to no session yet.
    pub(super) fn post(&self, upstream: Option<&Upstream>, body: Bytes) -> Request<Full<Bytes>> {
        self.request(Method::POST, upstream, body)
    }

    /// A GET that asks for the session's own event stream, from after the event `last_id` on.
    pub(super) fn get(&self, upstream: &Upstream, last_id: Option<&HeaderValue>) -> Request<Full<Bytes>> {
        let mut request = self.request(Method::GET, Some(upstream), Bytes::new());
        let headers = request.headers_mut();
        if let Some(last_id) = last_id {
            headers.insert(LAST_EVENT_ID, last_id.clone());
        }
        headers.insert(header::ACCEPT, HeaderValue::from_static(EVENT_STREAM));
        headers.remove(header::CONTENT_TYPE);
        request
    }

    /// A DELETE that ends a session.
    pub(super) fn delete(&self, upstream: &Upstream) -> Request<Full<Bytes>> {
        let mut request = self.request(Method::DELETE, Some(upstream), Bytes::new());
        request.headers_mut().remove(header::CONTENT_TYPE);
        request
    }

    /// Runs something of no consequence for any caller, in the background, within five seconds. Dropped when too many
    /// are running, or when there is no runtime any more.
    pub(super) fn errand(&self, work: impl Future<Output = ()> + Send + 'static) {
        let (Ok(permit), Ok(runtime)) = (self.errands.clone().try_acquire_owned(), Handle::try_current()) else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let work = async move {
            let _permit = permit;
            // Nobody waits for it, so being late is the same as having failed.
            let _ = tokio::time::timeout(ERRAND_TIMEOUT, work).await;
        };
        self.tasks.spawn_on(work, &runtime);
    }

    /// Where messages go that are about no call; `None` before the first handshake.
    pub(super) fn outlet(&self) -> Option<Arc<Outlet>> {
        self.outlet.load_full()
    }

    /// Begins anew with a backend that may have been replaced by another.
    pub(super) fn set_outlet(&self, outlet: Outlet) {
        self.outlet.store(Some(Arc::new(outlet)));
        self.stream_manners.none.store(false, Ordering::Relaxed);
        self.stream_manners.late.store(false, Ordering::Relaxed);
    }

    /// Whether sessions may have a stream of their own.
    pub(super) fn offers_streams(&self) -> bool {
        !self.stream_manners.none.load(Ordering::Relaxed)
    }

    /// Notes that they have none.
    pub(super) fn no_streams(&self) {
        self.stream_manners.none.store(true, Ordering::Relaxed);
    }

    /// Whether the answer to the GET for one is worth waiting for.
    pub(super) fn waits_for_streams(&self) -> bool {
        !self.stream_manners.late.load(Ordering::Relaxed)
    }

    /// Notes that it is not.
    pub(super) fn streams_answer_late(&self) {
        self.stream_manners.late.store(true, Ordering::Relaxed);
    }

    /// Numbers a handshake.
    pub(super) fn next_generation(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether no handshake came after this one.
    pub(super) fn is_newest(&self, generation: u64) -> bool {
        self.generation.load(Ordering::Relaxed) == generation
    }

    /// Messages that were nobody's, so far.
    pub(super) fn dropped_messages(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Counts a message of the backend that was nobody's.
    pub(super) fn drop_message(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    fn request(&self, method: Method, upstream: Option<&Upstream>, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.of(upstream);
        request
    }
}

impl Headers {
    fn new(options: &HttpOptions) -> Result<Self, Error> {
        let mut bare = HeaderMap::new();
        let host = &options.url[Position::BeforeHost..Position::AfterPort];
        bare.insert(header::HOST, header_value(host)?);
        bare.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("mcp-proxy/", env!("CARGO_PKG_VERSION"))),
        );
        let mut named = HeaderMap::new();
        for (name, value) in &options.headers {
            let mut value = value.clone();
            value.set_sensitive(true);
            named.append(name, value);
        }
        // What the operator says replaces ours, several values of one name stay several; only what makes the protocol
        // work is not up for change.
        for name in named.keys() {
            bare.remove(name);
        }
        bare.extend(named);
        for name in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
            bare.remove(name);
        }
        if let Some(token) = &options.bearer {
            let mut value = header_value(&format!("Bearer {}", token.expose()))?;
            value.set_sensitive(true);
            bare.insert(header::AUTHORIZATION, value);
        }
        bare.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
        bare.insert(header::ACCEPT, HeaderValue::from_static(JSON_OR_EVENTS));
        bare.remove(SESSION_ID);
        bare.remove(PROTOCOL_VERSION);
        let mut shared = bare.clone();
        shared.insert(PROTOCOL_VERSION, HeaderValue::from_static(""));
        let mut session = shared.clone();
        session.insert(SESSION_ID, HeaderValue::from_static(""));
        Ok(Self { bare, shared, session })
    }

    fn of(&self, upstream: Option<&Upstream>) -> HeaderMap {
        let Some(upstream) = upstream else {
            return self.bare.clone();
        };
        let mut headers = match &upstream.id {
            None => self.shared.clone(),
            Some(id) => {
                let mut headers = self.session.clone();
                headers.insert(SESSION_ID, id.clone());
                headers
            }
        };
        headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(upstream.version.as_str()));
        headers
    }
}

fn header_value(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text).map_err(|_| {
        Error::new(
            ErrorKind::NotSent,
            "the backend's URL or token holds characters that HTTP cannot carry",
        )
    })
}

/// Carries an upstream session.
pub(super) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// Carries the protocol revision agreed on.
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// Names the event after which a stream goes on.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Media type of a single message.
pub(super) const JSON: &str = "application/json";

/// Media type of a stream of messages.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

const JSON_OR_EVENTS: &str = "application/json, text/event-stream";

/// Event streams of clients' sessions that are open at once, each of them a connection; half of those that there may
/// be. A session beyond that does without.
const MAX_STREAMS: usize = 2048;

/// Background errands that run at once for one backend.
const MAX_ERRANDS: usize = 256;

/// How long one may take.
const ERRAND_TIMEOUT: Duration = Duration::from_secs(5);
