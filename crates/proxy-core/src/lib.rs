//! The types every part of `mcp-proxy` shares.
//!
//! A proxy for the Model Context Protocol moves JSON-RPC calls from clients to backends. This crate defines what travels
//! ([`Call`], [`Reply`], [`Error`]), what travels along ([`Context`], [`ClientHandle`]), what the proxy knows about its
//! backends ([`catalogue`]), and how outcomes are judged ([`outcome`]). It opens nothing, spawns nothing and reads no
//! clock but the one it is handed.
//!
//! Every layer between client and backend is a [`tower::Service`] over one triple:
//!
//! ```
//! use mcp_proxy_core::{Call, Error, Method, Reply, json::RawJson};
//! use tower::{Service, ServiceExt};
//!
//! # async fn demo() -> Result<(), Error> {
//! let backend = tower::service_fn(|call: Call| async move {
//!     assert_eq!(call.method, Method::Ping);
//!     Ok::<_, Error>(Reply::Result(RawJson::from_static("{}")))
//! });
//! let reply = backend.oneshot(Call::new(Method::Ping)).await?;
//! # Ok(()) }
//! ```

mod call;
pub mod catalogue;
mod client;
mod clock;
pub mod codes;
mod context;
mod declared;
mod error;
pub mod json;
mod log_level;
mod method;
pub mod names;
pub mod outcome;
mod reply;
mod secret;
mod service;
mod session;
pub mod store;
mod version;

pub use call::Call;
pub use client::{Asked, ClientHandle, ClientPort, Downstream, Interim};
pub use clock::{Clock, SystemClock};
pub use context::{Context, Principal, Trace};
pub use declared::{Declared, TASKS_EXTENSION, UI_EXTENSION};
pub use error::{Error, ErrorKind, Fault, Retry};
pub use log_level::LogLevel;
pub use method::Method;
pub use reply::{Reply, RpcError};
pub use secret::Secret;
pub use service::{CallFuture, SharedService};
pub use session::{Session, SessionKey};
pub use version::ProtocolVersion;
