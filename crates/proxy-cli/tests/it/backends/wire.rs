//! What goes over the wire to a backend: its own credentials, never those of a client.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hyper::Method;
use mcp_proxy_test::Fixture;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::Config;

/// Most bytes kept; more than the tests here send.
const KEPT: usize = 1 << 20;

/// Passes connections on to a server and writes down what the client's side says.
struct Recorder {
    address: SocketAddr,
    said: Arc<Mutex<Vec<u8>>>,
    _tasks: JoinSet<()>,
}

impl Recorder {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let said: Arc<Mutex<Vec<u8>>> = Arc::default();
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let said = Arc::clone(&said);
            async move {
                let mut connections = JoinSet::new();
                while let Ok((client, _)) = listener.accept().await {
                    connections.spawn(pass(client, server, Arc::clone(&said)));
                }
            }
        });
        Self {
            address,
            said,
            _tasks: tasks,
        }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().expect("no holder panics")).into_owned()
    }
}

async fn pass(client: TcpStream, server: SocketAddr, said: Arc<Mutex<Vec<u8>>>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = from_client.read(&mut bytes).await {
            {
                let mut said = said.lock().expect("no holder panics");
                let room = KEPT.saturating_sub(said.len()).min(length);
                said.extend_from_slice(&bytes[..room]);
            }
            if to_server.write_all(&bytes[..length]).await.is_err() {
                break;
            }
        }
    };
    tokio::join!(up, async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
    });
}

#[tokio::test]
async fn a_backend_gets_its_own_credentials_and_never_a_clients() {
    let fixture = Fixture::http().start().await.expect("a fixture");
    let recorder = Recorder::before(fixture.address()).await;
    let url = format!("http://{}/mcp", recorder.address);
    let more = "bearer_token = \"backend-s3cret\"\nheaders = { \"x-team\" = \"blue\", \"x-key\" = \"key-s3cret\" }";
    let proxy = Config::new().http("fixture", &url, more).start().await;
    proxy.wait_for_tools_of(&["fixture__"]).await;

    let session = proxy.session().await;
    let mut headers = session.headers();
    headers.extend([
        ("authorization", "Bearer clients-s3cret"),
        ("cookie", "session=clients-s3cret"),
        ("x-forwarded-for", "203.0.113.7"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ]);
    let params = json!({ "name": "fixture__echo", "arguments": { "mark": "this very call" } });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let answer = proxy.http().send(Method::POST, &headers, body.to_string()).await;
    assert_eq!(answer.status.as_u16(), 200, "{answer:?}");

    let said = recorder.said();
    let heads = said.to_lowercase();
    assert!(said.contains("this very call"), "{said}");
    for head in [
        "authorization: bearer backend-s3cret",
        "x-team: blue",
        "x-key: key-s3cret",
        "mcp-protocol-version: 2025-11-25",
        "mcp-session-id: ",
    ] {
        assert!(heads.contains(head), "{head} in {said}");
    }
    assert!(
        !said.contains("clients-s3cret"),
        "a client's credential goes to nobody: {said}"
    );
    let own = session.id.as_deref().unwrap_or_default();
    assert!(!said.contains(own), "nor does its session id: {said}");
    // What is secret stays out of the log, whatever is logged.
    assert_eq!(proxy.log_lines("s3cret"), Vec::<String>::new());
}

#[tokio::test]
async fn a_refusal_of_a_backend_is_not_relayed_as_it_came() {
    let fixture = Fixture::http().start().await.expect("a fixture");
    let proxy = Config::new().http("fixture", &fixture.url(), "").start().await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let session = proxy.session().await;
    for status in [401, 403, 404, 405, 429] {
        fixture.fault(|faults| faults.status = Some(status));
        let params = json!({ "name": "fixture__echo", "arguments": {} });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let answer = session.post(&body).await.expect("an answer");
        assert_eq!(
            answer.status.as_u16(),
            200,
            "the answer to the call is what the client reads: {status} {answer:?}"
        );
        assert!(answer.json()["error"]["code"].is_i64(), "{status} {answer:?}");
        assert!(answer.header("www-authenticate").is_none(), "{status} {answer:?}");
    }
}
