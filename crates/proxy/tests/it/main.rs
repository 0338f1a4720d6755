//! What the library promises to those who write configurations and embed the proxy.

#![expect(clippy::unwrap_used, reason = "a test may panic, and says where")]

mod config;
mod library;
mod unasked;
