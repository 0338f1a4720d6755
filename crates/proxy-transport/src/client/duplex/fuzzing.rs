//! A way in for the fuzz target `lines`. Compiled only by cargo-fuzz, which sets `cfg(fuzzing)`; no part of the API.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::framing::Outgoing;
use super::lines::{LineFramer, LineWriter};

/// What the framer made of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Its lines that are not blank.
    pub lines: Vec<Bytes>,
    /// The most bytes that were kept while waiting for more.
    pub kept: usize,
    /// It ended at a line beyond the bound.
    pub too_long: bool,
}

/// Reads a stream that arrives in `pieces`, up to its end or to the first line beyond `limit` bytes.
pub fn read<'a>(limit: usize, pieces: impl IntoIterator<Item = &'a [u8]>) -> Lines {
    let mut framer = LineFramer::new(limit);
    let mut read = Lines::default();
    for piece in pieces {
        framer.room().extend_from_slice(piece);
        loop {
            match framer.next_line() {
                Ok(Some(line)) => read.lines.push(line),
                Ok(None) => break,
                Err(_) => {
                    assert!(framer.next_line().is_err(), "too long once is too long for ever");
                    read.too_long = true;
                    return read;
                }
            }
        }
        read.kept = read.kept.max(framer.room().len());
    }
    read
}

/// What the writer makes of one message.
pub fn written(message: &[u8]) -> Vec<u8> {
    let mut writer = LineWriter::new(Vec::new());
    writer.push(message);
    let waiting = writer.pending();
    // Writing into memory never waits.
    let flushed = pin!(writer.flush()).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(flushed, Poll::Ready(Ok(()))), "{flushed:?}");
    let written = writer.into_sink();
    assert_eq!(written.len(), waiting);
    written
}
