//! The task that writes. It waits for nobody but the backend, so a full pipe never keeps answers from being read.

use std::sync::Arc;

use bytes::Bytes;
use mcp_proxy_core::{Error, ErrorKind};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::framing::Outgoing;
use super::link::Link;
use super::waiting::{Outbound, Waiting};

/// Writes what is queued until the connection is closed. Messages that wait are written with one flush.
pub(super) async fn write(
    mut outgoing: impl Outgoing,
    mut requests: mpsc::Receiver<Outbound>,
    mut control: mpsc::Receiver<Bytes>,
    link: Arc<Link>,
) {
    let mut batch = Batch::default();
    loop {
        // Short messages first: a cancellation frees the backend for what waits behind it. It cannot overtake its own
        // call, because it is sent only once that call has been taken from the queue.
        tokio::select! {
            biased;
            () = link.done.cancelled() => break,
            Some(text) = control.recv() => outgoing.push(&text),
            Some(message) = requests.recv() => batch.add(message, &mut outgoing),
        }
        while outgoing.pending() < BATCH_BYTES {
            if let Ok(text) = control.try_recv() {
                outgoing.push(&text);
            } else if let Ok(message) = requests.try_recv() {
                batch.add(message, &mut outgoing);
            } else {
                break;
            }
        }
        let total = outgoing.pending();
        let flushed = tokio::select! {
            biased;
            () = link.done.cancelled() => break,
            flushed = outgoing.flush() => flushed,
        };
        if let Err(error) = flushed {
            batch.give_back(total - outgoing.pending());
            let reason = Error::new(ErrorKind::SentUnknown, "the backend closed the connection").caused_by(error);
            link.close(&reason);
            break;
        }
        batch.calls.clear();
    }
    // A pipe that nobody reads must not hold this up.
    let _ = timeout(END_TIMEOUT, outgoing.end()).await;
}

/// The calls in one flush, each with the place where its request begins.
#[derive(Default)]
struct Batch {
    calls: Vec<(usize, Arc<Waiting>)>,
}

impl Batch {
    fn add(&mut self, message: Outbound, outgoing: &mut impl Outgoing) {
        if let Some(call) = message.call {
            if !call.take() {
                return;
            }
            self.calls.push((outgoing.pending(), call));
        }
        outgoing.push(&message.text);
    }

    /// Only `written` bytes have left: what begins after them was not sent.
    fn give_back(&self, written: usize) {
        for (start, call) in &self.calls {
            if *start >= written {
                call.give_back();
            }
        }
    }
}

/// Messages are collected up to this many bytes before they are written.
const BATCH_BYTES: usize = 64 * 1024;

/// How long ending the stream may take.
const END_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(500);
