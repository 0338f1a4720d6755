//! A client that cannot tell whether it talks to a server or to the proxy in front of it.
//!
//! One script of calls is performed twice by the same client: straight at the fixture, which then speaks the client's own
//! era, and through the proxy, in front of a fixture that speaks either era over each transport. The two transcripts must
//! be equal, once the names are undone that the proxy gives (`backend__name`, `backend+uri`) and the ids that every hop has
//! of its own. Where the two eras differ the proxy has to translate; then what is compared is the meaning, and
//! [`normal`] says what that leaves out.
//!
//! The result is the table in `docs/transparency.md`; `MCP_PROXY_WRITE_DOCS=1` writes it anew.

mod normal;
mod script;
mod table;

use serde_json::Value;
use tokio::task::JoinSet;

use self::normal::Pairing;
use super::support::{Config, Era, Fidelity, Http, HttpServer, ProxyUnderTest, Speaker, difference, fixture_command};

/// What a client saw, step by step.
type Transcript = Vec<(&'static str, Value)>;

const TRANSPORTS: [&str; 4] = ["stdio", "http", "websocket", "sse"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_the_proxy_everything_is_as_it_is_without() {
    let mut references = Vec::new();
    for era in Era::ALL {
        references.push((era, directly(era).await));
    }
    let mut runs = JoinSet::new();
    for client in Era::ALL {
        for backend in Era::ALL {
            for transport in TRANSPORTS {
                let pairing = Pairing {
                    client,
                    backend,
                    transport,
                };
                if !pairing.exists() {
                    continue;
                }
                // A run of its own, so that one that fails does not hide the others.
                let mut run = JoinSet::new();
                run.spawn(through_the_proxy(pairing));
                runs.spawn(async move { (pairing, run.join_next().await) });
            }
        }
    }
    let mut found = table::Table::default();
    let mut faults = Vec::new();
    while let Some(done) = runs.join_next().await {
        let (pairing, got) = done.expect("whoever waits does not panic");
        let Some(Ok(got)) = got else {
            faults.push(format!("{pairing:?} did not come to its end"));
            continue;
        };
        let want = references.iter().find(|(era, _)| *era == pairing.client);
        let (_, want) = want.expect("one for each era");
        assert_eq!(got.len(), want.len(), "{pairing:?} did not finish the script");
        for ((step, got), (_, want)) in got.iter().zip(want) {
            let (got, want) = (normal::of(pairing, step, got), normal::of(pairing, step, want));
            let difference = difference(&got, &want, Fidelity::Exact);
            found.put(pairing, step, difference.is_none());
            faults.extend(difference.map(|text| format!("{pairing:?} {step}: {text}")));
        }
    }
    assert!(
        faults.is_empty(),
        "{} differences:\n{}",
        faults.len(),
        faults.join("\n")
    );
    found.compare();
}

async fn directly(era: Era) -> Transcript {
    let server = HttpServer::fixture(0, &["--era", era.name()]).await;
    let http = Http::new(server.address, "/mcp");
    script::perform(Speaker::open(http, era, "").await).await
}

async fn through_the_proxy(pairing: Pairing) -> Transcript {
    let era = pairing.backend.name();
    let config = Config::new();
    // A server lives as long as the proxy in front of it.
    let (_server, config) = match pairing.transport {
        "stdio" => {
            let mut command = fixture_command("mcp-fixture").await;
            command.extend(["--era".to_owned(), era.to_owned()]);
            (None, config.stdio("fixture", &command, &[], ""))
        }
        transport => {
            let server = HttpServer::start_fixture(transport, 0, &["--era", era]).await;
            let scheme = if transport == "websocket" { "ws" } else { "http" };
            let url = format!("{scheme}://{}/mcp", server.address);
            let table = format!("name = \"fixture\"\ntransport = \"{transport}\"\nurl = \"{url}\"");
            (Some(server), config.backend(&table))
        }
    };
    let proxy: ProxyUnderTest = config.start().await;
    proxy.wait_for_tools_of(&["fixture__test_simple_text"]).await;
    script::perform(Speaker::open(proxy.http(), pairing.client, "fixture").await).await
}
