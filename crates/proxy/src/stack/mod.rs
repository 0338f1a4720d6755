//! The order of the layers, stated once, as code. Start-up and every rebuild call the same functions.
//!
//! A call enters [`edge`](edge::edge) at its first line; [`backend`](backend::backend) is what it meets on the way to
//! one backend. Both read top-down.

pub(crate) mod answer;
pub(crate) mod backend;
pub(crate) mod describe;
pub(crate) mod edge;
mod level;
mod lists;
mod localise;
mod refusals;
mod resolve;
pub(crate) mod route;
mod run_task;
mod subscribe;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;
use mcp_proxy_core::catalogue::Catalogue;

/// The catalogue of this moment, shared by every layer that asks it.
pub(crate) type CatalogueHandle = Arc<ArcSwap<Catalogue>>;
