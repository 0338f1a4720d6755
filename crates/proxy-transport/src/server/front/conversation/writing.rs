//! The one writer of a conversation: takes messages from the queue, as many at once as are there.

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::PATIENCE;
use crate::client::duplex::framing::Outgoing;
use crate::server::front::answer::Answer;

/// Writes what waits together up to this size, in bytes.
const TOGETHER: usize = 64 * 1024;

/// Writes until nobody can say anything more, or the client does not take it.
pub(super) async fn write(mut outgoing: impl Outgoing, mut queue: mpsc::Receiver<Answer>) {
    while let Some(message) = queue.recv().await {
        push(&mut outgoing, &message);
        while outgoing.pending() < TOGETHER
            && let Ok(message) = queue.try_recv()
        {
            push(&mut outgoing, &message);
        }
        match timeout(PATIENCE, outgoing.flush()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "a client is gone");
                return;
            }
            Err(_) => {
                tracing::debug!("a client reads no more");
                return;
            }
        }
    }
    outgoing.end().await;
}

fn push(outgoing: &mut impl Outgoing, message: &Answer) {
    match message.whole() {
        Some(text) => outgoing.push(text),
        None => {
            let mut text = Vec::with_capacity(message.len());
            message.write(&mut text);
            outgoing.push(&text);
        }
    }
}
