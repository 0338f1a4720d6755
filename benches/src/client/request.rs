//! What a client asks, call after call, and the bytes of each request.

use std::fmt::Write as _;

use super::Manner;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// `tools/call` of `tool`, for a text of `bytes` bytes.
    Call {
        /// Name under which this endpoint offers `echo`.
        tool: String,
        /// Length of the text.
        bytes: usize,
    },
    /// `tools/list`, for an answer of exactly `bytes` bytes. The id is always [`LIST_ID`], so that a stored answer fits.
    List {
        /// Length of the whole answer.
        bytes: usize,
    },
}

/// The JSON-RPC id of every `tools/list`.
pub(crate) const LIST_ID: u64 = 1;

impl Ask {
    /// The headers that repeat what the body says (2026-07-28).
    pub(super) fn headers(&self) -> Vec<(&str, &str)> {
        let mut headers = vec![("MCP-Protocol-Version", SESSIONLESS)];
        match self {
            Self::Call { tool, .. } => headers.extend([("Mcp-Method", "tools/call"), ("Mcp-Name", tool)]),
            Self::List { .. } => headers.push(("Mcp-Method", "tools/list")),
        }
        headers
    }
}

/// One request, with what its answer must carry.
#[derive(Debug)]
pub(crate) struct Request {
    /// `_meta` of every request, with a comma before it.
    pub(super) meta: &'static str,
    /// The JSON-RPC message.
    pub(crate) text: String,
    /// Its id.
    pub(crate) id: u64,
    /// The text by which the answer is known to be this caller's.
    pub(crate) marker: String,
}

impl Request {
    /// A request to be filled, for a server that is spoken to in this manner.
    pub(crate) fn new(manner: Manner) -> Self {
        Self {
            meta: if manner == Manner::Sessionless { META } else { "" },
            text: String::new(),
            id: 0,
            marker: String::new(),
        }
    }

    /// Becomes the next request of connection number `connection`.
    pub(crate) fn next(&mut self, ask: &Ask, connection: usize) {
        let meta = self.meta;
        self.text.clear();
        self.marker.clear();
        // Writing to a string cannot fail.
        let _ = match ask {
            Ask::Call { tool, bytes } => {
                // Different connections use equal ids on purpose; only the marker tells them apart.
                self.id += 1;
                let (id, marker) = (self.id, &mut self.marker);
                let _ = write!(marker, "m{connection:04}.{id:010}");
                write!(
                    self.text,
                    r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{"bytes":{bytes},"marker":"{marker}"}}{meta}}}}}"#
                )
            }
            Ask::List { .. } => {
                self.id = LIST_ID;
                write!(
                    self.text,
                    r#"{{"jsonrpc":"2.0","id":{LIST_ID},"method":"tools/list","params":{{{}}}}}"#,
                    meta.trim_start_matches(',')
                )
            }
        };
    }
}

/// The revision without sessions.
const SESSIONLESS: &str = "2026-07-28";
const META: &str = r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"mcp-proxy-bench","version":"0"}}"#;
