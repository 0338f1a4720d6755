//! What the HTTP front answers, request by request: status, headers, body.
//!
//! Bad input gets a clear error and changes nothing: after each volley the same session still works and the same process
//! still runs. The rules are those of the specification's Streamable HTTP transport and of RFC 9110.

mod calls;
mod lifetimes;
mod messages;
mod sessions;

use serde_json::{Value, json};

use super::support::{Answer, Config, ProxyUnderTest, Session, fixture_command};

/// A proxy in front of one fixture server, whose tools read `fixture__…`.
async fn proxy(config: Config) -> ProxyUnderTest {
    let command = fixture_command("fixture").await;
    let proxy = config.stdio("fixture", &command, &[], "").start().await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    proxy
}

/// Nothing is broken: the process lives, an old session serves, a new one opens.
async fn still_serves(proxy: &mut ProxyUnderTest, session: &Session) {
    assert!(proxy.is_running(), "the proxy lives on");
    for session in [session, &proxy.session().await] {
        let echo = session
            .call("fixture__echo", json!({ "still": "here" }))
            .await
            .expect("the session serves");
        assert_eq!(echo["structuredContent"], json!({ "still": "here" }));
    }
}

fn expect(answer: &Answer, status: u16, code: Option<i64>) {
    let Answer { status: got, body, .. } = answer;
    assert_eq!(got.as_u16(), status, "{body:?}");
    if let Some(code) = code {
        assert_eq!(answer.code(), Some(code), "{body:?}");
        let message = answer.json()["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(message.len() > 5, "an error says what is wrong: {body:?}");
    }
}

fn request(id: impl Into<Value>, method: &str, params: Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id.into(), "method": method, "params": params }).to_string()
}
