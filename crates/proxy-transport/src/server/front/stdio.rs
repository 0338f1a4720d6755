//! The stdio transport towards a client: one message a line, as a desktop application speaks to a program it starts.

use tokio::io::{AsyncRead, AsyncWrite};

use super::Front;
use crate::client::duplex::lines::{LineReader, LineWriter};

impl Front {
    /// Speaks with one client over a pair of byte streams, until it closes `input`, reads no more, or the front was
    /// drained. What still runs then is cancelled. `ready` delays the answer to the first message.
    ///
    /// # Cancel safety
    /// Dropping the future ends the conversation at once.
    pub async fn serve_lines<R, W>(&self, input: R, output: W, ready: impl Future<Output = ()> + Send)
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let incoming = LineReader::new(input, self.0.options.body_bytes);
        self.converse(incoming, LineWriter::new(output), ready).await;
    }
}
