//! Progress, log and questions while a call is running.

use mcp_proxy_core::{Call, Reply};

use super::script::{Script, Seen, Step, event, response, stream_head};
use super::{Client, call, connect, options, run, soon, text, tool};

fn answer(seen: &Seen) -> Step {
    event(format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, seen.id()))
}

fn progress(token: impl std::fmt::Display, n: u32) -> Step {
    event(format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{n}.0}}}}"#
    ))
}

async fn told(call: Call, play: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> (Vec<(String, String)>, u64) {
    let script = Script::calls(Some("s"), move |seen| match seen.method().as_str() {
        "tools/call" => play(seen),
        _ => vec![response(202, "", "")],
    })
    .await;
    let (connector, connected) = connect(options(&script)).await;
    let (client, handle) = Client::handle();
    let mut call = call;
    call.client = handle;
    let reply = run(&connected, call).await.unwrap();
    assert!(matches!(reply, Reply::Result(_)), "{reply:?}");
    (client.told(), connector.dropped_messages())
}

#[tokio::test]
async fn progress_reaches_its_client_under_its_own_token() {
    let call = tool(r#"{"_meta":{"progressToken":"mine","x":1.50},"name":"t"}"#);
    let (told, dropped) = told(call, |seen| {
        let params = seen.json()["params"].clone();
        let token = params["_meta"]["progressToken"].clone();
        assert_eq!(token, seen.id(), "our id is the token");
        assert!(seen.body.contains(r#""x":1.50"#), "{}", seen.body);
        vec![
            stream_head(),
            progress(&token, 1),
            progress(r#""mine""#, 2),
            progress(4711, 3),
            progress(&token, 4),
            answer(seen),
            Step::Close,
        ]
    })
    .await;
    let expected = [1, 4].map(|n| {
        let params = format!(r#"{{"progressToken":"mine","progress":{n}.0}}"#);
        ("notifications/progress".to_owned(), params)
    });
    assert_eq!(told, expected);
    assert_eq!(dropped, 2, "foreign tokens are nobody's");
}

#[tokio::test]
async fn progress_nobody_asked_for_is_dropped() {
    let (told, dropped) = told(call(), |seen| {
        vec![stream_head(), progress(seen.id(), 1), answer(seen), Step::Close]
    })
    .await;
    assert_eq!((told.len(), dropped), (0, 1));
}

#[tokio::test]
async fn log_messages_reach_the_client_unchanged() {
    let params = r#"{"level":"info","data":{"b":1.0e2,"a":"\u0041"},"x":null}"#;
    let (told, _) = told(call(), move |seen| {
        let log = format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{params}}}"#);
        vec![stream_head(), event(&log), event(&log), answer(seen), Step::Close]
    })
    .await;
    let expected = ("notifications/message".to_owned(), params.to_owned());
    assert_eq!(told, [expected.clone(), expected]);
}

#[tokio::test]
async fn repeated_and_foreign_answers_are_dropped() {
    let (_, dropped) = told(call(), |seen| {
        let foreign = event(r#"{"jsonrpc":"2.0","id":999999,"result":{"secret":1}}"#);
        vec![
            stream_head(),
            foreign.clone(),
            foreign,
            answer(seen),
            answer(seen),
            Step::Close,
        ]
    })
    .await;
    assert_eq!(dropped, 2);
}

#[tokio::test]
async fn a_flood_is_cut() {
    let (told, dropped) = told(call(), |seen| {
        let log = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n".repeat(1_000);
        let mut steps = vec![stream_head()];
        steps.extend(vec![Step::Send(log.into_bytes()); 30]);
        steps.extend([answer(seen), Step::Close]);
        steps
    })
    .await;
    assert!(told.len() >= 10_000 && told.len() < 30_000, "{}", told.len());
    assert_eq!(told.len() as u64 + dropped, 30_000);
}

#[tokio::test]
async fn questions_of_the_backend_are_answered() {
    let script = Script::calls(Some("s"), |seen| match seen.method().as_str() {
        "tools/call" => vec![
            stream_head(),
            event(r#"{"jsonrpc":"2.0","id":"p\u0041","method":"ping"}"#),
            event(r#"{"jsonrpc":"2.0","id":2,"method":"sampling/createMessage","params":{}}"#),
            answer(seen),
            Step::Close,
        ],
        _ => vec![response(202, "", "")],
    })
    .await;
    let (_connector, connected) = connect(options(&script)).await;
    assert_eq!(text(&run(&connected, call()).await.unwrap()), "{}");
    let pong = soon(script.wait_for(|seen| seen.body.contains("\"result\""))).await;
    assert_eq!(pong.body, r#"{"jsonrpc":"2.0","id":"p\u0041","result":{}}"#);
    assert_eq!(pong.header("mcp-session-id"), Some("s"));
    let refusal = soon(script.wait_for(|seen| seen.body.contains("\"error\""))).await;
    assert_eq!(
        (refusal.id(), &refusal.json()["error"]["code"]),
        (2, &serde_json::json!(-32600))
    );
}

#[tokio::test]
async fn several_messages_in_one_event_are_taken_one_by_one() {
    let (told, dropped) = told(call(), |seen| {
        let log = r#"{"jsonrpc":"2.0","method":"notifications/message"}"#;
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, seen.id());
        vec![stream_head(), event(format!("[{log},{answer},{log}]")), Step::Close]
    })
    .await;
    assert_eq!((told.len(), dropped), (2, 0));
}
