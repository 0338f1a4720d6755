//! What no honest server does, and what can be seen of us from there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mcp_proxy_core::catalogue::{CatalogueBuilder, Kind, Listing, Source};
use mcp_proxy_core::json::{Params, RawJson};
use mcp_proxy_core::names::Namespace;
use mcp_proxy_core::{Call, ErrorKind, Method, ProtocolVersion, Reply};
use mcp_proxy_transport::client::{Connected, Connector, PeerEvent};
use serde_json::{Value, json};

use super::super::script::{Script, Seen, Step, event, json as answer, response, result, send, stream_head, welcome};
use super::super::{Client, assert_kind, call, options, run, soon, text, tool};
use super::{Clients, listening, meta, of_client, says};

/// A backend of this era that offers tools.
async fn script(play: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Script {
    Script::of_any_era(move |seen| match seen.method().as_str() {
        "server/discover" => discovered(seen),
        _ => play(seen),
    })
    .await
}

pub(super) fn discovered(seen: &Seen) -> Vec<Step> {
    replied(
        seen,
        &json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": { "tools": { "listChanged": true }, "resources": { "subscribe": true } },
        }),
    )
}

pub(super) fn replied(seen: &Seen, result: &Value) -> Vec<Step> {
    answer(&json!({ "jsonrpc": "2.0", "id": seen.id(), "result": result }).to_string())
}

fn refused(seen: &Seen, status: u16, code: i64, message: &str) -> Vec<Step> {
    let error = json!({ "jsonrpc": "2.0", "id": seen.id(), "error": { "code": code, "message": message } });
    vec![response(
        status,
        "content-type: application/json\r\n",
        &error.to_string(),
    )]
}

async fn connect(script: &Script) -> Connected {
    listening(options(script), &Clients::new()).await.1
}

async fn reject(script: &Script) -> mcp_proxy_core::Error {
    let connector = mcp_proxy_transport::client::http::HttpConnector::new(options(script));
    match soon(connector.connect(Clients::new())).await {
        Err(error) => error,
        Ok(connected) => panic!("connected: {:?}", connected.hello),
    }
}

#[tokio::test]
async fn a_call_says_all_of_itself() {
    let script = script(|seen| match seen.method().as_str() {
        "subscriptions/listen" => refused(seen, 404, -32601, "none"),
        _ => result(seen),
    })
    .await;
    let connected = connect(&script).await;
    let mut call = of_client(
        tool(r#"{"name":"größe","arguments":{"a":1.0},"_meta":{"progressToken":"t","x/y":0.10}}"#),
        ProtocolVersion::V2025_06_18,
    );
    call.client = Client::handle().1;
    assert_eq!(text(&run(&connected, call).await.unwrap()), r#"{"ok":true}"#);
    let seen = script.wait_for(|seen| seen.method() == "tools/call").await;
    assert_eq!(seen.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(seen.header("mcp-method"), Some("tools/call"));
    assert_eq!(seen.header("mcp-name"), Some("=?base64?Z3LDtsOfZQ==?="));
    assert_eq!(seen.header("mcp-session-id"), None);
    let accept = seen.header("accept").unwrap();
    assert!(accept.contains("application/json") && accept.contains("text/event-stream"));
    assert_eq!(meta(&seen, "protocolVersion"), "2026-07-28");
    assert_eq!(meta(&seen, "clientInfo")["name"], "client");
    assert_eq!(
        meta(&seen, "clientCapabilities")["elicitation"],
        json!({ "form": {}, "url": {} })
    );
    assert_eq!(meta(&seen, "logLevel"), Value::Null, "it declared no logging");
    let params = &seen.json()["params"];
    assert_eq!(params["_meta"]["progressToken"], seen.id(), "unique among all clients");
    assert!(seen.body.contains(r#""arguments":{"a":1.0}"#) && seen.body.contains(r#""x/y":0.10"#));
    let probe = script.wait_for(|seen| seen.method() == "server/discover").await;
    assert_eq!(probe.header("mcp-method"), Some("server/discover"));
    assert_eq!(meta(&probe, "clientInfo")["name"], "mcp-proxy");
    assert_eq!(script.count(|seen| seen.method() == "initialize"), 0);
}

#[tokio::test]
async fn whoever_does_not_know_the_question_is_greeted_the_old_way() {
    let refusals: [fn(&Seen) -> Vec<Step>; 10] = [
        |_| vec![response(404, "", "")],
        |_| vec![response(405, "", "")],
        |_| vec![response(406, "content-type: text/plain\r\n", "no")],
        |_| vec![response(500, "", "")],
        |_| vec![Step::Close],
        |seen| refused(seen, 400, -32000, "no session"),
        |seen| refused(seen, 200, -32601, "no such method"),
        |seen| refused(seen, 400, -32022, "no such version"),
        |seen| replied(seen, &json!({})),
        |_| {
            vec![response(
                400,
                "content-type: application/json\r\n",
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"?"}}"#,
            )]
        },
    ];
    for (n, refusal) in refusals.into_iter().enumerate() {
        let script = Script::of_any_era(move |seen| match (seen.verb(), seen.method().as_str()) {
            ("GET", _) => vec![response(405, "", "")],
            (_, "server/discover") => refusal(seen),
            (_, "initialize") => welcome(seen, Some("s")),
            (_, "tools/call") => result(seen),
            _ => vec![response(202, "", "")],
        })
        .await;
        let (connector, connected) = listening(options(&script), &Clients::new()).await;
        assert_eq!(connected.hello.version, ProtocolVersion::V2025_06_18, "{n}");
        run(&connected, call()).await.unwrap();
        // That is believed for a while.
        soon(connector.connect(Clients::new())).await.unwrap();
        assert_eq!(script.count(|seen| seen.method() == "server/discover"), 1, "{n}");
    }
}

#[tokio::test]
async fn credentials_and_patience_say_nothing_of_the_era() {
    for (status, headers, kind) in [
        (401, "", ErrorKind::Refused),
        (403, "", ErrorKind::Refused),
        (429, "", ErrorKind::Pushback { retry_after: None }),
    ] {
        let script = Script::of_any_era(move |_| vec![response(status, headers, "")]).await;
        assert_eq!(reject(&script).await.kind(), kind, "{status}");
        assert_eq!(script.count(|seen| seen.method() == "initialize"), 0, "{status}");
    }
}

#[tokio::test]
async fn an_error_that_only_this_era_has_proves_it() {
    let script = Script::of_any_era(|seen| match seen.method().as_str() {
        "server/discover" => refused(seen, 400, -32021, "say more of yourself"),
        _ => result(seen),
    })
    .await;
    let connected = connect(&script).await;
    assert_eq!(connected.hello.version, ProtocolVersion::V2026_07_28);
    run(&connected, call()).await.unwrap();
}

#[tokio::test]
async fn a_refused_revision_is_asked_for_again_when_the_refusal_names_it() {
    let asked = AtomicUsize::new(0);
    let script = Script::of_any_era(move |seen| match seen.method().as_str() {
        "server/discover" if asked.fetch_add(1, Ordering::SeqCst) == 0 => {
            let data = json!({ "supported": ["2026-07-28"], "requested": "2026-07-28" });
            let error = json!({ "code": -32022, "message": "no", "data": data });
            let body = json!({ "jsonrpc": "2.0", "id": seen.id(), "error": error }).to_string();
            vec![response(400, "content-type: application/json\r\n", &body)]
        }
        "server/discover" => discovered(seen),
        _ => result(seen),
    })
    .await;
    let connected = connect(&script).await;
    assert_eq!(connected.hello.version, ProtocolVersion::V2026_07_28);
    assert_eq!(script.count(|seen| seen.method() == "initialize"), 0);
}

#[tokio::test]
async fn a_stream_says_what_belongs_to_its_request_and_then_the_answer() {
    let script = script(|seen| {
        let id = seen.id();
        vec![
            stream_head(),
            send(": keep-alive\n\n"),
            event(format!(r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{id},"progress":1}}}}"#)),
            event(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":999,"progress":1}}"#),
            event(r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:1"}}"#),
            event(r#"{"jsonrpc":"2.0","id":5,"method":"roots/list"}"#),
            event(r#"{"jsonrpc":"2.0","id":999,"result":{"foreign":true}}"#),
            event(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","ok":1}}}}"#)),
            Step::Hang,
        ]
    })
    .await;
    let connected = connect(&script).await;
    let (client, handle) = Client::handle();
    let mut call = tool(r#"{"name":"x","_meta":{"progressToken":"t"}}"#);
    call.client = handle;
    assert_eq!(text(&run(&connected, call).await.unwrap()), r#"{"ok":1}"#);
    assert_eq!(
        client.told(),
        [(
            "notifications/progress".to_owned(),
            r#"{"progressToken":"t","progress":1}"#.to_owned()
        )]
    );
}

#[tokio::test]
async fn a_lost_stream_is_a_lost_call() {
    let script = script(|_| vec![stream_head(), send("id: 7\nretry: 1\n\n"), Step::Close]).await;
    let connected = connect(&script).await;
    assert_kind(run(&connected, call()).await, ErrorKind::SentUnknown);
    assert_eq!(script.count(|seen| seen.verb() == "GET"), 0, "nothing to resume");
}

#[tokio::test]
async fn a_dropped_call_closes_its_connection() {
    let script = script(|seen| match seen.method().as_str() {
        "tools/call" => vec![Step::Hang],
        _ => refused(seen, 404, -32601, "none"),
    })
    .await;
    let connected = connect(&script).await;
    soon(script.wait_for(|seen| seen.method() == "subscriptions/listen")).await;
    {
        let running = connected.peer.call(call());
        tokio::select! {
            reply = running => panic!("{reply:?}"),
            _ = soon(script.wait_for(|seen| seen.method() == "tools/call")) => {}
        }
    }
    soon(script.wait_for_closed(1)).await;
    assert_eq!(script.count(|seen| seen.method() == "notifications/cancelled"), 0);
}

#[tokio::test]
async fn errors_with_our_id_are_answers_whatever_their_status() {
    let script = script(|seen| match seen.json()["params"]["name"].as_str() {
        Some("a") => refused(seen, 404, -32601, "no such method"),
        Some("b") => refused(seen, 400, -32602, "bad"),
        Some("c") => vec![response(400, "", "not json")],
        Some("d") => vec![response(503, "retry-after: 7\r\n", "")],
        _ => vec![response(502, "", "")],
    })
    .await;
    let connected = connect(&script).await;
    let named = |name: &str| tool(&json!({ "name": name }).to_string());
    for (name, code) in [("a", -32601), ("b", -32602)] {
        match run(&connected, named(name)).await {
            Ok(Reply::Error(error)) => assert_eq!(error.code(), code),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_kind(run(&connected, named("c")).await, ErrorKind::Refused);
    let after = std::time::Duration::from_secs(7);
    assert_kind(
        run(&connected, named("d")).await,
        ErrorKind::Pushback {
            retry_after: Some(after),
        },
    );
    assert_kind(run(&connected, named("e")).await, ErrorKind::ServerFault);
}

fn with_header(header: &str) -> Value {
    json!({ "name": "x", "inputSchema": { "properties": { "region": { "type": "string", "x-mcp-header": header } } } })
}

/// A call of `x` as the catalogue resolves it, when the backend lists `definition`.
fn resolved(definition: &Value) -> Call {
    let listing = Listing {
        version: Some(ProtocolVersion::V2026_07_28),
        tools: vec![RawJson::encode(definition)],
        ..Listing::default()
    };
    let source = Source {
        name: "b".into(),
        namespace: Namespace::new("", "/"),
        trust_annotations: false,
    };
    let mut builder = CatalogueBuilder::default();
    builder.add(source, Some(Arc::new(listing)));
    let mut call = tool(r#"{"name":"x","arguments":{"region":"eu"}}"#);
    call.item = builder.build().tool("x").cloned();
    assert!(call.item.is_some());
    call
}

#[tokio::test]
async fn arguments_are_repeated_in_the_headers_a_tool_asks_for() {
    let asked = Arc::new(AtomicUsize::new(0));
    let asked_there = asked.clone();
    // The tool has changed since it was listed.
    let script = script(move |seen| match seen.method().as_str() {
        "tools/list" if seen.json()["params"]["cursor"].is_null() => {
            replied(seen, &json!({ "tools": [{ "name": "y" }], "nextCursor": "" }))
        }
        "tools/list" => replied(seen, &json!({ "tools": [with_header("Zone")] })),
        "tools/call" if seen.header("mcp-param-zone") == Some("eu") => result(seen),
        "tools/call" => {
            asked_there.fetch_add(1, Ordering::SeqCst);
            refused(seen, 400, -32020, "`Mcp-Param-Zone` is missing")
        }
        _ => refused(seen, 404, -32601, "none"),
    })
    .await;
    let mut connected = connect(&script).await;
    run(&connected, resolved(&with_header("Region"))).await.unwrap();
    let first = script.wait_for(|seen| seen.method() == "tools/call").await;
    assert_eq!(first.header("mcp-param-region"), Some("eu"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(matches!(
        soon(connected.events.recv()).await,
        Some(PeerEvent::ListChanged(Kind::Tool))
    ));
    run(&connected, resolved(&with_header("Zone"))).await.unwrap();
    assert_eq!(
        asked.load(Ordering::SeqCst),
        1,
        "what the list says now is right at once"
    );
}

#[tokio::test]
async fn a_header_that_stays_wrong_is_the_answer() {
    let script = script(|seen| match seen.method().as_str() {
        "tools/list" => replied(seen, &json!({ "tools": [with_header("Region")] })),
        "tools/call" => refused(seen, 400, -32020, "no"),
        _ => refused(seen, 404, -32601, "none"),
    })
    .await;
    let connected = connect(&script).await;
    match run(&connected, resolved(&with_header("Region"))).await {
        Ok(Reply::Error(error)) => assert_eq!(error.code(), -32020),
        other => panic!("{other:?}"),
    }
    assert_eq!(script.count(|seen| seen.method() == "tools/call"), 1);
}

#[tokio::test]
async fn tools_with_impossible_headers_are_not_listed() {
    let script = script(|seen| match seen.method().as_str() {
        "tools/list" => replied(
            seen,
            &json!({ "tools": [with_header("Good"), with_header("not good")] }),
        ),
        _ => refused(seen, 404, -32601, "none"),
    })
    .await;
    let connected = connect(&script).await;
    let reply = run(&connected, Call::new(Method::ToolsList)).await.unwrap();
    let listed: Value = reply.result().unwrap().decode().unwrap();
    assert_eq!(listed["tools"], json!([with_header("Good")]));
}

#[tokio::test]
async fn ids_are_never_used_twice() {
    let script = script(|seen| match seen.json()["params"].get("requestState") {
        None if seen.method() == "resources/read" => {
            replied(seen, &json!({ "resultType": "input_required", "requestState": "s" }))
        }
        _ => result(seen),
    })
    .await;
    let connected = connect(&script).await;
    for _ in 0..3 {
        let params = Params::parse(r#"{"uri":"a:1"}"#).unwrap();
        run(&connected, Call::new(Method::ResourcesRead).with_params(params))
            .await
            .unwrap();
    }
    let mut ids: Vec<_> = script.seen().iter().map(Seen::id).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all);
    assert!(all >= 7, "{all}");
}

#[tokio::test]
async fn a_backend_that_forgets_the_era_is_asked_again() {
    // From the first call on it is one with sessions.
    let asked = Arc::new(AtomicUsize::new(0));
    let script = Script::of_any_era(move |seen| match (seen.verb(), seen.method().as_str()) {
        ("GET", _) => vec![response(405, "", "")],
        (_, "server/discover") if asked.fetch_add(1, Ordering::SeqCst) == 0 => replied(
            seen,
            &json!({ "supportedVersions": ["2026-07-28"], "capabilities": {} }),
        ),
        (_, "initialize") => welcome(seen, None),
        (_, "notifications/initialized") => vec![response(202, "", "")],
        _ => refused(seen, 400, -32000, "Bad Request: no valid session ID provided"),
    })
    .await;
    let (connector, mut connected) = listening(options(&script), &Clients::new()).await;
    let Err(error) = run(&connected, call()).await else {
        panic!("it has no session")
    };
    assert_eq!(error.kind(), ErrorKind::NotSent, "{}", says(&error));
    assert!(matches!(
        soon(connected.events.recv()).await,
        Some(PeerEvent::Closed(_))
    ));
    let connected = soon(connector.connect(Clients::new())).await.unwrap();
    assert_eq!(connected.hello.version, ProtocolVersion::V2025_06_18);
}
