//! The `mcp-proxy` command.
fn main() {}
