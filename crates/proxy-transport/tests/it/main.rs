//! The transports against real sockets and processes.

#![expect(clippy::unwrap_used, reason = "a test may panic, and says where")]

mod asking;
mod front;
#[cfg(feature = "websocket")]
mod front_streams;
mod http_client;
#[cfg(target_os = "linux")]
mod processes;
#[cfg(feature = "websocket")]
mod sockets;
#[cfg(target_os = "linux")]
mod stdio;
#[cfg(target_os = "linux")]
mod stdio_eras;
#[cfg(target_os = "linux")]
mod supervise;
