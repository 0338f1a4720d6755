//! The backend over stdin and stdout: one message a line, strictly one after the other.
//!
//! It reads nothing while it writes. That is on purpose: a proxy that does not read while it writes would stop here
//! for ever as soon as both pipes are full, and the bench would say so.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};

use super::answer::{Answer, Answers};

/// Answers line by line until stdin ends.
///
/// # Errors
/// When stdin cannot be read, or a line is longer than any the bench sends.
pub(crate) fn serve(answers: &Answers) -> anyhow::Result<()> {
    let mut input = BufReader::with_capacity(64 << 10, std::io::stdin().lock());
    let mut output = std::io::stdout().lock();
    let mut line = Vec::new();
    let mut text = Vec::new();
    loop {
        line.clear();
        if input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        anyhow::ensure!(
            line.ends_with(b"\n"),
            "a line without an end, or longer than {LONGEST_LINE} bytes"
        );
        let Answer::Reply { pieces, .. } = answers.answer(&line) else {
            continue;
        };
        text.clear();
        for piece in &pieces {
            text.extend_from_slice(piece);
        }
        text.push(b'\n');
        match output.write_all(&text).and_then(|()| output.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

const LONGEST_LINE: u64 = 4 << 20;
