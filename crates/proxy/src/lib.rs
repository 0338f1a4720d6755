//! A reverse proxy for the Model Context Protocol: many MCP servers behind one endpoint.
//!
//! ```
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! use mcp_proxy::{Proxy, config::{Format, ProxyConfig}};
//!
//! let config = ProxyConfig::parse(
//!     r#"
//!     [proxy]
//!     name = "demo"
//!     listen.port = 0
//!
//!     [[backends]]
//!     name = "demo"
//!     transport = "builtin"
//!     "#,
//!     Format::Toml,
//! )?;
//! let mut proxy = Proxy::from_config(config)?;
//! println!("listening on {:?}", proxy.bind().await?);
//! proxy.stop().await;
//! # Ok(()) }
//! ```
//!
//! A configuration is read ([`config`]), checked ([`plan`]), and run ([`Proxy`]). [`ProxyBuilder`] writes one in Rust, and
//! [`Proxy::into_router`] serves inside a program that has an axum server of its own.

mod builder;
pub mod builtin;
pub mod config;
mod interest;
pub mod plan;
mod runtime;
mod stack;

pub use builder::ProxyBuilder;
pub use mcp_proxy_core as core;
pub use mcp_proxy_transport as transport;
pub use mcp_proxy_transport::supervise;
pub use runtime::{Proxy, SessionHandle, StartError};
pub use stack::describe::describe_stack;
