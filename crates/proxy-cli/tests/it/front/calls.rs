//! What becomes of a request on its way to a backend and back.

use std::time::Duration;

use mcp_proxy_test::{Entry, Event, Ledger, RAW_RESULT};
use serde_json::{Value, json};

use super::{proxy, still_serves};
use crate::support::{Answer, Config, Session, SessionError, eventually, fixture_command};

#[tokio::test]
async fn what_does_not_exist_is_named_by_its_code() {
    let mut proxy = proxy(Config::new()).await;
    let session = proxy.session().await;
    let missing = "fixture+test://nonexistent-resource-for-conformance-testing";
    for (method, params, code) in [
        ("tools/call", json!({ "name": "nowhere" }), -32602),
        ("tools/call", json!({ "name": "fixture__nowhere" }), -32602),
        ("tools/call", json!({ "name": "fixture__" }), -32602),
        ("tools/call", json!({ "name": "echo" }), -32602),
        ("tools/call", json!({ "name": 7 }), -32602),
        ("tools/call", json!({}), -32602),
        ("prompts/get", json!({ "name": "fixture__nowhere" }), -32602),
        ("resources/read", json!({ "uri": "nowhere+test://static-text" }), -32002),
        ("resources/read", json!({ "uri": missing }), -32002),
        ("resources/read", json!({}), -32602),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": "fixture__nowhere" }, "argument": { "name": "a", "value": "" } }),
            -32602,
        ),
        ("tools/list", json!({ "cursor": "forged" }), -32602),
        ("resources/list", json!({ "cursor": "" }), -32602),
        (
            "resources/templates/list",
            json!({ "cursor": "eyJvZmZzZXQiOjF9" }),
            -32602,
        ),
        ("prompts/list", json!({ "cursor": "\u{0}" }), -32602),
        ("unheard/of", json!({}), -32601),
        ("server/discover", json!({}), -32601),
    ] {
        match session.request(method, params.clone()).await {
            Err(SessionError::Rpc(error)) => assert_eq!(error["code"], code, "{method} {params}: {error}"),
            other => panic!("{method} {params}: {other:?}"),
        }
    }
    still_serves(&mut proxy, &session).await;
}

#[tokio::test]
async fn results_pass_through_byte_for_byte() {
    let proxy = proxy(Config::new()).await;
    let session = proxy.session().await;
    let params = json!({ "name": "fixture__raw_result", "arguments": {} });
    let answer = session
        .post(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }))
        .await;
    let answer = answer.expect("an answer");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(
        text.contains(RAW_RESULT),
        "members, order and number text survive: {text}"
    );
    let arguments =
        json!({ "big": 12_345_678_901_234_567_890_u64, "nested": { "z": 1, "a": [null, true, "\u{2028}"] } });
    let echo = session.call("fixture__echo", arguments.clone()).await.expect("an echo");
    assert_eq!(echo["structuredContent"], arguments);
    // A call without `arguments` is common, and so is its answer.
    let bare = session
        .request("tools/call", json!({ "name": "fixture__test_simple_text" }))
        .await
        .expect("an answer");
    assert_eq!(bare["content"][0]["type"], "text");
}

#[tokio::test]
async fn an_answer_is_json_until_something_comes_in_between() {
    let proxy = proxy(Config::new()).await;
    let session = proxy.session().await;
    let kind = |answer: &Answer| answer.header("content-type").unwrap_or_default().to_owned();
    let call = |params: Value| json!({ "jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": params });
    let quiet = session
        .post(&call(json!({ "name": "fixture__echo" })))
        .await
        .expect("an answer");
    assert!(kind(&quiet).starts_with("application/json"), "{quiet:?}");

    let meta = json!({ "progressToken": "mine" });
    let params = json!({ "name": "fixture__progress", "arguments": { "steps": 3, "ms": 5 }, "_meta": meta });
    let talkative = session.post(&call(params)).await.expect("an answer");
    assert!(kind(&talkative).starts_with("text/event-stream"), "{talkative:?}");
    let text = String::from_utf8_lossy(&talkative.body);
    let progress = text.matches("notifications/progress").count();
    assert_eq!((progress, text.matches("\"mine\"").count()), (3, 3), "{text}");
    assert_eq!(talkative.json()["id"], 9);
}

#[tokio::test]
async fn a_cancellation_reaches_the_backend_and_only_that_call() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let entries = || Ledger::read(file.path()).expect("a ledger");
    let count = |event: Event| {
        let wanted = |entry: &&Entry| entry.event == event && entry.tool.as_deref() == Some("slow");
        entries().iter().filter(wanted).count()
    };
    let mut command = fixture_command("fixture").await;
    command.extend(["--ledger", file.path().to_str().expect("a UTF-8 path")].map(str::to_owned));
    let proxy = Config::new().stdio("fixture", &command, &[], "").start().await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let (session, stranger) = (proxy.session().await, proxy.session().await);

    let call = |id: &str, ms: u64| {
        let params = json!({ "name": "fixture__slow", "arguments": { "ms": ms } });
        json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
    };
    let cancel = async |session: &Session, id: &str| {
        let params = json!({ "requestId": id });
        session.notify("notifications/cancelled", params).await.expect("202");
    };
    let (doomed, kept) = (call("doomed", 60_000), call("kept", 1_500));
    let stop = async {
        let under_way = || async { (count(Event::Received) == 2).then_some(()) };
        eventually("two slow calls to arrive", Duration::from_secs(10), under_way).await;
        // The same id in another session belongs to somebody else.
        cancel(&stranger, "kept").await;
        cancel(&session, "doomed").await;
        let told = || async { (count(Event::Cancelled) > 0).then_some(()) };
        eventually("the backend to be told", Duration::from_secs(5), told).await;
    };
    let both = async { tokio::join!(session.post(&kept), session.post(&doomed), stop) };
    let both = tokio::time::timeout(Duration::from_secs(20), both).await;
    let (kept, doomed, ()) = both.expect("the answer to a cancelled call ends, be it empty");
    let kept = kept.expect("an answer").json();
    assert!(kept.get("result").is_some(), "the other call goes on: {kept}");
    if let Ok(doomed) = doomed {
        assert!(
            !String::from_utf8_lossy(&doomed.body).contains("\"result\""),
            "{doomed:?}"
        );
    }
    assert_eq!(
        (count(Event::Cancelled), count(Event::Executed)),
        (1, 1),
        "{:?}",
        entries()
    );
}

#[tokio::test]
async fn a_list_that_changes_is_announced_and_refreshed() {
    let proxy = proxy(Config::new()).await;
    let session = proxy.session().await;
    let before = session.list("tools/list", "tools").await.expect("a list").len();
    let mut stream = session.listen().await;
    session
        .call("fixture__list_change", json!({}))
        .await
        .expect("the list changes");
    let announced = async {
        while let Some(message) = stream.next_message().await {
            if message["method"] == "notifications/tools/list_changed" {
                return true;
            }
        }
        false
    };
    assert!(announced.await, "the change is announced on the open stream");
    let after = session.list("tools/list", "tools").await.expect("a list").len();
    assert_eq!(after, before + 1);
}

#[tokio::test]
async fn lists_are_the_same_from_request_to_request() {
    let proxy = proxy(Config::new()).await;
    let (one, other) = (proxy.session().await, proxy.session().await);
    for (method, member) in [
        ("tools/list", "tools"),
        ("resources/list", "resources"),
        ("prompts/list", "prompts"),
    ] {
        let first = one.list(method, member).await.expect("a list");
        assert!(!first.is_empty(), "{method}");
        assert_eq!(first, one.list(method, member).await.expect("a list"), "{method}");
        assert_eq!(first, other.list(method, member).await.expect("a list"), "{method}");
    }
}
