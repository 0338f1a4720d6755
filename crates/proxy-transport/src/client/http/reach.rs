//! The way to a backend for transports that begin as HTTP and are not Streamable HTTP: the same addresses, TLS, headers
//! and pool, without sessions and without ids.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use mcp_proxy_core::{Error, ErrorKind};

use super::super::options::HttpOptions;
use super::core::{Core, EVENT_STREAM};
use super::patience::Patience;
use super::pool::{Flow, SendFault};
use super::reading::{lost, release};
use super::sse::Parser;
use super::status;
use crate::client::duplex::framing::FrameError;

/// One backend and how to get there.
pub(in crate::client) struct Reach {
    core: Arc<Core>,
}

impl Reach {
    /// Prepares everything that never changes. Opens nothing yet.
    ///
    /// # Errors
    /// What is wrong with the options.
    pub(in crate::client) fn new(options: HttpOptions) -> Result<Self, Error> {
        Ok(Self {
            core: Core::new(options)?,
        })
    }

    /// Reads the TLS files, where TLS is spoken. To be done before each connection.
    ///
    /// # Errors
    /// `NotSent` with the file in its source.
    pub(in crate::client) async fn prepare(&self) -> Result<(), Error> {
        self.core.prepare_tls().await
    }

    /// Opens a connection to be used for something else than our pool.
    ///
    /// # Errors
    /// `NotSent`.
    #[cfg(feature = "websocket")]
    pub(in crate::client) async fn dial(
        &self,
    ) -> Result<impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static + use<>, Error> {
        Ok(hyper_util::rt::TokioIo::new(self.core.pool.target().dial().await?))
    }

    /// The headers that every request has, `Host` included, without those about a body.
    pub(in crate::client) fn headers(&self) -> HeaderMap {
        let mut headers = std::mem::take(self.core.post(None, Bytes::new()).headers_mut());
        headers.remove(header::CONTENT_TYPE);
        headers.remove(header::ACCEPT);
        headers
    }

    /// Opens an event stream at the backend's own URL.
    ///
    /// # Errors
    /// When there is none.
    pub(in crate::client) async fn events(&self) -> Result<EventBody, Error> {
        let mut request = self.core.post(None, Bytes::new());
        *request.method_mut() = Method::GET;
        *request.headers_mut() = self.headers();
        request
            .headers_mut()
            .insert(header::ACCEPT, HeaderValue::from_static(EVENT_STREAM));
        let (head, flow) = self.send(request).await?;
        let is_stream = status::media_type(&head.headers).is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM));
        if head.status == StatusCode::OK && is_stream {
            return Ok(EventBody {
                flow,
                parser: Parser::new(self.core.max_bytes),
                limit: self.core.max_bytes,
            });
        }
        release(&self.core, flow);
        Err(status::judge(&head))
    }

    /// Posts one message to a path of the backend. `Ok(Some(…))` says that just this message was refused.
    ///
    /// # Errors
    /// When no other message can be expected to arrive: the backend cannot be reached, does not know us, or has
    /// forgotten the connection.
    pub(in crate::client) async fn post(&self, uri: &Uri, body: Bytes) -> Result<Option<Error>, Error> {
        let mut request = self.core.post(None, body);
        *request.uri_mut() = uri.clone();
        let (head, flow) = self.send(request).await?;
        release(&self.core, flow);
        match head.status {
            status if status.is_success() => Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE => {
                Err(status::judge(&head))
            }
            _ => Ok(Some(status::judge(&head))),
        }
    }

    /// Closes connections that have been idle for too long.
    pub(in crate::client) fn sweep(&self) {
        self.core.pool.sweep();
    }

    async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<(http::response::Parts, Flow), Error> {
        let mut link = self.core.pool.checkout().await?;
        let mut patience = pin!(Patience::new(self.core.idle_timeout));
        loop {
            let reused = link.reused;
            match patience.as_mut().wait(link.send(request)).await? {
                Ok(response) => return Ok(response),
                // The backend closed the idle connection just before; a fresh one tells whether it is there.
                Err(SendFault::NotSent(again, _)) if reused => {
                    request = *again;
                    link = self.core.pool.dial().await?;
                }
                Err(SendFault::NotSent(_, cause)) => {
                    let message = "the connection to the backend was closed";
                    return Err(Error::new(ErrorKind::NotSent, message).caused_by(cause));
                }
                Err(SendFault::Lost(cause)) => return Err(lost(cause)),
            }
        }
    }
}

/// An event stream that is open.
pub(in crate::client) struct EventBody {
    flow: Flow,
    parser: Parser,
    limit: usize,
}

impl EventBody {
    /// The data of the next event that has some; `None` at the end of the stream.
    ///
    /// # Errors
    /// An event beyond the bound, or a connection that broke.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(in crate::client) async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            let limit = self.limit;
            if let Some(data) = self.parser.next().map_err(|_| FrameError::TooLong { limit })? {
                return Ok(Some(data));
            }
            match poll_fn(|cx| self.flow.poll_chunk(cx)).await {
                Some(Ok(chunk)) => self.parser.feed(chunk),
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(None),
            }
        }
    }
}
