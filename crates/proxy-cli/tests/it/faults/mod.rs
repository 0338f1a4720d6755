//! Backends die, hang and come late; the proxy itself is killed. What must hold: nobody else notices, what died serves
//! again, and no process outlives the proxy.

mod shutdown;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_proxy_test::{Entry, Event, Ledger};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::NO_LIMIT_WAITED_FOR;
use crate::support::{
    Config, HttpServer, ProxyUnderTest, Session, SessionError, command_line, eventually, fixture_command, kill,
    with_mark,
};

/// The process that runs the fixture of that name, not a supervisor that merely mentions it.
fn process_of(proxy: &ProxyUnderTest, name: &str) -> Option<u32> {
    with_mark(&proxy.mark).into_iter().find(|pid| {
        let line = command_line(*pid);
        let program = line.split(' ').next().unwrap_or_default();
        program.ends_with("mcp-fixture") && format!("{line} ").contains(&format!("--name {name} "))
    })
}

/// Clients that call one tool over and over until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    /// How long each call took.
    times: Arc<Mutex<Vec<Duration>>>,
    clients: JoinSet<Result<(), SessionError>>,
}

impl Load {
    async fn on(proxy: &ProxyUnderTest, tools: &[&str], clients_each: usize) -> Self {
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let times: Arc<Mutex<Vec<Duration>>> = Arc::default();
        let mut clients = JoinSet::new();
        for tool in tools {
            for number in 0..clients_each {
                let (session, tool) = (proxy.session().await, (*tool).to_owned());
                let (stop, calls, times) = (Arc::clone(&stop), Arc::clone(&calls), Arc::clone(&times));
                clients.spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let mark = json!({ "client": number, "call": calls.fetch_add(1, Ordering::Relaxed) });
                        let before = Instant::now();
                        let echo = session.call(&tool, mark.clone()).await?;
                        times.lock().expect("no holder panics").push(before.elapsed());
                        assert_eq!(echo["structuredContent"], mark, "an answer of somebody else's");
                    }
                    Ok(())
                });
            }
        }
        Self {
            stop,
            calls,
            times,
            clients,
        }
    }

    /// The 99th percentile of the calls since the last look, after at least so many of them.
    async fn p99(&self, calls: usize) -> Duration {
        let enough = || async { (self.times.lock().expect("no holder panics").len() >= calls).then_some(()) };
        eventually("the load to go on", Duration::from_secs(60), enough).await;
        let mut times = std::mem::take(&mut *self.times.lock().expect("no holder panics"));
        times.sort_unstable();
        times[times.len() * 99 / 100]
    }

    /// Lets the clients finish; not one of them may have seen an error.
    async fn finish(mut self) {
        let so_far = self.calls.load(Ordering::Relaxed);
        eventually("the load to go on", Duration::from_secs(20), || async {
            (self.calls.load(Ordering::Relaxed) > so_far + 20 || self.clients.is_empty()).then_some(())
        })
        .await;
        self.stop.store(true, Ordering::Relaxed);
        while let Some(done) = self.clients.join_next().await {
            done.expect("a client does not panic")
                .unwrap_or_else(|error| panic!("an uninvolved client saw {error}"));
        }
    }
}

/// Calls until the tool answers again, and says how long that took.
async fn serves_again(session: &Session, tool: &str, limit: Duration) -> Duration {
    let start = Instant::now();
    eventually(&format!("{tool} to serve again"), limit, || async {
        session.call(tool, json!({ "back": true })).await.ok()
    })
    .await;
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_child_process_is_replaced_and_nobody_else_notices() {
    let http = HttpServer::fixture(0, &[]).await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut victim = fixture_command("victim").await;
    victim.extend(["--ledger", file.path().to_str().expect("a UTF-8 path")].map(str::to_owned));
    let proxy = Config::new()
        .stdio("victim", &victim, &[], "")
        .stdio("other", &fixture_command("other").await, &[], "")
        .http("remote", &http.url(), "")
        .start()
        .await;
    proxy.wait_for_tools_of(&["victim__", "other__", "remote__"]).await;
    let session = proxy.session().await;
    let load = Load::on(&proxy, &["other__echo", "remote__echo"], 3).await;
    let quiet = load.p99(500).await;

    for round in 1..=3 {
        let process = process_of(&proxy, "victim").expect("the victim runs");
        let waiting = session.call("victim__slow", json!({ "ms": 60_000 }));
        let murder = async {
            let slow = |entry: &&Entry| entry.tool.as_deref() == Some("slow") && entry.event == Event::Received;
            let calls = || Ledger::read(file.path()).expect("a ledger").iter().filter(slow).count();
            let arrived = || async { (calls() == round).then_some(()) };
            eventually("the call to arrive", Duration::from_secs(10), arrived).await;
            kill(process);
            Instant::now()
        };
        let (waited, killed) = tokio::join!(waiting, murder);
        assert!(
            matches!(waited, Err(SessionError::Rpc(_))),
            "a call to a dead process is an error: {waited:?}"
        );
        assert!(
            killed.elapsed() < NO_LIMIT_WAITED_FOR,
            "and at once: {:?}",
            killed.elapsed()
        );
        serves_again(&session, "victim__echo", Duration::from_secs(10)).await;
        eprintln!("a killed child process served again after {:?}", killed.elapsed());
        assert_ne!(process_of(&proxy, "victim"), Some(process));
    }
    // Shown and not judged: how fast a call is belongs to a bench on a quiet machine.
    let during = load.p99(500).await;
    eprintln!("99th percentile of the others: {quiet:?} before, {during:?} during three kills");
    load.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_http_server_serves_again_and_nobody_else_notices() {
    let victim = HttpServer::fixture(0, &[]).await;
    let http = HttpServer::fixture(0, &[]).await;
    let proxy = Config::new()
        .http("victim", &victim.url(), "")
        .stdio("other", &fixture_command("other").await, &[], "")
        .http("remote", &http.url(), "")
        .start()
        .await;
    proxy.wait_for_tools_of(&["victim__", "other__", "remote__"]).await;
    let session = proxy.session().await;
    let load = Load::on(&proxy, &["other__echo", "remote__echo"], 3).await;

    let port = victim.address.port();
    let mut victim = Some(victim);
    for _ in 0..3 {
        session
            .call("victim__echo", json!({}))
            .await
            .expect("the victim serves");
        victim.take().expect("it runs").kill().await;
        let refused = session.call("victim__echo", json!({})).await;
        assert!(
            matches!(refused, Err(SessionError::Rpc(_))),
            "a call to a dead server is an error: {refused:?}"
        );
        // The tools of a dead server stay in the list, so that a short outage does not change what clients know.
        let tools = session.list("tools/list", "tools").await.expect("the list is there");
        assert!(tools.iter().any(|tool| tool["name"] == "victim__echo"));
        victim = Some(HttpServer::fixture(port, &[]).await);
        let took = serves_again(&session, "victim__echo", Duration::from_secs(10)).await;
        eprintln!("a restarted HTTP server served again after {took:?}");
    }
    load.finish().await;
}

#[tokio::test]
async fn a_forgotten_upstream_session_is_healed_out_of_sight() {
    let server = HttpServer::fixture(0, &[]).await;
    let proxy = Config::new().http("fixture", &server.url(), "").start().await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let session = proxy.session().await;
    for _ in 0..3 {
        session
            .call("fixture__expire", json!({}))
            .await
            .expect("the last answer of that session");
        session
            .call("fixture__echo", json!({}))
            .await
            .expect("the proxy opens another session by itself");
    }
}

#[tokio::test]
async fn backends_that_hang_or_fail_delay_nothing() {
    let hole = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = hole.local_addr().expect("a bound address");
    let mut held = JoinSet::new();
    held.spawn(async move {
        // Accepts and never answers.
        let mut connections = Vec::new();
        while let Ok((connection, _)) = hole.accept().await {
            if connections.len() < 1000 {
                connections.push(connection);
            }
        }
    });
    let silent = ["sleep", "1000"].map(str::to_owned);
    let absent = ["/nonexistent/program".to_owned()];
    let started = Instant::now();
    let proxy = Config::new()
        .http("hole", &format!("http://{address}/mcp"), "")
        .stdio("silent", &silent, &[], "")
        .stdio("absent", &absent, &[], "")
        .http("refused", "http://127.0.0.1:1/mcp", "")
        .stdio("good", &fixture_command("good").await, &[], "")
        .start()
        .await;
    proxy.wait_for_tools_of(&["good__"]).await;
    let ready = started.elapsed();
    assert!(ready < NO_LIMIT_WAITED_FOR, "the good backend serves after {ready:?}");

    let session = proxy.session().await;
    for _ in 0..5 {
        let before = Instant::now();
        let tools = session.list("tools/list", "tools").await.expect("a list");
        assert!(
            tools
                .iter()
                .all(|tool| tool["name"].as_str().is_some_and(|name| name.starts_with("good__")))
        );
        session.list("resources/list", "resources").await.expect("a list");
        session.call("good__echo", json!({})).await.expect("an answer");
        let took = before.elapsed();
        assert!(took < NO_LIMIT_WAITED_FOR, "two lists and a call took {took:?}");
    }
    let before = Instant::now();
    session
        .call("hole__anything", json!({}))
        .await
        .expect_err("nobody knows that tool");
    assert!(before.elapsed() < NO_LIMIT_WAITED_FOR);
}

#[tokio::test]
async fn a_call_that_is_never_answered_delays_no_other_on_the_same_backend() {
    let proxy = Config::new()
        .stdio("fixture", &fixture_command("fixture").await, &[], "")
        .start()
        .await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let session = proxy.session().await;
    let silent = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "fixture__silent" } });
    let others = async {
        for _ in 0..20 {
            session.call("fixture__echo", json!({})).await.expect("an answer");
        }
    };
    tokio::select! {
        answer = session.post(&silent) => panic!("nobody answers this: {answer:?}"),
        () = others => {}
    }
}

#[tokio::test]
async fn a_backend_that_comes_late_is_announced() {
    // A port that nobody listens on yet.
    let late = HttpServer::fixture(0, &[]).await;
    let (port, url) = (late.address.port(), late.url());
    late.kill().await;
    let proxy = Config::new()
        .http("late", &url, "")
        .stdio("good", &fixture_command("good").await, &[], "")
        .start()
        .await;
    proxy.wait_for_tools_of(&["good__"]).await;
    let session = proxy.session().await;
    let mut stream = session.listen().await;
    let _late = HttpServer::fixture(port, &[]).await;
    let up = Instant::now();
    while let Some(message) = stream.next_message().await {
        if message["method"] == "notifications/tools/list_changed" {
            let tools = session.list("tools/list", "tools").await.expect("a list");
            if tools.iter().any(|tool| tool["name"] == "late__echo") {
                break;
            }
        }
    }
    eprintln!("a late backend was announced after {:?}", up.elapsed());
    // In the order of the configuration, whoever came first.
    let tools = session.list("tools/list", "tools").await.expect("a list");
    assert!(
        tools[0]["name"].as_str().is_some_and(|name| name.starts_with("late__")),
        "{}",
        tools[0]
    );
    session.call("late__echo", json!({})).await.expect("it serves");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_answers_and_large_arguments_cross_in_the_pipe_without_hanging() {
    let proxy = Config::new()
        .stdio("fixture", &fixture_command("fixture").await, &[], "")
        .start()
        .await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let mut clients = JoinSet::new();
    for number in 0..32 {
        let session = proxy.session().await;
        clients.spawn(async move {
            for _ in 0..3 {
                let filler = format!("{number}-{}", "x".repeat(200_000));
                let echo = session
                    .call("fixture__echo", json!({ "filler": filler }))
                    .await
                    .expect("an answer");
                assert_eq!(echo["structuredContent"]["filler"], filler);
                let big = session
                    .call("fixture__big", json!({ "bytes": 200_000 }))
                    .await
                    .expect("an answer");
                assert_eq!(big["content"][0]["text"].as_str().map(str::len), Some(200_000));
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.expect("a client does not panic");
    }
}
