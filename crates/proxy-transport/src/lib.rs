//! How `mcp-proxy` speaks MCP: towards clients ([`server`]) and towards backends ([`client`]).
//!
//! Frames, protocol eras and HTTP stop here: the layers above and below see [`Call`](mcp_proxy_core::Call) and
//! [`Reply`](mcp_proxy_core::Reply).

pub mod client;
pub mod server;
pub mod supervise;
