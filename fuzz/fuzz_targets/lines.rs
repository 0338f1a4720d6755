//! The framing of the stdio transport: the same lines however the bytes are split, never more than the bound in memory,
//! and what is written as one message is read as one.
//!
//! The first byte of the input gives the bound, the second how the stream is cut; the stream is the rest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcp_proxy_fuzz::pieces;
use mcp_proxy_transport::client::duplex::fuzzing::{Lines, read, written};

fuzz_target!(|input: &[u8]| {
    let [bound, seed, stream @ ..] = input else { return };
    let limit = usize::from(*bound) * 4;
    let whole = read(limit, [stream]);
    assert_eq!(
        without_peak(read(limit, stream.chunks(1))),
        without_peak(whole.clone()),
        "byte by byte"
    );
    let cut = read(limit, pieces(stream, *seed));
    assert_eq!(without_peak(cut), without_peak(whole.clone()), "in pieces");
    // One more for a `\r` whose `\n` has not come.
    assert!(
        whole.too_long || whole.kept <= limit + 1,
        "{} bytes kept, {limit} allowed",
        whole.kept
    );

    let expected: Vec<&[u8]> = stream
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_suffix(b"\n"))
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .collect();
    let fitting = expected.iter().take_while(|line| line.len() <= limit);
    let fitting: Vec<&[u8]> = fitting.filter(|line| !is_blank(line)).copied().collect();
    assert_eq!(whole.lines, fitting);

    let message = written(stream);
    let again = read(usize::MAX, [message.as_slice()]);
    if is_blank(stream) {
        assert!(again.lines.is_empty());
    } else {
        let expected: Vec<u8> = stream
            .iter()
            .map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte })
            .collect();
        assert_eq!(again.lines, [expected]);
    }
});

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// Without what differs between ways to cut: how much was kept in between.
fn without_peak(mut lines: Lines) -> Lines {
    lines.kept = 0;
    lines
}
