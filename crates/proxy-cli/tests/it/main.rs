//! The real binary between real clients and real servers.
//!
//! Every test here starts `mcp-proxy` as a user would, with a `proxy.toml` and nothing of our own linked in. The clients and
//! servers around it come from npm and PyPI (`cargo xtask peers` installs them), or are our fixture server, whose answers
//! we can script. One binary holds all of it, so that the cost of linking is paid once; a module is an area:
//!
//! - `clients`: five SDK clients see six servers through one proxy exactly as they see each server alone;
//! - `front`: what the HTTP front answers, by status, header and body, to good and bad requests;
//! - `isolation`: clients that use the same ids and tokens never see one another;
//! - `backends`: what backends may be like, and what becomes of their faults;
//! - `chain`: a proxy behind a proxy;
//! - `faults`: backends are killed and hang, the proxy itself is killed;
//! - `conformance`: the published conformance suite through the proxy;
//! - `transparency`: one script of calls with and without the proxy, transcript against transcript;
//! - `commands`: the command line;
//! - `stdio_front`: the proxy as a program that a client starts;
//! - `streams_front`: clients over WebSocket and HTTP+SSE.

#![expect(clippy::print_stderr, reason = "what a test says goes to its own output")]

mod backends;
mod chain;
mod clients;
mod commands;
mod conformance;
mod faults;
mod front;
mod isolation;
mod stdio_front;
mod streams_front;
mod support;
mod transparency;
