//! What the peer needs of a byte stream: whole messages in, whole messages out. [`lines`](super::lines) is one framing.

use std::future::Future;
use std::io;

use bytes::Bytes;
use mcp_proxy_core::Error;

/// The receiving half: one message after the other.
pub(crate) trait Incoming: Send + 'static {
    /// The next message; `None` at the end of the stream.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, FrameError>> + Send;
}

/// The sending half: messages are collected, then written together.
pub(crate) trait Outgoing: Send + 'static {
    /// Adds a message to what the next [`flush`](Self::flush) writes.
    fn push(&mut self, message: &[u8]);

    /// How many bytes wait to be written.
    fn pending(&self) -> usize;

    /// Writes everything that waits. After an error, [`pending`](Self::pending) says how much was not taken.
    ///
    /// # Cancel safety
    /// What was written stays written and the rest stays pending, so it may be called again.
    fn flush(&mut self) -> impl Future<Output = io::Result<()>> + Send;

    /// Ends the stream: the other side reads its end.
    fn end(&mut self) -> impl Future<Output = ()> + Send;
}

/// Why there is no message. After anything but [`Refused`](Self::Refused) no more can be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// A message is longer than allowed. Where it ends is unknown, so the stream is of no more use.
    #[error("a message is longer than {limit} bytes")]
    TooLong { limit: usize },
    /// The backend did something that the transport forbids, so it cannot be understood any more.
    #[error("the transport forbids it")]
    #[cfg_attr(
        not(feature = "websocket"),
        expect(dead_code, reason = "only WebSocket has messages that are not for us")
    )]
    Forbidden {
        /// What it did: `sent a …`.
        what: &'static str,
    },
    /// The backend did not take one message of ours. The others are not affected and the stream goes on.
    #[error("a message was not taken")]
    Refused {
        /// The id of the request; nobody waits for anything else.
        id: u64,
        /// What its call ends with.
        error: Error,
    },
    /// The stream failed.
    #[error("reading failed")]
    Io(#[from] io::Error),
}
