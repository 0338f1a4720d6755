//! A way in for the fuzz target `event_stream`. Compiled only by cargo-fuzz, which sets `cfg(fuzzing)`; no part of the
//! API.

use bytes::Bytes;

use super::sse::Parser;

/// What the parser made of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct EventStream {
    /// The data of its events.
    pub events: Vec<Bytes>,
    /// The id that a resumption would name.
    pub last_id: Option<Box<str>>,
    /// The wish of the server, in milliseconds.
    pub retry_ms: Option<u64>,
    /// It ended at an event beyond the bound.
    pub too_large: bool,
}

/// Reads a stream that arrives in `pieces`, up to its end or to the first event beyond `limit` bytes.
pub fn read(limit: usize, pieces: impl IntoIterator<Item = Bytes>) -> EventStream {
    let mut parser = Parser::new(limit);
    let mut read = EventStream::default();
    'stream: for piece in pieces {
        parser.feed(piece);
        loop {
            match parser.next() {
                Ok(Some(event)) => read.events.push(event),
                Ok(None) => break,
                Err(_) => {
                    read.too_large = true;
                    break 'stream;
                }
            }
        }
    }
    assert_eq!(parser.is_spoilt(), read.too_large);
    read.last_id = parser.last_id().map(Into::into);
    read.retry_ms = parser.retry_ms();
    read
}
