//! A reverse proxy for the Model Context Protocol: many MCP servers behind one endpoint.
//!
//! A configuration is read ([`config`]), checked ([`plan`]), and run.

pub mod config;
pub mod plan;
