//! Test support for mcp-proxy: an MCP server that plays a script and misbehaves on demand, a TCP proxy that harms what
//! passes through it, free ports.
//!
//! ```
//! use mcp_proxy_test::{Event, Fixture};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let fixture = Fixture::http().name("files").await?;
//! println!("point the proxy at {}", fixture.url());
//! fixture.fault(|faults| faults.pages = Some(3));
//! assert_eq!(fixture.ledger().count(|entry| entry.event == Event::Executed), 0);
//! # std::io::Result::Ok(())
//! # })?;
//! # std::io::Result::Ok(())
//! ```
//!
//! Nothing here belongs into a release: other crates name it as a dev-dependency only.

mod fault_proxy;
mod fixture;
mod port;
mod program;

pub use fault_proxy::{FaultProxy, Harm};
pub use fixture::{Entry, Era, Event, Faults, Fixture, FixtureBuilder, Ledger, RAW_RESULT};
pub use port::free_port;
pub use program::fixture_program;
