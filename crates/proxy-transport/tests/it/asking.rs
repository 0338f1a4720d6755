//! Clients that answer what backends ask, and a check that a backend of any era can ask them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mcp_proxy_core::json::{Params, RawJson};
use mcp_proxy_core::{
    Asked, Call, ClientHandle, ClientPort, Declared, Downstream, Interim, Method, ProtocolVersion, Reply, Session,
    SessionKey,
};
use mcp_proxy_transport::client::{Connected, Connector, Peer};

pub(crate) const ALL: &str = r#"{"roots":{},"sampling":{},"elicitation":{}}"#;
pub(crate) const SESSION: ProtocolVersion = ProtocolVersion::LATEST_SESSION;
pub(crate) const SESSIONLESS: ProtocolVersion = ProtocolVersion::LATEST_SESSIONLESS;

/// A client that accepts whatever it is asked, if the question is one of its own.
pub(crate) struct Client {
    /// What each of its questions says.
    pub(crate) message: String,
    pub(crate) answered: AtomicUsize,
    pub(crate) foreign: AtomicUsize,
}

impl Client {
    pub(crate) fn new(message: &str) -> Arc<Self> {
        Arc::new(Self {
            message: message.to_owned(),
            answered: AtomicUsize::new(0),
            foreign: AtomicUsize::new(0),
        })
    }
}

impl ClientPort for Client {
    fn notify(&self, _: Interim) -> bool {
        true
    }

    fn ask(&self, method: Method, params: Params) -> Asked {
        let said = params.to_raw().and_then(|params| params.get("message"));
        let own =
            method == Method::RootsList || said.is_some_and(|said| said.string().as_deref() == Some(&self.message));
        let counter = if own { &self.answered } else { &self.foreign };
        counter.fetch_add(1, Ordering::SeqCst);
        let answer = match method {
            Method::RootsList => r#"{"roots":[{"uri":"file:///here"}]}"#,
            _ => r#"{"action":"accept","content":{"username":"u"}}"#,
        };
        Box::pin(std::future::ready(Ok(Reply::Result(RawJson::from_static(answer)))))
    }
}

/// A call of `tool` by a client of `version`; with a session when its era has them.
pub(crate) fn call(
    tool: &str,
    client: &Arc<Client>,
    version: ProtocolVersion,
    key: u64,
    declared: &'static str,
) -> Call {
    let params = serde_json::json!({ "name": tool, "arguments": { "message": client.message } });
    let params = Params::parse(RawJson::encode(&params).as_bytes().clone()).unwrap();
    let mut call = Call::new(Method::ToolsCall).with_params(params);
    let declared = Arc::new(Declared::new(RawJson::from_static(declared), None));
    call.client = ClientHandle::new(client.clone());
    call.context.version = version;
    call.context.declared = declared.clone();
    call.context.session = (!version.is_sessionless()).then(|| {
        Arc::new(Session {
            key: SessionKey(key),
            version,
            declared,
        })
    });
    call
}

pub(crate) async fn text(peer: &Arc<dyn Peer>, call: Call) -> String {
    match peer.call(call).await.unwrap() {
        Reply::Result(result) => result.as_str().to_owned(),
        Reply::Error(error) => error.raw().as_str().to_owned(),
    }
}

/// Connects to a backend that speaks `expected` at best, and has it ask clients of both eras.
pub(crate) async fn check(connector: &dyn Connector, expected: ProtocolVersion) {
    let Connected { peer, hello, .. } = connector.connect(<dyn Downstream>::nobody()).await.unwrap();
    assert_eq!(hello.version, expected);
    let client = Client::new("?");
    let said = text(&peer, call("test_elicitation", &client, SESSION, 1, ALL)).await;
    assert!(said.contains("action=accept"), "{expected}: {said}");
    assert!(!said.contains("resultType"), "{expected}: {said}");
    let said = text(&peer, call("test_list_roots", &client, SESSION, 1, ALL)).await;
    assert!(said.contains("file:///here"), "{expected}: {said}");
    assert_eq!(client.answered.load(Ordering::SeqCst), 2);
    // A caller without a session makes the rounds itself, where the backend makes any.
    let said = text(&peer, call("test_elicitation", &client, SESSIONLESS, 0, ALL)).await;
    assert_eq!(
        said.contains("input_required"),
        expected == SESSIONLESS,
        "{expected}: {said}"
    );
    peer.close().await;
}
