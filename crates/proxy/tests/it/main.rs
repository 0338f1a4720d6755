//! What the library promises to those who write configurations and embed the proxy.

mod config;
mod library;
