//! What a child prints to standard error: to the log, line by line, harmless and not too much of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mcp_proxy_core::names::is_deceptive;
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::client::duplex::allowance::Allowance;

/// The last lines a child printed, to explain its end.
#[derive(Debug, Default)]
pub(super) struct LastWords {
    lines: Mutex<VecDeque<String>>,
    read: CancellationToken,
}

impl LastWords {
    /// The last lines, once standard error has been read to its end or `patience` is over.
    pub(super) async fn get(&self, patience: Duration) -> Vec<String> {
        let _ = timeout(patience, self.read.cancelled()).await;
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }

    fn add(&self, line: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line.chars().take(KEPT_CHARS).collect());
    }
}

/// Logs lines until the stream ends.
pub(super) async fn log(mut stream: impl AsyncRead + Unpin, backend: Arc<str>, last: Arc<LastWords>) {
    let _read = last.read.clone().drop_guard();
    let mut allowance = Allowance::new(BURST, PER_SECOND);
    let (mut buffer, mut held) = (Vec::with_capacity(LINE_BYTES), 0);
    loop {
        let read = stream.read_buf(&mut buffer);
        let read = match held {
            0 => read.await,
            // Silence after a flood: say how much was left out, and read on.
            _ => match timeout(NOTICE_AFTER, read).await {
                Ok(read) => read,
                Err(_) => {
                    held = notice(&backend, allowance.take_suppressed());
                    continue;
                }
            },
        };
        // A stream that fails has ended as well.
        let ended = read.unwrap_or(0) == 0;
        while let Some(line) = next_line(&mut buffer, ended) {
            let line = harmless(&line);
            last.add(&line);
            match allowance.take() {
                Some(suppressed) => {
                    held = notice(&backend, suppressed);
                    tracing::info!(%backend, line, "backend printed to standard error");
                }
                None => held += 1,
            }
        }
        if ended {
            notice(&backend, allowance.take_suppressed());
            return;
        }
    }
}

fn notice(backend: &str, suppressed: u64) -> u64 {
    if suppressed > 0 {
        tracing::info!(backend, suppressed, "backend printed too much to standard error");
    }
    0
}

/// Takes the next line from the front of the buffer. A line too long for the buffer comes in parts.
fn next_line(buffer: &mut Vec<u8>, ended: bool) -> Option<Vec<u8>> {
    let (end, next) = match memchr(b'\n', buffer) {
        Some(end) => (end, end + 1),
        None if buffer.len() >= LINE_BYTES || ended && !buffer.is_empty() => (buffer.len(), buffer.len()),
        None => return None,
    };
    let mut line: Vec<u8> = buffer.drain(..next).collect();
    line.truncate(end);
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Some(line)
}

/// The line with everything escaped that could move a terminal's cursor or mislead a reader.
fn harmless(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    for char in String::from_utf8_lossy(line).chars() {
        if char != '\t' && is_deceptive(char.encode_utf8(&mut [0; 4])) {
            text.extend(char.escape_default());
        } else {
            text.push(char);
        }
    }
    text
}

/// Longest line that is logged in one piece; also the size of the buffer.
const LINE_BYTES: usize = 8 * 1024;

/// Lines let through at once, and per second from then on.
const BURST: u32 = 200;
const PER_SECOND: u32 = 20;

/// How long after a flood its end is noted.
const NOTICE_AFTER: Duration = Duration::from_secs(1);

/// How much is kept to explain a child's end.
const KEPT_LINES: usize = 8;
const KEPT_CHARS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_mislead_is_escaped() {
        assert_eq!(
            harmless(b"a\tb \x1b[31mred\x07 \xff \xe2\x80\xae."),
            "a\tb \\u{1b}[31mred\\u{7} \u{fffd} \\u{202e}."
        );
    }

    #[tokio::test]
    async fn the_last_lines_are_kept_and_long_ones_come_in_parts() {
        let last = Arc::new(LastWords::default());
        let text = format!("one\r\n{}\n{}end", "x\n".repeat(1000), "y".repeat(LINE_BYTES));
        log(text.as_bytes(), "b".into(), last.clone()).await;
        let lines = last.get(Duration::ZERO).await;
        assert_eq!(lines.len(), KEPT_LINES);
        assert_eq!(lines.last().map(String::as_str), Some("end"));
        assert_eq!(lines[KEPT_LINES - 2], "y".repeat(KEPT_CHARS));
        assert_eq!(lines[0], "x");
    }
}
