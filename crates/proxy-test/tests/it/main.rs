//! The fixture itself, seen from outside: over HTTP, over stdio, over WebSocket, and with every fault on.

#![expect(clippy::unwrap_used, reason = "a test may panic, and says where")]

mod cancel;
mod client;
mod fault_proxy;
mod faults;
mod interaction;
mod program;
mod session;
mod sessionless;
mod tasks;
mod websocket;
