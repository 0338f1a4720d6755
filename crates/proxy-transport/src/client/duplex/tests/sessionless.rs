//! Backends of the sessionless era: complete requests, rounds, subscriptions.

use mcp_proxy_core::catalogue::Kind;
use mcp_proxy_core::{Declared, ProtocolVersion};
use serde_json::{Value, json};

use super::*;

const ALL: &str = r#"{"logging":{},"tools":{"listChanged":true},"resources":{"subscribe":true}}"#;

impl Backend {
    async fn request(&mut self) -> Value {
        serde_json::from_str(&self.read().await).unwrap()
    }

    async fn say(&mut self, message: Value) {
        self.write(&message.to_string()).await;
    }

    /// Answers what has been asked.
    async fn answer(&mut self, request: &Value, result: Value) {
        self.say(json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }))
            .await;
    }

    /// Says something on a subscription.
    async fn announce(&mut self, subscription: &Value, method: &str, mut params: Value) {
        params["_meta"] = json!({ "io.modelcontextprotocol/subscriptionId": subscription });
        self.say(json!({ "jsonrpc": "2.0", "method": method, "params": params }))
            .await;
    }

    async fn acknowledge(&mut self, listen: &Value) {
        assert_eq!(listen["method"], "subscriptions/listen");
        let honoured = json!({ "notifications": listen["params"]["notifications"] });
        self.announce(&listen["id"], "notifications/subscriptions/acknowledged", honoured)
            .await;
    }

    /// What was written before has been read when this returns: a call was answered that was written after it.
    async fn caught_up(&mut self, peer: &DuplexPeer) {
        let script = async {
            let request = self.request().await;
            self.answer(&request, json!({})).await;
        };
        let (reply, ()) = tokio::join!(peer.call(Call::new(Method::ToolsList)), script);
        reply.unwrap();
    }
}

/// A connection to a backend that says it can do `capabilities`.
async fn opened(capabilities: &str, behalf: Behalf) -> (DuplexPeer, mpsc::Receiver<PeerEvent>, Backend) {
    let (peer, events, mut backend) = connected_for(64 * 1024, behalf);
    let capabilities: Value = serde_json::from_str(capabilities).unwrap();
    let script = async {
        let request = backend.request().await;
        let meta = &request["params"]["_meta"];
        assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
        backend
            .answer(
                &request,
                json!({ "supportedVersions": ["2026-07-28"], "capabilities": capabilities }),
            )
            .await;
    };
    let (hello, ()) = tokio::join!(peer.open(), script);
    assert_eq!(hello.unwrap().version, ProtocolVersion::V2026_07_28);
    (peer, events, backend)
}

fn able(key: u64) -> (Call, Arc<Notes>) {
    let (mut call, notes) = of_session(key);
    let all = mcp_proxy_core::json::RawJson::from_static(r#"{"elicitation":{},"roots":{}}"#);
    call.context.declared = Arc::new(Declared::new(all, None));
    call.context.version = ProtocolVersion::LATEST_SESSION;
    (call, notes)
}

#[tokio::test]
async fn requests_are_complete_and_questions_are_rounds() {
    let (peer, _events, mut backend) = opened(r#"{"logging":{}}"#, for_all()).await;
    let (mut call, client) = able(1);
    call.params = Params::parse(r#"{"name":"t","_meta":{"progressToken":"p"}}"#).unwrap();
    let script = async {
        let first = backend.request().await;
        let meta = &first["params"]["_meta"];
        assert_eq!(
            meta["io.modelcontextprotocol/clientCapabilities"],
            json!({ "elicitation": {}, "roots": {} })
        );
        assert_eq!(meta["io.modelcontextprotocol/logLevel"], "info");
        assert_eq!(meta["progressToken"], first["id"]);
        backend
            .say(json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progressToken": first["id"] } }))
            .await;
        let asks = json!({
            "resultType": "input_required", "requestState": "s",
            "inputRequests": { "who": { "method": "elicitation/create", "params": { "message": "?" } } },
        });
        backend.answer(&first, asks).await;
        let question = client.question().await;
        assert_eq!(question.text, r#"elicitation/create {"message":"?"}"#);
        question
            .answer
            .send(Reply::Result(mcp_proxy_core::json::RawJson::from_static(
                r#"{"action":"accept"}"#,
            )))
            .unwrap();
        let second = backend.request().await;
        assert_ne!(second["id"], first["id"]);
        assert_eq!(second["params"]["_meta"]["progressToken"], second["id"]);
        assert_eq!(second["params"]["requestState"], "s");
        assert_eq!(
            second["params"]["inputResponses"],
            json!({ "who": { "action": "accept" } })
        );
        backend
            .answer(&second, json!({ "resultType": "complete", "content": [] }))
            .await;
    };
    let (reply, ()) = tokio::join!(peer.call(call), script);
    assert_eq!(result(reply), r#"{"content":[]}"#);
    assert_eq!(client.told(), [r#"notifications/progress {"progressToken":"p"}"#]);
}

#[tokio::test]
async fn a_client_of_the_era_gets_the_result_as_it_is() {
    let (peer, _events, mut backend) = opened("{}", for_all()).await;
    let (mut call, client) = able(1);
    call.context.session = None;
    call.context.version = ProtocolVersion::LATEST_SESSIONLESS;
    let asks = json!({ "inputRequests": { "k": { "method": "roots/list" } }, "resultType": "input_required" });
    let script = async {
        let request = backend.request().await;
        backend.answer(&request, asks.clone()).await;
    };
    let (reply, ()) = tokio::join!(peer.call(call), script);
    assert_eq!(result(reply), asks.to_string());
    assert!(client.is_unasked());
}

#[tokio::test]
async fn a_dropped_call_is_cancelled_in_this_era_too() {
    let (peer, _events, mut backend) = opened("{}", for_all()).await;
    let mut calls = JoinSet::new();
    calls.spawn(peer.call(able(1).0));
    let request = backend.request().await;
    calls.shutdown().await;
    let cancelled = backend.request().await;
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], request["id"]);
}

#[tokio::test]
async fn one_subscription_is_replaced_by_the_next_without_a_gap() {
    let outside = Arc::new(Outside::default());
    let (peer, mut events, mut backend) = opened(ALL, Behalf::everybody(outside.clone())).await;
    let first = backend.request().await;
    assert_eq!(first["params"]["notifications"], json!({ "toolsListChanged": true }));
    backend.acknowledge(&first).await;
    backend
        .announce(&first["id"], "notifications/tools/list_changed", json!({}))
        .await;
    assert!(matches!(events.recv().await, Some(PeerEvent::ListChanged(Kind::Tool))));
    peer.watch(Arc::from([Box::from("a:1")])).await.unwrap();
    let second = backend.request().await;
    assert_eq!(
        second["params"]["notifications"],
        json!({ "toolsListChanged": true, "resourceSubscriptions": ["a:1"] })
    );
    // The first counts until the second is in place, and nobody else ever does.
    let update = |n: u32| json!({ "uri": format!("a:{n}") });
    let updated = "notifications/resources/updated";
    backend.announce(&first["id"], updated, update(1)).await;
    backend.announce(&json!(9999), updated, update(99)).await;
    backend.acknowledge(&second).await;
    backend.announce(&first["id"], updated, update(98)).await;
    backend.announce(&second["id"], updated, update(2)).await;
    let cancelled = backend.request().await;
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], first["id"]);
    backend.caught_up(&peer).await;
    assert_eq!(
        *outside.told.lock().unwrap(),
        [1, 2].map(|n| (None, format!(r#"notifications/resources/updated {{"uri":"a:{n}"}}"#)))
    );
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_ends_is_opened_again_and_lists_count_as_changed() {
    let (_peer, mut events, mut backend) = opened(ALL, for_all()).await;
    let first = backend.request().await;
    backend.acknowledge(&first).await;
    backend.answer(&first, json!({ "resultType": "complete" })).await;
    // Refused for a while.
    for _ in 0..3 {
        let again = backend.request().await;
        backend
            .say(json!({ "jsonrpc": "2.0", "id": again["id"], "error": { "code": -32603, "message": "busy" } }))
            .await;
    }
    assert!(events.try_recv().is_err());
    let last = backend.request().await;
    backend.acknowledge(&last).await;
    assert!(matches!(events.recv().await, Some(PeerEvent::ListChanged(Kind::Tool))));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_takes_no_subscriptions_is_left_in_peace() {
    let (peer, _events, mut backend) = opened(ALL, for_all()).await;
    let listen = backend.request().await;
    backend
        .say(json!({ "jsonrpc": "2.0", "id": listen["id"], "error": { "code": -32601, "message": "no" } }))
        .await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    backend.caught_up(&peer).await;
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_no_use_of_the_backend() {
    let (peer, _events, mut backend) = opened(ALL, for_all()).await;
    let listen = backend.request().await;
    backend.acknowledge(&listen).await;
    backend.caught_up(&peer).await;
    let silence = Duration::from_secs(10);
    tokio::time::sleep(silence).await;
    let reason = Error::new(ErrorKind::Cancelled, "nobody used it");
    assert_eq!(peer.follow().close_if_idle(silence, &reason), Ok(()));
}

#[tokio::test]
async fn a_request_of_such_a_backend_is_refused() {
    let (peer, _events, mut backend) = opened("{}", for_all()).await;
    let (call, client) = able(1);
    let mut calls = JoinSet::new();
    calls.spawn(peer.call(call));
    backend.request().await;
    backend
        .say(json!({ "jsonrpc": "2.0", "id": 1, "method": "roots/list" }))
        .await;
    assert_eq!(backend.request().await["error"]["code"], -32601);
    assert!(client.is_unasked());
}

#[tokio::test]
async fn what_clients_tell_is_kept_from_such_a_backend() {
    let behalf = Behalf::client(
        SessionKey(1),
        &Declared::nothing(),
        <dyn mcp_proxy_core::Downstream>::nobody(),
    );
    let (peer, _events, mut backend) = opened("{}", behalf).await;
    let roots = Notification {
        method: Method::RootsChanged,
        params: Params::absent(),
    };
    peer.notify(SessionKey(1), roots).await.unwrap();
    backend.caught_up(&peer).await;
}

#[tokio::test]
async fn the_log_level_of_a_session_follows_callers_without_one() {
    let (peer, _events, mut backend) = connected(4096);
    peer.inner.link.speaks(link::Era::Session { logs: true });
    let quiet = |level| {
        let (mut call, _) = able(1);
        call.context.session = None;
        call.context.version = ProtocolVersion::LATEST_SESSIONLESS;
        call.context.log_level = level;
        call
    };
    let script = async {
        for (method, level) in [
            ("tools/call", None),
            ("logging/setLevel", Some("debug")),
            ("tools/call", None),
            ("tools/call", None),
            ("logging/setLevel", Some("debug")),
        ] {
            let request = backend.request().await;
            assert_eq!(request["method"], method);
            assert_eq!(request["params"]["level"].as_str(), level);
            backend.answer(&request, json!({})).await;
        }
    };
    let calls = async {
        peer.call(quiet(None)).await.unwrap();
        peer.call(quiet(Some(mcp_proxy_core::LogLevel::Debug))).await.unwrap();
        peer.call(quiet(Some(mcp_proxy_core::LogLevel::Error))).await.unwrap();
        // A session wants less; what others have asked for stays.
        let less = Params::parse(r#"{"level":"error"}"#).unwrap();
        peer.call(Call::new(Method::SetLevel).with_params(less)).await.unwrap();
    };
    tokio::join!(calls, script);
}
