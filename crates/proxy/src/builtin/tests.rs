//! The demo server, called the way every backend is.

use std::sync::Mutex;

use mcp_proxy_core::json::Params;
use mcp_proxy_core::{Asked, Call, ClientHandle, ClientPort, Interim, Method, Reply};
use mcp_proxy_transport::client::Peer;

use super::*;

async fn connect() -> Connected {
    BuiltinConnector::new("demo")
        .connect(<dyn mcp_proxy_core::Downstream>::nobody())
        .await
        .unwrap()
}

#[track_caller]
fn call(method: Method, params: &str) -> Call {
    Call::new(method).with_params(Params::parse(params.to_owned()).unwrap())
}

/// The result of a call contains a text.
async fn check(peer: &dyn Peer, method: Method, params: &str, expected: &str) {
    let reply = peer.call(call(method, params)).await.unwrap();
    let Reply::Result(result) = &reply else {
        panic!("{params}: {reply:?}")
    };
    assert!(result.as_str().contains(expected), "{params}: {result:?}");
}

#[tokio::test]
async fn everything_it_offers_works() {
    let connected = connect().await;
    let peer = &*connected.peer;
    assert!(connected.hello.capabilities.get("completions").is_some());
    for (method, expected) in [
        (Method::ToolsList, r#""name":"long_task""#),
        (Method::ResourcesList, r#""uri":"demo://about""#),
        (
            Method::ResourceTemplatesList,
            r#""uriTemplate":"demo://greetings/{name}""#,
        ),
        (Method::PromptsList, r#""name":"greet""#),
    ] {
        check(peer, method, "{}", expected).await;
    }
    let tool = Method::ToolsCall;
    check(
        peer,
        tool.clone(),
        r#"{"name":"echo","arguments":{"message":"hi there"}}"#,
        r#""text":"hi there""#,
    )
    .await;
    check(
        peer,
        tool,
        r#"{"name":"add","arguments":{"a":1,"b":2.5}}"#,
        r#""structuredContent":{"sum":3.5}"#,
    )
    .await;
    check(
        peer,
        Method::ResourcesRead,
        r#"{"uri":"demo://about"}"#,
        "resources work",
    )
    .await;
    check(
        peer,
        Method::ResourcesRead,
        r#"{"uri":"demo://greetings/Ada"}"#,
        "Hello, Ada!",
    )
    .await;
    check(
        peer,
        Method::PromptsGet,
        r#"{"name":"greet","arguments":{"name":"Ada","style":"pirate"}}"#,
        "a pirate greeting for Ada",
    )
    .await;
    let style = r#"{"ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"style","value":"f"}}"#;
    check(peer, Method::Complete, style, r#"["formal","friendly"]"#).await;
    let reply = peer
        .call(call(Method::ToolsCall, r#"{"name":"nothing"}"#))
        .await
        .unwrap();
    assert!(matches!(reply, Reply::Error(_)), "{reply:?}");
    peer.close().await;
}

/// A client that keeps what it is told.
#[derive(Default)]
struct Notes(Mutex<Vec<String>>);

impl ClientPort for Notes {
    fn notify(&self, message: Interim) -> bool {
        let params = message.params.to_raw().unwrap();
        self.0
            .lock()
            .unwrap()
            .push(params.get("progress").unwrap().as_str().to_owned());
        true
    }

    fn ask(&self, _: Method, _: Params) -> Asked {
        Box::pin(async { Ok(Reply::error(-1, "nobody asks here")) })
    }
}

#[tokio::test(start_paused = true)]
async fn the_long_task_reports_progress() {
    let connected = connect().await;
    let notes = Arc::new(Notes::default());
    let arguments = r#"{"name":"long_task","arguments":{"steps":3},"_meta":{"progressToken":"t"}}"#;
    let mut long = call(Method::ToolsCall, arguments);
    long.client = ClientHandle::new(notes.clone());
    let reply = connected.peer.call(long).await.unwrap();
    assert!(reply.result().unwrap().as_str().contains("3 steps done"));
    assert_eq!(*notes.0.lock().unwrap(), ["1.0", "2.0", "3.0"]);
}

#[tokio::test]
async fn the_server_ends_with_its_connection() {
    let connector = BuiltinConnector::new("demo");
    let connected = connector
        .connect(<dyn mcp_proxy_core::Downstream>::nobody())
        .await
        .unwrap();
    drop(connected);
    connector.servers.close();
    connector.servers.wait().await;
}
