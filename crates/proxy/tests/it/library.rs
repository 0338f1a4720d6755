//! The proxy inside somebody else's program: built in Rust, served by their router, gone when dropped.

use std::time::Duration;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use mcp_proxy::config::{Format, ProxyConfig};
use mcp_proxy::transport::client::backend::Phase;
use mcp_proxy::{Proxy, ProxyBuilder, StartError};
use tower::ServiceExt;

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;

/// A post to the router, with or without a session.
async fn post(router: &axum::Router, session: Option<&str>, body: &'static str) -> Response<Body> {
    let mut request = Request::post("/mcp")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    if let Some(session) = session {
        request = request.header("mcp-session-id", session);
    }
    router
        .clone()
        .oneshot(request.body(Body::from(body)).unwrap())
        .await
        .unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn ready(proxy: &Proxy) {
    tokio::time::timeout(Duration::from_secs(30), async {
        while !proxy.backends().iter().all(|(_, status)| status.phase == Phase::Ready) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the backends are ready");
}

#[tokio::test]
async fn a_router_serves_the_whole_protocol_and_the_handle_knows_its_sessions() {
    let proxy = ProxyBuilder::new("embedded")
        .separator("__")
        .builtin_backend("demo")
        .build_detached()
        .unwrap();
    ready(&proxy).await;
    let (router, sessions) = proxy.into_router();
    let opened = post(&router, None, INITIALIZE).await;
    assert_eq!(opened.status(), StatusCode::OK);
    let id = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    assert_eq!(sessions.count(), 1);
    let call =
        r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"demo__add","arguments":{"a":2,"b":3}}}"#;
    let answer = text(post(&router, Some(&id), call).await).await;
    assert!(answer.contains("\"id\":2") && answer.contains('5'), "{answer}");
    let key = sessions.sessions()[0].key;
    assert!(sessions.terminate(key) && !sessions.terminate(key));
    assert_eq!(post(&router, Some(&id), call).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn two_proxies_live_in_one_process() {
    let build = |name: &str| {
        ProxyBuilder::new(name)
            .listen("127.0.0.1", 0)
            .builtin_backend("demo")
            .build()
    };
    let (one, two) = (build("one").await.unwrap(), build("two").await.unwrap());
    assert_ne!(one.address().unwrap(), two.address().unwrap());
    one.stop().await;
    ready(&two).await;
    two.stop().await;
}

#[tokio::test]
async fn a_builder_says_what_is_wrong_as_a_file_would() {
    let built = ProxyBuilder::new("p")
        .http_backend("a", "ftp://x")
        .stdio_backend("a", "", &[])
        .build_detached();
    let Err(StartError::Config(errors)) = built else {
        panic!("must be refused")
    };
    assert!(errors.to_string().contains("ftp"), "{errors}");
}

#[test]
fn without_a_runtime_there_is_an_error_and_no_panic() {
    let config = ProxyConfig::parse("[proxy]\nname = \"p\"\n", Format::Toml).unwrap();
    assert!(matches!(Proxy::from_config(config), Err(StartError::NoRuntime)));
}

/// A process is gone, or a zombie that nobody has to fear.
#[cfg(target_os = "linux")]
fn is_gone(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_proxy_ends_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let fixture = mcp_proxy_test::fixture_program().unwrap();
    // The shell notes its process id and becomes the server.
    let script = format!(
        "echo $$ > '{}'; exec '{}' --transport stdio",
        pid_file.display(),
        fixture.display()
    );
    let proxy = ProxyBuilder::new("p")
        .stdio_backend("child", "sh", &["-c", &script])
        .build_detached()
        .unwrap();
    ready(&proxy).await;
    let pid = std::fs::read_to_string(&pid_file).unwrap().trim().to_owned();
    assert!(!is_gone(&pid));
    drop(proxy);
    tokio::time::timeout(Duration::from_secs(20), async {
        while !is_gone(&pid) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the child ends with its proxy");
}
