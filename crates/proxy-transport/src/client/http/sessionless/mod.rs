//! Streamable HTTP of the sessionless era (MCP 2026-07-28): every POST is complete in itself, and a closed connection is a
//! cancelled request.
//!
//! ```text
//!   connect ─► probe      server/discover: is it of this era?
//!   Call ────► peer       the rounds of a call, see `client::sessionless`
//!                │ doubt     has it been replaced by one of the other era?
//!                │ mirrors   tools whose arguments headers repeat
//!                ▼
//!              exchange   one POST and its answer, from JSON or event stream
//!                │ headers   what the body says, said again for those on the way
//!   watch ───► listen     the stream of what the backend announces
//! ```

mod doubt;
mod exchange;
mod headers;
mod listen;
mod mirrors;
mod peer;
mod probe;

pub(super) use doubt::{Doubt, is_reason};
pub(super) use peer::SessionlessPeer;
pub(super) use probe::probe;
