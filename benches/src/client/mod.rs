//! The client: many connections, one call in flight on each, and a look at every answer.
//!
//! It speaks HTTP/1.1 by itself (`connection.rs`), because a client library would cost as much as what is measured and
//! share a core with the backend. `session.rs` opens MCP sessions, `check.rs` judges answers, `load.rs` is the timed
//! load and `idle.rs` holds sessions open to weigh them.

mod check;
mod connection;
pub(crate) mod idle;
pub(crate) mod load;
mod request;
mod session;

pub(crate) use connection::Connection;
pub(crate) use request::Ask;
pub(crate) use session::read_list;

use std::net::SocketAddr;

/// Where a client sends its requests.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Address on loopback.
    pub(crate) address: SocketAddr,
    /// Path of the request line.
    pub(crate) path: String,
    /// How it is spoken to.
    pub(crate) manner: Manner,
}

/// How a client speaks to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// As the session era does, but without asking for a session: for servers that need none.
    Bare,
    /// It opens a session first.
    Session,
    /// As the sessionless era (2026-07-28) does: every request is complete in itself.
    Sessionless,
}
