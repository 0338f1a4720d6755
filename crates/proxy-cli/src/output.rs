//! What is written where: results to standard output, failures to standard error, and nothing from a server may steer the
//! terminal.

use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

/// Why the command ends with 1, already told or still to be.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A message and how to mend it.
    Told {
        /// What went wrong.
        message: String,
        /// What to do.
        help: Option<String>,
    },
    /// Everything was written already.
    Written,
    /// A second signal asked for an end at once.
    Interrupted,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Told {
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn with_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Told {
            message: message.into(),
            help: Some(help.into()),
        }
    }

    /// Writes what is still to be said, and gives the exit code.
    pub(crate) fn tell(self) -> ExitCode {
        match self {
            Self::Told { message, help } => {
                let (on, off) = if colours() { ("\x1b[31;1m", "\x1b[0m") } else { ("", "") };
                let mut text = format!("{on}error{off}: {}\n", clean(&message));
                if let Some(help) = help {
                    let _ = writeln!(text, "help: {}", clean(&help));
                }
                complain(&text);
                ExitCode::FAILURE
            }
            Self::Written => ExitCode::FAILURE,
            // As shells say of a process that SIGINT ended.
            Self::Interrupted => ExitCode::from(130),
        }
    }
}

/// Writes to standard output. A reader that has seen enough (`… | head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::new(format!("cannot write to standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Writes to standard error, where nobody may be listening.
pub(crate) fn complain(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Whether standard error may be coloured: a terminal, and nobody asked for none (no-color.org).
pub(crate) fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Text from a server as a terminal may show it: nothing in it can move the cursor or change a setting.
pub(crate) fn clean(text: &str) -> String {
    let shown = |char: char| match char {
        '\n' | '\t' => char,
        char if mcp_proxy::core::names::is_deceptive(char.encode_utf8(&mut [0; 4])) => '\u{fffd}',
        char => char,
    };
    text.chars().map(shown).collect()
}

/// The first line of a text, for tables.
pub(crate) fn first_line(text: &str) -> String {
    const LONGEST: usize = 100;
    let line = clean(text.trim().lines().next().unwrap_or_default());
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
