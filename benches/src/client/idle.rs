//! Sessions that are opened and then left alone, so that the proxy's memory for one can be weighed.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::timeout;

use super::session::start_session;
use super::{Connection, Endpoint};

/// Opens `count` sessions over a few connections, then closes those connections. The sessions stay.
///
/// # Errors
/// When one is refused.
pub(crate) async fn without_stream(endpoint: &Endpoint, count: usize) -> anyhow::Result<()> {
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS.min(count) {
        connections.push(Connection::open(endpoint.address).await?);
    }
    for number in 0..count {
        let connection = &mut connections[number % CONNECTIONS];
        let opened = timeout(LIMIT, start_session(connection, &endpoint.path)).await;
        let id = opened.with_context(|| format!("session {number} was not opened in {LIMIT:?}"))??;
        ensure!(id.is_some(), "no session id was issued, so there is nothing to weigh");
    }
    Ok(())
}

/// Opens `count` sessions, each with a connection of its own that holds its GET stream open until it is dropped.
///
/// # Errors
/// When a session or its stream is refused.
pub(crate) async fn with_stream(endpoint: &Endpoint, count: usize) -> anyhow::Result<Vec<Connection>> {
    let mut streams = Vec::with_capacity(count);
    for number in 0..count {
        let opened = timeout(LIMIT, open_stream(endpoint)).await;
        streams.push(opened.with_context(|| format!("stream {number} was not opened in {LIMIT:?}"))??);
    }
    Ok(streams)
}

async fn open_stream(endpoint: &Endpoint) -> anyhow::Result<Connection> {
    let mut connection = Connection::open(endpoint.address).await?;
    start_session(&mut connection, &endpoint.path).await?;
    connection.send("GET", &endpoint.path, b"").await?;
    let head = connection.read_head().await?;
    ensure!(
        head.status == 200 && head.event_stream,
        "GET was answered with {} and no event stream",
        head.status
    );
    Ok(connection)
}

const CONNECTIONS: usize = 32;
const LIMIT: Duration = Duration::from_secs(10);
