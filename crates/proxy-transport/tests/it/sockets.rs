//! WebSocket and HTTP+SSE backends: found out, asked and answered, over real sockets.

use mcp_proxy_test::{Era, Fixture};
use mcp_proxy_transport::client::options::HttpOptions;
use mcp_proxy_transport::client::sse::SseConnector;
use mcp_proxy_transport::client::websocket::WebSocketConnector;

use crate::asking::{SESSION, SESSIONLESS, check};

#[tokio::test]
async fn web_sockets_carry_both_eras() {
    for (era, expected) in [
        (Era::Session, SESSION),
        (Era::Sessionless, SESSIONLESS),
        (Era::Both, SESSIONLESS),
    ] {
        let fixture = Fixture::http().web_socket().era(era).start().await.unwrap();
        let options = HttpOptions::new(fixture.url().parse().unwrap());
        check(&WebSocketConnector::new("socket", options), expected).await;
    }
}

#[tokio::test]
async fn the_oldest_transport_asks_too() {
    let fixture = Fixture::http().sse().start().await.unwrap();
    let options = HttpOptions::new(fixture.url().parse().unwrap());
    check(&SseConnector::new("events", options), SESSION).await;
}
