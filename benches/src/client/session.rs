//! Opens an MCP session the way real clients do, and asks for a list.

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::request::{Ask, Request};
use super::{Connection, Endpoint, Manner};

/// Connects and, if the endpoint wants one, opens a session of the newest session-era revision; for one of the
/// sessionless era, sets the headers that repeat what `ask` says in its body.
///
/// # Errors
/// When the endpoint refuses the connection, `initialize` or `notifications/initialized`.
pub(crate) async fn open(endpoint: &Endpoint, ask: &Ask) -> anyhow::Result<Connection> {
    let mut connection = Connection::open(endpoint.address).await?;
    match endpoint.manner {
        Manner::Bare => {}
        Manner::Session => drop(start_session(&mut connection, &endpoint.path).await?),
        Manner::Sessionless => connection.set_headers(&ask.headers()),
    }
    Ok(connection)
}

/// Opens a session and makes it the session of all later requests on the connection. Gives its id, if it has one.
///
/// # Errors
/// When `initialize` or `notifications/initialized` is refused.
pub(super) async fn start_session(connection: &mut Connection, path: &str) -> anyhow::Result<Option<String>> {
    connection.set_headers(&[]);
    let (head, body) = connection.exchange("POST", path, INITIALIZE.as_bytes()).await?;
    let text = String::from_utf8_lossy(body);
    ensure!(
        head.status == 200 && text.contains(VERSION),
        "initialize: status {}: {text}",
        head.status
    );
    let id = head.session;
    let mut headers = vec![("MCP-Protocol-Version", VERSION)];
    headers.extend(id.as_deref().map(|id| ("Mcp-Session-Id", id)));
    connection.set_headers(&headers);
    let (head, body) = connection.exchange("POST", path, INITIALIZED.as_bytes()).await?;
    ensure!(
        head.status == 202,
        "initialized: status {}: {}",
        head.status,
        String::from_utf8_lossy(body)
    );
    Ok(id)
}

/// Reads `tools/list` as bytes, and how many tools it names.
///
/// # Errors
/// When the answer is no list, or not the whole list in one page.
pub(crate) async fn read_list(endpoint: &Endpoint) -> anyhow::Result<(Vec<u8>, usize)> {
    let ask = Ask::List { bytes: 0 };
    let mut connection = open(endpoint, &ask).await?;
    let mut request = Request::new(endpoint.manner);
    request.next(&ask, 0);
    let (head, body) = connection
        .exchange("POST", &endpoint.path, request.text.as_bytes())
        .await?;
    ensure!(
        head.status == 200,
        "tools/list: status {}: {}",
        head.status,
        String::from_utf8_lossy(body)
    );
    let list: Value = serde_json::from_slice(body).context("tools/list is not answered with JSON")?;
    if !list["result"]["nextCursor"].is_null() {
        bail!("tools/list comes in pages; the bench compares whole lists");
    }
    let Some(tools) = list["result"]["tools"].as_array() else {
        bail!("tools/list has no tools: {list}")
    };
    Ok((body.to_vec(), tools.len()))
}

const VERSION: &str = "2025-11-25";
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"mcp-proxy-bench","version":"0"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
