//! The reader of event streams: the same events however the bytes are split, the events that the WHATWG HTML standard
//! describes, and never more than the bound.
//!
//! The first byte of the input gives the bound, the second how the stream is cut; the stream is the rest.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mcp_proxy_fuzz::pieces;
use mcp_proxy_transport::client::http::fuzzing::{EventStream, read};

/// What the parser adds to the bound for the name of the field.
const FIELD_OVERHEAD: usize = 6;

fuzz_target!(|input: &[u8]| {
    let [bound, seed, stream @ ..] = input else { return };
    let limit = usize::from(*bound) * 4;
    let whole = read(limit, [Bytes::copy_from_slice(stream)]);
    for event in &whole.events {
        assert!(
            event.len() <= limit + FIELD_OVERHEAD,
            "{} bytes, {limit} allowed",
            event.len()
        );
    }
    assert_eq!(
        read(limit, stream.chunks(1).map(Bytes::copy_from_slice)),
        whole,
        "byte by byte"
    );
    let cut = pieces(stream, *seed);
    assert_eq!(read(limit, cut.map(Bytes::copy_from_slice)), whole, "in pieces");
    // A line counts with its name and whatever a comment says, so the model is asked about generous bounds only.
    let unbounded = read(usize::MAX, [Bytes::copy_from_slice(stream)]);
    assert_eq!(unbounded, model(stream));
    if !whole.too_large {
        assert_eq!(whole, unbounded);
    } else {
        assert!(unbounded.events.starts_with(&whole.events));
    }
});

/// The algorithm of the standard, word by word and slow, with what MCP makes of it: events without data are none, and an
/// id is kept when it can be a header's value.
fn model(stream: &[u8]) -> EventStream {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let mut read = EventStream::default();
    let mut data: Vec<u8> = Vec::new();
    for line in lines(stream) {
        if line.is_empty() {
            let event = std::mem::take(&mut data);
            if let Some((b'\n', text)) = event.split_last()
                && !text.is_empty()
            {
                read.events.push(Bytes::copy_from_slice(text));
            }
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = match colon {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                data.extend_from_slice(value);
                data.push(b'\n');
            }
            b"id" if value.len() <= 1024 && !value.contains(&0) => {
                read.last_id = std::str::from_utf8(value).ok().map(Into::into);
            }
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let digits = std::str::from_utf8(value).expect("ASCII");
                read.retry_ms = digits.parse().ok().or(read.retry_ms);
            }
            _ => {}
        }
    }
    read
}

/// The whole lines of a stream; what stands after the last line end is none.
fn lines(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        lines.push(&rest[..end]);
        let both = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + 1 + usize::from(both)..];
    }
    lines
}
