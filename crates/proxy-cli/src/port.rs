//! What a server says while a call runs, as seen by whoever sits at the terminal.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};

use mcp_proxy::core::json::{Notification, Params, RawJson};
use mcp_proxy::core::{Asked, ClientPort, Error, ErrorKind, Interim, Method};

use crate::output::{complain, first_line};

/// Shows progress in one line that changes, and log messages as lines of their own.
#[derive(Debug)]
pub(crate) struct Terminal {
    is_terminal: bool,
    drawn: AtomicBool,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
            drawn: AtomicBool::new(false),
        }
    }

    /// Takes the progress line away.
    pub(crate) fn clear(&self) {
        if self.drawn.swap(false, Ordering::Relaxed) {
            complain("\r\x1b[K");
        }
    }

    fn progress(&self, params: &RawJson) {
        let number = |name: &str| params.get(name).and_then(|raw| raw.decode::<f64>().ok());
        let (Some(progress), total) = (number("progress"), number("total")) else {
            return;
        };
        let mut line = match total {
            Some(total) if total > 0.0 => format!("{:3.0} %", (100.0 * progress / total).clamp(0.0, 100.0)),
            _ => format!("{progress}"),
        };
        if let Some(message) = params
            .get("message")
            .and_then(|raw| raw.string().map(|text| first_line(&text)))
        {
            let _ = write!(line, "  {message}");
        }
        if self.is_terminal {
            self.drawn.store(true, Ordering::Relaxed);
            complain(&format!("\r\x1b[K{line}"));
        } else {
            complain(&format!("{line}\n"));
        }
    }

    fn log(&self, params: &RawJson) {
        let text = |name: &str| {
            params.get(name).map(|raw| match raw.string() {
                Some(text) => first_line(&text),
                None => first_line(raw.as_str()),
            })
        };
        self.clear();
        let level = text("level").unwrap_or_default();
        complain(&format!("[{level}] {}\n", text("data").unwrap_or_default()));
    }
}

impl ClientPort for Terminal {
    fn notify(&self, message: Interim) -> bool {
        let Notification { method, params } = message;
        let Some(params) = params.to_raw() else {
            return false;
        };
        match method {
            Method::Progress => self.progress(&params),
            Method::LogMessage => self.log(&params),
            _ => return false,
        }
        true
    }

    fn ask(&self, method: Method, _: Params) -> Asked {
        Box::pin(async move {
            let message = format!("the command line cannot answer `{method}`");
            Err(Error::new(ErrorKind::Refused, message))
        })
    }
}
