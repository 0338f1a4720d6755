//! The table of results in `docs/transparency.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::super::support::Era;
use super::TRANSPORTS;
use super::normal::Pairing;

/// Which steps were equal in which pairing.
#[derive(Default)]
pub(super) struct Table {
    /// In the order of the script.
    steps: Vec<&'static str>,
    equal: BTreeMap<(Pairing, &'static str), bool>,
}

impl Table {
    pub(super) fn put(&mut self, pairing: Pairing, step: &'static str, equal: bool) {
        if !self.steps.contains(&step) {
            self.steps.push(step);
        }
        self.equal.insert((pairing, step), equal);
    }

    /// Compares it with the page, or writes the page anew when the environment says so.
    pub(super) fn compare(&self) {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/transparency.md");
        let now = self.page();
        if std::env::var_os("MCP_PROXY_WRITE_DOCS").is_some_and(|value| value == "1") {
            std::fs::write(&page, now).expect("the page is written");
            return;
        }
        let written = std::fs::read_to_string(&page).unwrap_or_default();
        assert!(
            written == now,
            "docs/transparency.md is not what the test found: run it with MCP_PROXY_WRITE_DOCS=1"
        );
    }

    fn page(&self) -> String {
        let mut page = String::from(INTRODUCTION);
        page.push_str("| step |");
        let pairings = pairings();
        for (client, backend) in &pairings {
            let _ = write!(page, " {} → {} |", client.name(), backend.name());
        }
        page.push_str("\n|---|");
        page.push_str(&"---|".repeat(pairings.len()));
        page.push('\n');
        for step in &self.steps {
            let _ = write!(page, "| {step} |");
            for (client, backend) in &pairings {
                let _ = write!(page, " {} |", self.cell(*client, *backend, step));
            }
            page.push('\n');
        }
        page
    }

    /// The transports over which a step was equal.
    fn cell(&self, client: Era, backend: Era, step: &'static str) -> String {
        let pairings = TRANSPORTS.map(|transport| Pairing {
            client,
            backend,
            transport,
        });
        let all: Vec<_> = pairings.into_iter().filter(|pairing| pairing.exists()).collect();
        let is_equal = |pairing: &&Pairing| self.equal.get(&(**pairing, step)) == Some(&true);
        let equal: Vec<_> = all.iter().filter(is_equal).map(|pairing| pairing.transport).collect();
        if equal.len() == all.len() {
            "equal".to_owned()
        } else {
            equal.join(", ")
        }
    }
}

fn pairings() -> Vec<(Era, Era)> {
    let with = |client| Era::ALL.into_iter().map(move |backend| (client, backend));
    Era::ALL.into_iter().flat_map(with).collect()
}

const INTRODUCTION: &str = "# Transparency

What a client sees through the proxy, compared with what it sees when it talks to the server itself. A test of
`mcp-proxy-cli` (`transparency`) performs one script of calls both ways and compares the two transcripts, message by
message, after undoing the names that the proxy gives and the ids that every hop has of its own; it generates this page.

Columns read client era → backend era: the session era is revision 2025-11-25, the sessionless era 2026-07-28. In the two
columns where they differ the proxy translates, and the transcript is compared with that of a server that speaks the
client's era. “equal” means: over stdio, Streamable HTTP, WebSocket and, in the session era, HTTP+SSE alike.

";
