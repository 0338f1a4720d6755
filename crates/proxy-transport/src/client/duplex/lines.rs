//! One message a line: the framing of the stdio transport.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::framing::{FrameError, Incoming, Outgoing};

/// Finds lines in bytes that arrive in pieces. Pure: it reads nothing itself.
///
/// Lines end with `\n` or `\r\n`; blank ones are skipped. A line is a slice of the buffer it arrived in.
#[derive(Debug)]
pub(crate) struct LineFramer {
    buffer: BytesMut,
    /// How far the buffer is known to hold no line end.
    searched: usize,
    limit: usize,
}

impl LineFramer {
    /// Takes lines of up to `limit` bytes, line end not counted.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            limit,
        }
    }

    /// Where the next bytes go; there is always room.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES / 4 {
            self.buffer.reserve(READ_BYTES);
        }
        &mut self.buffer
    }

    /// The next whole line; `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`FrameError::TooLong`], from then on for ever.
    pub(crate) fn next_line(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            let Some(at) = memchr(b'\n', &self.buffer[self.searched..]) else {
                self.searched = self.buffer.len();
                // One more for the `\r` of a line end that is still incomplete.
                return match self.searched > self.limit.saturating_add(1) {
                    true => Err(FrameError::TooLong { limit: self.limit }),
                    false => Ok(None),
                };
            };
            let end = self.searched + at;
            let text_end = end - usize::from(end > 0 && self.buffer[end - 1] == b'\r');
            if text_end > self.limit {
                return Err(FrameError::TooLong { limit: self.limit });
            }
            let mut line = self.buffer.split_to(end + 1);
            self.searched = 0;
            line.truncate(text_end);
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(line.freeze()));
            }
        }
    }
}

/// Lines from a reader. What stands after the last line end is no message and is dropped at the end of the stream.
#[derive(Debug)]
pub(crate) struct LineReader<R> {
    source: R,
    framer: LineFramer,
}

impl<R> LineReader<R> {
    /// Reads lines of up to `limit` bytes from `source`.
    pub(crate) fn new(source: R, limit: usize) -> Self {
        Self {
            source,
            framer: LineFramer::new(limit),
        }
    }
}

impl<R: AsyncRead + Unpin + Send + 'static> Incoming for LineReader<R> {
    async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        loop {
            if let Some(line) = self.framer.next_line()? {
                return Ok(Some(line));
            }
            if self.source.read_buf(self.framer.room()).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// Lines to a writer.
#[derive(Debug)]
pub(crate) struct LineWriter<W> {
    sink: W,
    buffer: BytesMut,
}

impl<W> LineWriter<W> {
    /// Writes lines to `sink`.
    pub(crate) fn new(sink: W) -> Self {
        Self {
            sink,
            buffer: BytesMut::new(),
        }
    }

    /// What was written to.
    #[cfg(fuzzing)]
    pub(crate) fn into_sink(self) -> W {
        self.sink
    }
}

impl<W: AsyncWrite + Unpin + Send + 'static> Outgoing for LineWriter<W> {
    fn push(&mut self, message: &[u8]) {
        let start = self.buffer.len();
        self.buffer.reserve(message.len() + 1);
        self.buffer.extend_from_slice(message);
        // A client may send its JSON over several lines. Inside strings line ends are escaped, so those that stand here
        // are mere white space; one left in would cut the message in two. Some readers also end lines at `\r`.
        let mut from = start;
        while let Some(at) = memchr::memchr2(b'\n', b'\r', &self.buffer[from..]) {
            self.buffer[from + at] = b' ';
            from += at + 1;
        }
        self.buffer.extend_from_slice(b"\n");
    }

    fn pending(&self) -> usize {
        self.buffer.len()
    }

    async fn flush(&mut self) -> io::Result<()> {
        while !self.buffer.is_empty() {
            match self.sink.write(&self.buffer).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => self.buffer.advance(written),
            }
        }
        if self.buffer.capacity() > KEPT_BYTES {
            self.buffer = BytesMut::new();
        }
        self.sink.flush().await
    }

    async fn end(&mut self) {
        // It fails when the other side is gone already, which is as good.
        let _ = self.sink.shutdown().await;
    }
}

/// How much is asked for in one read: what a pipe holds.
const READ_BYTES: usize = 64 * 1024;

/// A write buffer larger than this is given back after use.
const KEPT_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed(framer: &mut LineFramer, bytes: &[u8]) -> Result<Vec<Bytes>, FrameError> {
        framer.room().extend_from_slice(bytes);
        std::iter::from_fn(|| framer.next_line().transpose()).collect()
    }

    #[test]
    fn lines_end_either_way_and_blank_ones_are_skipped() {
        let mut framer = LineFramer::new(10);
        assert_eq!(feed(&mut framer, b"a\r\n\n  \r\nb c\nd").unwrap(), ["a", "b c"]);
        assert_eq!(feed(&mut framer, b"\r").unwrap(), Vec::<Bytes>::new());
        assert_eq!(feed(&mut framer, b"\n").unwrap(), ["d"]);
    }

    #[test]
    fn a_line_of_the_limit_passes_and_one_byte_more_does_not() {
        assert_eq!(feed(&mut LineFramer::new(3), b"abc\r\n").unwrap(), ["abc"]);
        assert!(feed(&mut LineFramer::new(3), b"abcd\n").is_err());
        assert!(
            feed(&mut LineFramer::new(3), b"abcde").is_err(),
            "known before its end arrives"
        );
    }

    #[tokio::test]
    async fn messages_leave_as_one_line_each() {
        let mut writer = LineWriter::new(Vec::new());
        writer.push(b"{\n\"a\":\r\n1}");
        writer.push(b"{}");
        writer.flush().await.unwrap();
        assert_eq!(writer.sink, b"{ \"a\":  1}\n{}\n");
        assert_eq!(writer.pending(), 0);
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_arrive(text in "[ab\r\n ]{0,60}", cuts in prop::collection::vec(0usize..60, 0..6)) {
            let whole = feed(&mut LineFramer::new(100), text.as_bytes()).unwrap();
            let mut cuts: Vec<_> = cuts.into_iter().filter(|cut| *cut <= text.len()).collect();
            cuts.sort_unstable();
            cuts.push(text.len());
            let (mut framer, mut pieces, mut from) = (LineFramer::new(100), Vec::new(), 0);
            for cut in cuts {
                pieces.extend(feed(&mut framer, &text.as_bytes()[from..cut]).unwrap());
                from = cut;
            }
            let expected: Vec<_> = text
                .split_inclusive('\n')
                .filter_map(|line| line.strip_suffix('\n'))
                .map(|line| line.strip_suffix('\r').unwrap_or(line))
                .filter(|line| !line.trim_ascii().is_empty())
                .collect();
            prop_assert_eq!(&whole, &pieces);
            prop_assert_eq!(whole, expected);
        }
    }
}
