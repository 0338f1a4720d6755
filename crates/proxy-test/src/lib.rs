//! Test support for mcp-proxy: an MCP server that plays a script and misbehaves on demand, a TCP proxy that harms what
//! passes through it, free ports.
//!
//! Nothing here belongs into a release: other crates name it as a dev-dependency only.

mod fault_proxy;
mod fixture;
mod port;

pub use fault_proxy::{FaultProxy, Harm};
pub use fixture::{Entry, Era, Event, Faults, Fixture, FixtureBuilder, Ledger, RAW_RESULT};
pub use port::free_port;
