//! Child processes as backends: with and without the supervisor, well-behaved and not.

use std::sync::Arc;
use std::time::Duration;

use mcp_proxy_core::json::{Params, RawJson};
use mcp_proxy_core::{Call, Error, ErrorKind, Method, ProtocolVersion, Reply, Secret, Session, SessionKey};
use mcp_proxy_test::fixture_program;
use mcp_proxy_transport::client::options::{SessionMode, StdioOptions};
use mcp_proxy_transport::client::stdio::StdioConnector;
use mcp_proxy_transport::client::{Connected, Connector, PeerEvent};
use tokio::task::JoinSet;

use crate::processes::{Mark, eventually, example, kill};

fn options(mark: &Mark, command: &str, args: &[&str]) -> StdioOptions {
    let mut options = StdioOptions::new(command);
    options.args = args.iter().map(|arg| (*arg).to_owned()).collect();
    options.env = vec![(Mark::NAME.to_owned(), Secret::new(mark.value()))];
    options
}

pub(crate) fn fixture(mark: &Mark, args: &[&str]) -> StdioOptions {
    options(mark, fixture_program().unwrap().to_str().unwrap(), args)
}

pub(crate) fn supervised(mut options: StdioOptions) -> StdioOptions {
    options.supervisor = Some(example());
    options
}

/// A server of a few lines of shell: it refuses what it does not know, makes the handshake, then runs `rest`.
fn shell(mark: &Mark, rest: &str) -> StdioOptions {
    shell_that(
        mark,
        r#"echo '{"jsonrpc":"2.0","id":'$id',"error":{"code":-1,"message":"?"}}'"#,
        rest,
    )
}

/// The same; what it does with a first message that it does not know is `otherwise`.
pub(crate) fn shell_that(mark: &Mark, otherwise: &str, rest: &str) -> StdioOptions {
    let script = format!(
        r#"while read line; do
            id=${{line#*'"id":'}}; id=${{id%%,*}}
            case "$line" in *'"initialize"'*) break;; *) {otherwise};; esac
        done
        echo '{{"jsonrpc":"2.0","id":'$id',"result":{{"protocolVersion":"2025-11-25","capabilities":{{}}}}}}'; read line; {rest}"#
    );
    options(mark, "sh", &["-c", &script])
}

async fn connect(options: StdioOptions) -> (StdioConnector, Connected) {
    let connector = StdioConnector::new("child", options);
    let connected = connector
        .connect(<dyn mcp_proxy_core::Downstream>::nobody())
        .await
        .unwrap();
    (connector, connected)
}

async fn refused(options: StdioOptions) -> Error {
    match StdioConnector::new("child", options)
        .connect(<dyn mcp_proxy_core::Downstream>::nobody())
        .await
    {
        Ok(_) => panic!("must not connect"),
        Err(error) => error,
    }
}

fn tool(name: &str, arguments: &str) -> Call {
    let params = format!(r#"{{"name":"{name}","arguments":{arguments}}}"#);
    Call::new(Method::ToolsCall).with_params(Params::parse(params).unwrap())
}

fn of_session(mut call: Call, key: u64) -> Call {
    call.context.session = Some(Arc::new(Session {
        key: SessionKey(key),
        version: ProtocolVersion::LATEST_SESSION,
        declared: mcp_proxy_core::Declared::nothing(),
    }));
    call
}

fn content(reply: Result<Reply, Error>) -> RawJson {
    reply.unwrap().result().unwrap().get("structuredContent").unwrap()
}

fn pid(reply: Result<Reply, Error>) -> i32 {
    content(reply).get("pid").unwrap().decode().unwrap()
}

/// Calls reach a child, and closing leaves no process, for both ways of starting one.
async fn check_calls(mark: &Mark, options: StdioOptions, processes: usize) {
    let (_connector, connected) = connect(options).await;
    assert_eq!(connected.hello.version, ProtocolVersion::V2025_11_25);
    let mut calls = JoinSet::new();
    for _ in 0..32 {
        calls.spawn(connected.peer.call(tool("big", r#"{"bytes":200000}"#)));
    }
    while let Some(reply) = calls.join_next().await {
        assert!(reply.unwrap().unwrap().result().unwrap().as_bytes().len() > 200_000);
    }
    assert_eq!(mark.alive().len(), processes);
    connected.peer.close().await;
    assert_eq!(mark.alive(), [0; 0]);
}

#[tokio::test]
async fn calls_reach_a_child() {
    let mark = Mark::new("plain");
    check_calls(&mark, fixture(&mark, &["--fault", "noise"]), 1).await;
}

#[tokio::test]
async fn calls_reach_a_supervised_child() {
    let mark = Mark::new("supervised");
    check_calls(&mark, supervised(fixture(&mark, &[])), 2).await;
}

#[tokio::test]
async fn a_child_sees_little_of_our_environment() {
    let mark = Mark::new("environment");
    let (_connector, connected) = connect(supervised(fixture(&mark, &[]))).await;
    let value = async |name: &str| {
        let call = tool("env", &format!(r#"{{"name":"{name}"}}"#));
        content(connected.peer.call(call).await)
            .get("value")
            .unwrap()
            .as_str()
            .to_owned()
    };
    assert_ne!(value("PATH").await, "null");
    assert_eq!(value("CARGO_MANIFEST_DIR").await, "null");
    assert_eq!(value(Mark::NAME).await, format!("{:?}", mark.value()));
}

#[tokio::test]
async fn a_missing_command_is_named() {
    let mark = Mark::new("missing");
    for options in [
        options(&mark, "no-such-command", &[]),
        supervised(options(&mark, "no-such-command", &[])),
    ] {
        let error = refused(options).await;
        assert_eq!(error.kind(), ErrorKind::NotSent);
        assert!(
            error
                .to_string()
                .starts_with("the command `no-such-command` was not found"),
            "{error}"
        );
    }
    let mut nowhere = options(&mark, "cat", &[]);
    nowhere.cwd = Some("/no/such/folder".into());
    assert!(refused(nowhere).await.to_string().contains("`cwd`"));
}

#[tokio::test]
async fn a_child_that_ends_before_the_handshake_is_explained() {
    let mark = Mark::new("early");
    let script = "echo bad key >&2; exit 3";
    for options in [
        options(&mark, "sh", &["-c", script]),
        supervised(options(&mark, "sh", &["-c", script])),
    ] {
        let error = refused(options).await;
        assert!(error.to_string().contains("exit status: 3"), "{error}");
        let words = std::error::Error::source(&error).unwrap().to_string();
        assert!(words.contains("bad key"), "{words}");
    }
}

#[tokio::test]
async fn death_fails_the_calls_under_way_at_once() {
    let mark = Mark::new("death");
    for options in [fixture(&mark, &[]), supervised(fixture(&mark, &[]))] {
        let (connector, mut connected) = connect(options).await;
        let mut calls = JoinSet::new();
        for _ in 0..3 {
            calls.spawn(connected.peer.call(tool("silent", "{}")));
        }
        calls.spawn(connected.peer.call(tool("crash", "{}")));
        while let Some(reply) = calls.join_next().await {
            let error = reply.unwrap().unwrap_err();
            assert_eq!(
                (error.kind(), error.backend_name()),
                (ErrorKind::SentUnknown, Some("child"))
            );
        }
        assert!(matches!(connected.events.recv().await, Some(PeerEvent::Closed(_))));
        assert!(!connected.peer.is_open());
        // Ids go on counting in the next process.
        let again = connector
            .connect(<dyn mcp_proxy_core::Downstream>::nobody())
            .await
            .unwrap();
        assert!(again.peer.call(tool("pid", "{}")).await.is_ok());
        again.peer.close().await;
    }
    mark.until(0).await;
}

#[tokio::test]
async fn a_child_that_does_not_read_is_heard_all_the_same() {
    let mark = Mark::new("deaf");
    // It takes one byte of the first call, says something, and never reads again.
    let said = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    let rest = format!("dd bs=1 count=1 2>/dev/null >&2; echo '{said}'; exec sleep 1000");
    let (_connector, mut connected) = connect(shell(&mark, &rest)).await;
    let params = Params::parse(format!(r#"{{"x":"{}"}}"#, "x".repeat(1 << 20))).unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        calls.spawn(
            connected
                .peer
                .call(Call::new(Method::ToolsCall).with_params(params.clone())),
        );
    }
    let event = connected.events.recv().await;
    assert!(matches!(event, Some(PeerEvent::ListChanged(_))), "{event:?}");
    connected.peer.close().await;
    let mut kinds = Vec::new();
    while let Some(reply) = calls.join_next().await {
        kinds.push(reply.unwrap().unwrap_err().kind());
    }
    let unknown = kinds.iter().filter(|kind| **kind == ErrorKind::SentUnknown).count();
    let not_sent = kinds.iter().filter(|kind| **kind == ErrorKind::NotSent).count();
    assert_eq!((unknown, not_sent), (1, 9), "only the first had left in part");
    assert_eq!(mark.alive(), [0; 0]);
}

#[tokio::test]
async fn dropping_anything_leaves_no_process() {
    let mark = Mark::new("dropped");
    for supervise in [false, true] {
        let wrap = |options| if supervise { supervised(options) } else { options };
        // A connect future whose child never answers.
        let connector = StdioConnector::new("child", wrap(options(&mark, "sleep", &["1000"])));
        let connecting = tokio::time::timeout(
            Duration::from_millis(200),
            connector.connect(<dyn mcp_proxy_core::Downstream>::nobody()),
        )
        .await;
        assert!(connecting.is_err());
        drop(connector);
        mark.until(0).await;
        // A connected peer.
        let (connector, connected) = connect(wrap(fixture(&mark, &[]))).await;
        drop(connector);
        assert!(
            connected.peer.call(tool("pid", "{}")).await.is_ok(),
            "the peer lives on by itself"
        );
        drop(connected);
        mark.until(0).await;
    }
}

#[tokio::test]
async fn a_child_that_ignores_everything_is_killed() {
    let mark = Mark::new("stubborn");
    for options in [
        fixture(&mark, &["--stubborn"]),
        supervised(fixture(&mark, &["--stubborn"])),
    ] {
        let (_connector, connected) = connect(options).await;
        connected.peer.close().await;
        assert_eq!(mark.alive(), [0; 0]);
    }
}

#[tokio::test]
async fn what_a_supervised_child_started_ends_with_it() {
    let mark = Mark::new("family");
    let (_connector, connected) = connect(supervised(fixture(&mark, &[]))).await;
    connected.peer.call(tool("spawn_grandchild", "{}")).await.unwrap();
    assert_eq!(mark.alive().len(), 4, "one of them in a session of its own");
    connected.peer.close().await;
    assert_eq!(mark.alive(), [0; 0]);
    // And when the child dies by itself.
    let (_connector, connected) = connect(supervised(fixture(&mark, &[]))).await;
    connected.peer.call(tool("spawn_grandchild", "{}")).await.unwrap();
    assert!(connected.peer.call(tool("crash", "{}")).await.is_err());
    mark.until(0).await;
}

#[tokio::test]
async fn nothing_survives_the_death_of_the_proxy() {
    let mark = Mark::new("orphans");
    let fixture = fixture_program().unwrap();
    for extra in [None, Some("--stubborn")] {
        let mut parent = tokio::process::Command::new(example())
            .arg(&fixture)
            .args(extra)
            .env(Mark::NAME, mark.value())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = parent.stdout.take().unwrap();
        let ready = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stdout))
            .next_line()
            .await;
        assert_eq!(ready.unwrap().as_deref(), Some("ready 2025-11-25"));
        assert_eq!(mark.alive().len(), 3);
        parent.kill().await.unwrap();
        mark.until(0).await;
    }
}

#[tokio::test]
async fn nothing_survives_the_death_of_the_supervisor() {
    let mark = Mark::new("headless");
    let (_connector, connected) = connect(supervised(fixture(&mark, &["--stubborn"]))).await;
    let supervisors = mark.running("__supervise");
    assert_eq!((supervisors.len(), mark.alive().len()), (1, 2));
    kill(supervisors[0]);
    mark.until(0).await;
    eventually("the peer is closed", || !connected.peer.is_open()).await;
}

#[tokio::test]
async fn a_silent_process_is_stopped_and_counts_as_nothing() {
    let mark = Mark::new("idle");
    let mut options = fixture(&mark, &[]);
    options.idle_stop = Some(Duration::from_millis(300));
    let (connector, mut connected) = connect(options).await;
    let slow = connected.peer.call(tool("slow", r#"{"ms":600}"#)).await;
    assert!(slow.is_ok(), "a call that runs is no silence: {slow:?}");
    assert!(connected.events.recv().await.is_none(), "it ends without an error");
    assert!(!connected.peer.is_open());
    mark.until(0).await;
    let again = connector
        .connect(<dyn mcp_proxy_core::Downstream>::nobody())
        .await
        .unwrap();
    assert!(again.peer.call(tool("pid", "{}")).await.is_ok());
}

#[tokio::test]
async fn each_client_has_a_process_of_its_own_where_asked_for() {
    let mark = Mark::new("own");
    let mut options = supervised(fixture(&mark, &[]));
    options.session = SessionMode::PerClient;
    let (_connector, connected) = connect(options).await;
    let peer = &connected.peer;
    let nobody = pid(peer.call(tool("pid", "{}")).await);
    let call = |client| peer.call(of_session(tool("pid", "{}"), client));
    let (one, same) = tokio::join!(call(1), call(1));
    let (one, same, two) = (pid(one), pid(same), pid(call(2).await));
    assert!(
        one == same && one != two && one != nobody,
        "{one} {same} {two} {nobody}"
    );
    assert_eq!(mark.alive().len(), 6);
    // Its death concerns nobody else, and its client's next call opens another.
    assert!(peer.call(of_session(tool("crash", "{}"), 1)).await.is_err());
    assert_ne!(pid(call(1).await), one);
    assert_eq!(pid(call(2).await), two);
    peer.session_closed(SessionKey(1));
    mark.until(4).await;
    peer.close().await;
    assert_eq!(mark.alive(), [0; 0]);
}

#[tokio::test]
async fn a_thousand_kills_and_restarts_leave_no_process() {
    let mut lanes = JoinSet::new();
    for lane in 0..4 {
        lanes.spawn(async move {
            let mark = Mark::new(&format!("thousand-{lane}"));
            let connector = StdioConnector::new("child", supervised(shell(&mark, "cat >&2")));
            for round in 0..250 {
                let connected = connector
                    .connect(<dyn mcp_proxy_core::Downstream>::nobody())
                    .await
                    .unwrap();
                match round % 3 {
                    0 => drop(connected),
                    1 => connected.peer.close().await,
                    _ => mark.running("__supervise").into_iter().for_each(kill),
                }
            }
            mark.until(0).await;
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane.unwrap();
    }
}
