//! Five clients see six servers behind one proxy exactly as each server shows itself when asked alone.
//!
//! The yardstick is what the servers answer over their own pipes. What may differ is what a proxy that merges servers must
//! change: names carry the backend's, and resource URIs read `backend+uri`.

mod servers;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::servers::{Expected, Servers};
use super::support::{Client, Config, HttpServer, Part, Peers, Step, difference, drive, drive_with, fixture_command};

/// The steps that a client performs. The Inspector takes a second for each, so it is spared what differs only in the name
/// of a backend.
fn steps_of(client: Client, expected: &[Expected]) -> Vec<&Expected> {
    let spared = |step: &Expected| {
        let order = step.order.to_string();
        client == Client::Inspector && order.contains("remote") && !order.contains("remote__echo")
    };
    expected.iter().filter(|step| !spared(step)).collect()
}

/// The whole script: `connect`, the steps compared with the yardstick, then `more`.
fn script(expected: &[&Expected], more: Vec<Value>) -> Value {
    let orders = expected.iter().map(|step| step.order.clone());
    [json!({ "do": "connect" })]
        .into_iter()
        .chain(orders)
        .chain(more)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_clients_see_six_servers_as_they_are() {
    let Some(peers) = Peers::with(&[Part::Node, Part::Python, Part::PythonV1]) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let servers = Servers::prepare(&peers, folder.path()).await;
    let remote = HttpServer::program(&peers.everything("streamableHttp")).await;
    let proxy = servers.proxy(&remote).await;
    let expected = servers.behind_the_proxy().await;

    let mut clients = JoinSet::new();
    for client in Client::ALL {
        let script = script(&steps_of(client, &expected), last_words());
        let (peers, url) = (peers.clone(), proxy.url());
        clients.spawn(async move { (client, drive(&peers, client, &url, &script).await) });
    }
    let mut faults = Vec::new();
    while let Some(done) = clients.join_next().await {
        let (client, steps) = done.expect("a driver does not panic");
        match steps {
            Ok(steps) => faults.extend(
                check(client, &steps_of(client, &expected), &steps)
                    .into_iter()
                    .map(|f| format!("{client:?}: {f}")),
            ),
            Err(text) => faults.push(text),
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Steps whose answers are judged by hand, in [`check_last_words`].
fn last_words() -> Vec<Value> {
    vec![
        json!({ "do": "call", "name": "nowhere__nothing", "arguments": {} }),
        json!({ "do": "read", "uri": "remote+demo://resource/dynamic/text/42" }),
        json!({ "do": "get_prompt", "name": "remote__resource-prompt",
                "arguments": { "resourceType": "Text", "resourceId": "3" } }),
        json!({ "do": "call", "name": "everything__get-resource-links", "arguments": { "count": 2 } }),
        json!({ "do": "cancel", "name": "everything__trigger-long-running-operation",
                "arguments": { "duration": 20, "steps": 200 } }),
        json!({ "do": "call", "name": "everything__get-sum", "arguments": { "a": 2, "b": 3 } }),
    ]
}

/// Compares all that one client saw; one line for each fault.
fn check(client: Client, expected: &[&Expected], steps: &[Step]) -> Vec<String> {
    let mut faults = Vec::new();
    let connected = steps[0].ok();
    if connected["protocolVersion"] != "2025-11-25" {
        faults.push(format!("negotiated {}", connected["protocolVersion"]));
    }
    for capability in ["tools", "resources", "prompts", "completions", "logging"] {
        // The typed clients know `completions` only in newer releases; the lists below show that the rest works.
        if capability != "completions" && connected["capabilities"].get(capability).is_none() {
            faults.push(format!("the capability {capability} is not offered"));
        }
    }
    let (main, last) = steps[1..].split_at(expected.len());
    compare(client, expected, main, &mut faults);
    check_last_words(client, last, &mut faults);
    faults
}

/// Compares what one client saw with the yardstick.
fn compare(client: Client, expected: &[&Expected], steps: &[Step], faults: &mut Vec<String>) {
    for (want, got) in expected.iter().zip(steps) {
        let order = &want.order;
        if got.unsupported() {
            continue;
        }
        let Some(result) = &got.result else {
            faults.push(format!("{order}: {:?}", got.error));
            continue;
        };
        faults.extend(difference(result, &want.result, client.fidelity()).map(|text| format!("{order}: {text}")));
        let progress: Vec<u64> = got
            .progress
            .iter()
            .filter_map(|note| note["progress"].as_f64())
            .map(|p| p as u64)
            .collect();
        // The Inspector shows no progress, whatever comes.
        if client != Client::Inspector && progress != want.progress {
            faults.push(format!("{order}: progress {progress:?}, want {:?}", want.progress));
        }
    }
}

fn check_last_words(client: Client, last: &[Step], faults: &mut Vec<String>) {
    let [unknown, read, prompt, links, cancelled, sum] = last else {
        return;
    };
    let mut expect = |holds: bool, what: &str, step: &Step| {
        if !holds {
            faults.push(format!("{what}: {step:?}"));
        }
    };
    let refused = unknown.error.as_ref().is_some_and(|error| error["code"] == -32602);
    // The Inspector looks the name up in the list and does not even ask.
    expect(
        refused || client == Client::Inspector && unknown.error.is_some(),
        "an unknown tool is -32602",
        unknown,
    );
    let uri = |step: &Step, path: &str| step.result.as_ref().and_then(|result| result.pointer(path).cloned());
    let read_uri = uri(read, "/contents/0/uri");
    expect(
        read_uri == Some("remote+demo://resource/dynamic/text/42".into()),
        "a template's resource is read",
        read,
    );
    let embedded = uri(prompt, "/messages/1/content/resource/uri");
    let want = "remote+demo://resource/dynamic/text/3";
    expect(
        embedded == Some(want.into()),
        "an embedded resource has its public URI",
        prompt,
    );
    let link = uri(links, "/content/1/uri");
    let is_public = link.is_some_and(|uri| uri.as_str().is_some_and(|uri| uri.starts_with("everything+demo://")));
    expect(is_public, "a resource link has its public URI", links);
    let gone = cancelled.unsupported() || (cancelled.error.is_some() && !cancelled.progress.is_empty());
    expect(gone, "a call is cancelled after its first progress", cancelled);
    let added = uri(sum, "/content/0/text").is_some_and(|text| text.as_str().is_some_and(|text| text.contains('5')));
    expect(added, "the backend serves on after a cancelled call", sum);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_hears_what_is_said_during_its_call() {
    let Some(peers) = Peers::with(&[Part::Node, Part::Python, Part::PythonV1]) else {
        return;
    };
    let command = fixture_command("fixture").await;
    let proxy = Config::new().stdio("fixture", &command, &[], "").start().await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let script = json!([
        { "do": "connect" },
        { "do": "set_level", "level": "debug" },
        { "do": "call", "name": "fixture__progress", "arguments": { "steps": 4, "ms": 10 }, "progress": true },
        { "do": "call", "name": "fixture__test_tool_with_logging", "arguments": {} },
        { "do": "call", "name": "fixture__log", "arguments": { "n": 5 } },
        { "do": "call", "name": "fixture__test_error_handling", "arguments": {} },
    ]);
    for client in Client::ALL {
        let steps = drive(&peers, client, &proxy.url(), &script)
            .await
            .expect("the driver answers");
        let [_, level, progress, logging, logs, failing] = &steps[..] else {
            panic!("six answers: {steps:?}")
        };
        assert!(level.error.is_none(), "{client:?} {level:?}");
        assert!(progress.ok()["content"].is_array(), "{client:?} {progress:?}");
        assert!(logging.ok()["content"].is_array(), "{client:?} {logging:?}");
        assert_eq!(failing.ok()["isError"], true, "{client:?} {failing:?}");
        // The Inspector shows no notifications, whatever comes.
        if client != Client::Inspector {
            assert_eq!(progress.progress.len(), 4, "{client:?} {progress:?}");
            assert_eq!(logging.logs.len(), 3, "{client:?} {logging:?}");
            assert_eq!(logs.logs.len(), 5, "{client:?} {logs:?}");
        }
    }
}

#[tokio::test]
async fn clients_come_over_tls() {
    let Some(peers) = Peers::with(&[Part::Node, Part::PythonV1]) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("a file is written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file is written");
    let tls = format!(
        "tls = {{ cert = {:?}, key = {:?} }}",
        cert.display().to_string(),
        key.display().to_string()
    );
    let proxy = Config::new()
        .listen(&tls)
        .backend("name = \"demo\"\ntransport = \"builtin\"")
        .start()
        .await;

    let url = format!("https://localhost:{}/mcp", proxy.address.port());
    let script = json!([{ "do": "connect" }, { "do": "ping" }]);
    let cert = cert.to_str().expect("a UTF-8 path");
    let env = [("NODE_EXTRA_CA_CERTS", cert), ("SSL_CERT_FILE", cert)];
    for client in [Client::TypeScriptV1, Client::PythonV1] {
        let steps = drive_with(&peers, client, &url, &script, &env)
            .await
            .expect("the driver answers");
        assert!(steps.iter().all(|step| step.error.is_none()), "{client:?} {steps:?}");
        let strangers = drive(&peers, client, &url, &script).await;
        assert!(
            strangers.is_err(),
            "nobody else trusts that certificate: {client:?} {strangers:?}"
        );
    }
}

/// The yardstick itself: every client in front of a server, no proxy between them. If this fails, the comparison above says
/// nothing about the proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_without_a_proxy_agree_with_the_yardstick() {
    let Some(peers) = Peers::with(&[Part::Node, Part::Python, Part::PythonV1]) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let servers = Servers::prepare(&peers, folder.path()).await;
    let remote = HttpServer::program(&peers.everything("streamableHttp")).await;
    let expected = servers.expected(&servers.stdio[0], &[""]).await;
    let expected: Vec<&Expected> = expected.iter().collect();
    let script = script(&expected, vec![]);
    let mut faults = Vec::new();
    // The Inspector declares roots, for which this server has one tool more.
    for client in Client::ALL.into_iter().filter(|client| *client != Client::Inspector) {
        let steps = drive(&peers, client, &remote.url(), &script)
            .await
            .expect("the driver answers");
        compare(client, &expected, &steps[1..], &mut faults);
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
