//! Reading an event stream (`text/event-stream` of the WHATWG HTML standard, "Server-sent events").
//!
//! Pure and incremental: bytes go in as they arrive, split anywhere, and events come out. The text of an event with a
//! single `data` line that arrived in one piece is a slice of that piece; anything else is copied once.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr2;

/// An event grew beyond the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {0} bytes")]
pub(super) struct TooLarge(usize);

/// Turns bytes into events.
#[derive(Debug)]
pub(super) struct Parser {
    /// Received and not yet looked at.
    pending: Bytes,
    /// The beginning of a line whose end has not arrived.
    partial: BytesMut,
    data: Data,
    /// The line before ended in CR at the very end of a piece: an LF that follows belongs to it.
    after_cr: bool,
    /// Nothing but perhaps a byte order mark has been read.
    at_start: bool,
    /// The id of the event being read, or of the last one that named one.
    id: Option<Box<str>>,
    /// That of the last event that came whole.
    last_id: Option<Box<str>>,
    retry_ms: Option<u64>,
    spoilt: bool,
    limit: usize,
}

/// The data lines of the event being read.
#[derive(Debug, Default)]
enum Data {
    #[default]
    None,
    One(Bytes),
    Many(BytesMut),
}

impl Parser {
    /// A parser at the start of a stream. `limit` bounds one line and the data of one event, in bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            pending: Bytes::new(),
            partial: BytesMut::new(),
            data: Data::None,
            after_cr: false,
            at_start: true,
            id: None,
            last_id: None,
            retry_ms: None,
            spoilt: false,
            limit,
        }
    }

    /// Takes the next piece of the stream. Call [`next`](Self::next) until it has nothing more before the next piece.
    pub(super) fn feed(&mut self, piece: Bytes) {
        if self.pending.is_empty() {
            self.pending = piece;
        } else {
            let mut joined = BytesMut::with_capacity(self.pending.len() + piece.len());
            joined.extend_from_slice(&self.pending);
            joined.extend_from_slice(&piece);
            self.pending = joined.freeze();
        }
    }

    /// The data of the next whole event, its lines joined by line feeds; `None` when more bytes are needed. Events without
    /// data set id and retry only.
    ///
    /// # Errors
    /// An event beyond the bound; the stream is of no use after that.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, TooLarge> {
        while let Some(line) = self.line()? {
            if line.is_empty() {
                // Not before: resuming after an event of which only the beginning came would lose it.
                if let Some(id) = self.id.take() {
                    self.last_id = Some(id);
                }
                match std::mem::take(&mut self.data) {
                    Data::None => {}
                    Data::One(data) if data.is_empty() => {}
                    Data::One(data) => return Ok(Some(data)),
                    Data::Many(data) => return Ok(Some(data.freeze())),
                }
            } else {
                self.field(line)?;
            }
        }
        Ok(None)
    }

    /// Starts over on a new connection: what was not read to its end is forgotten, id and retry are kept.
    pub(super) fn restart(&mut self) {
        let (last_id, retry_ms) = (self.last_id.take(), self.retry_ms);
        *self = Self {
            last_id,
            retry_ms,
            ..Self::new(self.limit)
        };
    }

    /// The id that a resumption would name. An empty one takes back those before.
    pub(super) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref().filter(|id| !id.is_empty())
    }

    /// How long the server wants us to wait before connecting again, in milliseconds.
    pub(super) fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Whether an event went beyond the bound.
    pub(super) fn is_spoilt(&self) -> bool {
        self.spoilt
    }

    /// The next whole line without its end.
    fn line(&mut self) -> Result<Option<Bytes>, TooLarge> {
        if self.after_cr && !self.pending.is_empty() {
            self.after_cr = false;
            if self.pending[0] == b'\n' {
                self.pending.advance(1);
            }
        }
        let Some(end) = memchr2(b'\r', b'\n', &self.pending) else {
            self.within(self.partial.len() + self.pending.len(), self.line_limit())?;
            self.partial.extend_from_slice(&self.pending);
            self.pending = Bytes::new();
            return Ok(None);
        };
        self.within(self.partial.len() + end, self.line_limit())?;
        let piece = self.pending.split_to(end);
        let ending = self.pending.get_u8();
        if ending == b'\r' {
            match self.pending.first() {
                Some(b'\n') => self.pending.advance(1),
                Some(_) => {}
                None => self.after_cr = true,
            }
        }
        let mut line = if self.partial.is_empty() {
            piece
        } else {
            self.partial.extend_from_slice(&piece);
            self.partial.split().freeze()
        };
        if self.at_start {
            self.at_start = false;
            if line.starts_with(BYTE_ORDER_MARK) {
                line.advance(BYTE_ORDER_MARK.len());
            }
        }
        Ok(Some(line))
    }

    fn field(&mut self, mut line: Bytes) -> Result<(), TooLarge> {
        let colon = memchr::memchr(b':', &line).unwrap_or(line.len());
        let name = line.split_to(colon);
        if line.first() == Some(&b':') {
            line.advance(1);
            if line.first() == Some(&b' ') {
                line.advance(1);
            }
        }
        match name.as_ref() {
            b"data" => self.add(line)?,
            // Ids are kept, so they are bounded and copied; one with a NUL is to be ignored.
            b"id" if line.len() <= MAX_ID && !line.contains(&0) => {
                self.id = std::str::from_utf8(&line).ok().map(Into::into);
            }
            b"retry" => {
                if let Some(wait) = digits(&line) {
                    self.retry_ms = Some(wait);
                }
            }
            // `event` does not matter to MCP; a comment has an empty name; the rest is unknown.
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, line: Bytes) -> Result<(), TooLarge> {
        self.data = match std::mem::take(&mut self.data) {
            Data::None => Data::One(line),
            Data::One(first) => {
                self.within(first.len() + 1 + line.len(), self.limit)?;
                let mut joined = BytesMut::with_capacity(first.len() + 1 + line.len());
                joined.extend_from_slice(&first);
                joined.extend_from_slice(b"\n");
                joined.extend_from_slice(&line);
                Data::Many(joined)
            }
            Data::Many(mut joined) => {
                self.within(joined.len() + 1 + line.len(), self.limit)?;
                joined.extend_from_slice(b"\n");
                joined.extend_from_slice(&line);
                Data::Many(joined)
            }
        };
        Ok(())
    }

    fn within(&mut self, len: usize, limit: usize) -> Result<(), TooLarge> {
        if len > limit {
            self.spoilt = true;
            return Err(TooLarge(self.limit));
        }
        Ok(())
    }

    /// In a line the name of its field comes on top of the data.
    fn line_limit(&self) -> usize {
        self.limit.saturating_add(FIELD_OVERHEAD)
    }
}

/// ASCII digits as a number; anything else is to be ignored.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Longest event id that is remembered, in bytes.
const MAX_ID: usize = 1024;

/// `data: `
const FIELD_OVERHEAD: usize = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> (Vec<String>, Parser) {
        let mut parser = Parser::new(1000);
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(Bytes::copy_from_slice(piece));
            while let Some(event) = parser.next().unwrap() {
                events.push(String::from_utf8(event.to_vec()).unwrap());
            }
        }
        (events, parser)
    }

    fn check(stream: &str, expected: &[&str]) {
        let (events, _) = read(&[stream.as_bytes()]);
        assert_eq!(events, expected, "whole: {stream:?}");
        for at in 0..=stream.len() {
            let (left, right) = stream.as_bytes().split_at(at);
            let (events, _) = read(&[left, right]);
            assert_eq!(events, expected, "split at {at}: {stream:?}");
        }
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        assert_eq!(read(&bytes).0, expected, "byte by byte: {stream:?}");
    }

    #[test]
    fn events_are_read_whatever_ends_their_lines() {
        check("data: a\n\ndata: b\n\n", &["a", "b"]);
        check("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]);
        check("data: a\r\rdata: b\r\r", &["a", "b"]);
        check("data: a\r\ndata: b\n\rdata: c\r\r\n", &["a\nb", "c"]);
    }

    #[test]
    fn several_data_lines_are_one_event() {
        check("data: a\ndata\ndata:  b\n\n", &["a\n\n b"]);
    }

    #[test]
    fn comments_marks_and_unknown_fields_are_skipped() {
        check(
            "\u{feff}data:1\n: keep-alive\nevent: message\nother: x\n\n:\n\n",
            &["1"],
        );
        check("\n\n\nid: 7\ndata:\n\ndata: x\n\n", &["x"]);
    }

    #[test]
    fn an_unfinished_event_is_no_event() {
        check("data: a\n\ndata: b\n", &["a"]);
    }

    #[test]
    fn id_and_retry_are_remembered() {
        let (events, parser) = read(&[b"id: 12\nretry: 250\n\nid: bad\0id\nretry: 1s\ndata: x\n\n"]);
        assert_eq!(events, ["x"]);
        assert_eq!((parser.last_id(), parser.retry_ms()), (Some("12"), Some(250)));
    }

    #[test]
    fn the_id_of_an_event_counts_once_the_event_is_whole() {
        let (_, parser) = read(&[b"id: 1\ndata: a\n\nid: 2\ndata: b\n"]);
        assert_eq!(parser.last_id(), Some("1"));
        let (_, parser) = read(&[b"id: 1\n\nid\ndata: b\n\n"]);
        assert_eq!(parser.last_id(), None);
    }

    #[test]
    fn a_single_line_in_one_piece_is_not_copied() {
        let piece = Bytes::from_static(b"data: hello\n\n");
        let mut parser = Parser::new(100);
        parser.feed(piece.clone());
        let event = parser.next().unwrap().unwrap();
        assert_eq!(event.as_ptr(), piece[6..].as_ptr());
    }

    #[test]
    fn size_is_bounded_per_line_and_per_event() {
        let mut parser = Parser::new(10);
        parser.feed(Bytes::from(vec![b'x'; 17]));
        assert_eq!(parser.next(), Err(TooLarge(10)));
        let mut parser = Parser::new(10);
        parser.feed(Bytes::from_static(b"data: 12345\ndata: 1234567890\n"));
        assert_eq!(parser.next(), Err(TooLarge(10)));
        let mut parser = Parser::new(10);
        parser.feed(Bytes::from_static(b"data: 1234567890\n\n"));
        assert!(parser.next().unwrap().is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_split_anywhere_read_the_same(stream in "(data: ?[a-c]{0,3}|id: x|:|[\r\n]|\r\n|\u{feff}|\\PC{0,3}){0,20}", cuts in prop::collection::vec(0usize..200, 0..6)) {
            let whole = read(&[stream.as_bytes()]).0;
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&stream.as_bytes()[from..cut]);
                from = cut;
            }
            pieces.push(&stream.as_bytes()[from..]);
            prop_assert_eq!(read(&pieces).0, whole);
        }
    }
}
