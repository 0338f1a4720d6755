//! JSON as text: what a proxy does to messages it has no business understanding.
//!
//! A body is scanned once. [`Message::scan`] checks the whole text, finds the JSON-RPC envelope and, one level down, the
//! few members that routing needs; everything else stays an untouched slice of the received buffer. The editing half
//! ([`Params::set`], [`Edits`]) replaces single values by splicing text, so that what nobody asked to change cannot
//! change.
//!
//! ```
//! use mcp_proxy_core::json::{Message, Slot};
//!
//! let body = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"files/read","x":1.0e2}}"#;
//! let Message::Request(mut request) = Message::scan(body.into())? else { panic!("a request") };
//! assert_eq!(request.params.string(Slot::Name).as_deref(), Some("files/read"));
//!
//! request.params.set_string(Slot::Name, "read");
//! assert_eq!(request.params.to_bytes(), r#"{"name":"read","x":1.0e2}"#);
//! # Ok::<(), mcp_proxy_core::json::ScanError>(())
//! ```

mod edits;
mod error;
mod id;
mod message;
mod params;
mod paths;
mod raw;
mod scan;
#[cfg(test)]
mod tests;

pub use edits::Edits;
pub use error::{ScanError, ScanErrorKind};
pub use id::RequestId;
pub use message::{Message, Notification, Request, Response};
pub use params::{Params, Slot};
pub use paths::Path;
pub use raw::RawJson;
pub use scan::{MAX_DEPTH, Span};

pub(crate) use raw::write_string;
