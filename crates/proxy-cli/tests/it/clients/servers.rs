//! The six servers, and what each says when it is asked directly.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{Config, HttpServer, Peers, ProxyUnderTest, StdioServer};

/// One step of a script and what its answer must be.
pub(super) struct Expected {
    pub(super) order: Value,
    pub(super) result: Value,
    /// Progress values that must have come meanwhile, in this order.
    pub(super) progress: Vec<u64>,
}

/// The five servers that run as child processes, and where they find their data. The sixth is `server-everything` over
/// HTTP, whose answers are those of the one over pipes.
pub(super) struct Servers {
    pub(super) stdio: Vec<ChildServer>,
    data: String,
}

/// A server over pipes.
pub(super) struct ChildServer {
    pub(super) name: &'static str,
    pub(super) command: Vec<String>,
    env: Vec<(&'static str, String)>,
}

/// The four lists: the step that asks a client for it, the method, the member, and what in an entry names it.
const LISTS: [(&str, &str, &str, &str); 4] = [
    ("list_tools", "tools/list", "tools", "name"),
    ("list_resources", "resources/list", "resources", "uri"),
    (
        "list_templates",
        "resources/templates/list",
        "resourceTemplates",
        "uriTemplate",
    ),
    ("list_prompts", "prompts/list", "prompts", "name"),
];

impl Servers {
    pub(super) async fn prepare(peers: &Peers, folder: &Path) -> Self {
        // The filesystem server compares real paths.
        let folder = folder.canonicalize().expect("the folder exists");
        std::fs::write(folder.join("hello.txt"), "hello from a file\n").expect("a file is written");
        let graph = folder.join("graph.jsonl");
        let entity = json!({ "type": "entity", "name": "proxy", "entityType": "thing", "observations": ["forwards"] });
        std::fs::write(&graph, format!("{entity}\n")).expect("a file is written");
        repository(&folder).await;

        let data = folder.to_str().expect("a UTF-8 path").to_owned();
        let graph = graph.to_str().expect("a UTF-8 path").to_owned();
        let child = |name, command| ChildServer {
            name,
            command,
            env: vec![],
        };
        let memory = peers.command("mcp-server-memory", &[]);
        let stdio = vec![
            child("everything", peers.everything("stdio")),
            child("files", peers.command("mcp-server-filesystem", &[&data])),
            ChildServer {
                name: "memory",
                command: memory,
                env: vec![("MEMORY_FILE_PATH", graph)],
            },
            child("time", peers.command("mcp-server-time", &["--local-timezone", "UTC"])),
            child("git", peers.command("mcp-server-git", &["--repository", &data])),
        ];
        Self { stdio, data }
    }

    /// All six behind one proxy, `server-everything` under two names that follow each other.
    pub(super) async fn proxy(&self, remote: &HttpServer) -> ProxyUnderTest {
        let mut config = Config::new();
        for child in &self.stdio {
            config = config.stdio(child.name, &child.command, &child.env(), "");
            if child.name == "everything" {
                config = config.http("remote", &remote.url(), "");
            }
        }
        let proxy = config.start().await;
        proxy
            .wait_for_tools_of(&["everything__", "remote__", "files__", "memory__", "time__", "git__"])
            .await;
        proxy
    }

    /// What a client of that proxy must see.
    pub(super) async fn behind_the_proxy(&self) -> Vec<Expected> {
        let mut all: Vec<Expected> = Vec::new();
        for child in &self.stdio {
            let names: &[&str] = if child.name == "everything" {
                &["everything", "remote"]
            } else {
                &[child.name]
            };
            for (index, mut step) in self.expected(child, names).await.into_iter().enumerate() {
                // The first four steps of each server are its lists, which the proxy strings together.
                match all.get_mut(index).filter(|_| index < LISTS.len()) {
                    Some(list) => {
                        let member = LISTS[index].2;
                        let more = step.result[member].as_array_mut().expect("a list");
                        list.result[member].as_array_mut().expect("a list").append(more);
                    }
                    None => all.push(step),
                }
            }
        }
        all
    }

    /// What a client must see of one server under these names; the empty name is the server itself, without a proxy.
    pub(super) async fn expected(&self, child: &ChildServer, names: &[&str]) -> Vec<Expected> {
        // The clients declare nothing; the proxy, towards what all of them share, all that any of them might be able to do.
        let capabilities = match names {
            [""] => json!({}),
            _ => json!({ "elicitation": { "form": {}, "url": {} }, "roots": { "listChanged": true }, "sampling": {} }),
        };
        let mut server = StdioServer::start(&child.command, &child.env(), capabilities).await;
        let mut expected = Vec::new();
        let step = |order, result| Expected {
            order,
            result,
            progress: vec![],
        };
        for (order, method, member, key) in LISTS {
            let items = server.list(method, member).await;
            let items = names
                .iter()
                .flat_map(|name| items.iter().cloned().map(|item| renamed(name, key, item)));
            expected.push(step(
                json!({ "do": order }),
                json!({ member: items.collect::<Vec<_>>() }),
            ));
        }
        for (tool, arguments, steps) in self.calls(child.name) {
            let asked = json!({ "name": tool, "arguments": arguments });
            let result = server
                .request("tools/call", asked)
                .await
                .expect("the server answers its own tool");
            for name in names {
                let tool = public_name(name, tool);
                let order = json!({ "do": "call", "name": tool, "arguments": arguments, "progress": steps > 0 });
                expected.push(Expected {
                    order,
                    result: result.clone(),
                    progress: (1..=steps).collect(),
                });
            }
        }
        if child.name != "everything" {
            return expected;
        }

        // Resources, prompts and completion, which only this server has.
        let uri = "demo://resource/static/document/features.md";
        let read = server
            .request("resources/read", json!({ "uri": uri }))
            .await
            .expect("the document is there");
        let values = json!({ "city": "Paris", "state": "Texas" });
        let asked = json!({ "name": "args-prompt", "arguments": values });
        let prompt = server.request("prompts/get", asked).await.expect("the prompt is there");
        let department = json!({ "name": "department", "value": "S" });
        let of = json!({ "type": "ref/prompt", "name": "completable-prompt" });
        let asked = json!({ "ref": of, "argument": department });
        let departments = server
            .request("completion/complete", asked)
            .await
            .expect("the prompt completes");
        let template = "demo://resource/dynamic/text/{resourceId}";
        let id = json!({ "name": "resourceId", "value": "7" });
        let asked = json!({ "ref": { "type": "ref/resource", "uri": template }, "argument": id });
        let ids = server
            .request("completion/complete", asked)
            .await
            .expect("the template completes");
        for name in names {
            let uri = public_uri(name, uri);
            let mut read = read.clone();
            read["contents"][0]["uri"] = uri.clone().into();
            expected.push(step(json!({ "do": "read", "uri": uri }), read));
            let order = json!({ "do": "get_prompt", "name": public_name(name, "args-prompt"), "arguments": values });
            expected.push(step(order, prompt.clone()));
            let of = json!({ "type": "ref/prompt", "name": public_name(name, "completable-prompt") });
            expected.push(step(
                json!({ "do": "complete", "ref": of, "argument": department }),
                departments.clone(),
            ));
            let of = json!({ "type": "ref/resource", "uri": public_uri(name, template) });
            expected.push(step(
                json!({ "do": "complete", "ref": of, "argument": id }),
                ids.clone(),
            ));
        }
        expected
    }

    /// At least one tool of each server: name, arguments, number of progress notifications to come.
    fn calls(&self, name: &str) -> Vec<(&'static str, Value, u64)> {
        let data = &self.data;
        let impossible = json!({ "source_timezone": "UTC", "time": "25:00", "target_timezone": "UTC" });
        match name {
            "everything" => vec![
                ("echo", json!({ "message": "grüße, 世界 \u{1f980}" }), 0),
                ("get-structured-content", json!({ "location": "New York" }), 0),
                ("get-tiny-image", json!({}), 0),
                (
                    "trigger-long-running-operation",
                    json!({ "duration": 0.5, "steps": 5 }),
                    5,
                ),
            ],
            "files" => vec![
                ("read_text_file", json!({ "path": format!("{data}/hello.txt") }), 0),
                ("read_text_file", json!({ "path": "/nowhere/else" }), 0),
            ],
            "memory" => vec![("search_nodes", json!({ "query": "proxy" }), 0)],
            "time" => vec![("convert_time", impossible, 0)],
            "git" => vec![("git_log", json!({ "repo_path": data, "max_count": 1 }), 0)],
            _ => unreachable!("the servers are listed above"),
        }
    }
}

impl ChildServer {
    fn env(&self) -> Vec<(&str, &str)> {
        self.env.iter().map(|(key, value)| (*key, value.as_str())).collect()
    }
}

fn public_name(backend: &str, local: &str) -> String {
    if backend.is_empty() {
        local.to_owned()
    } else {
        format!("{backend}__{local}")
    }
}

fn public_uri(backend: &str, local: &str) -> String {
    if backend.is_empty() {
        local.to_owned()
    } else {
        format!("{backend}+{local}")
    }
}

/// A list entry as the proxy shows it.
fn renamed(backend: &str, key: &str, mut item: Value) -> Value {
    let local = item[key].as_str().unwrap_or_default();
    item[key] = if key == "name" {
        public_name(backend, local)
    } else {
        public_uri(backend, local)
    }
    .into();
    item
}

/// A repository with one commit whose every part is fixed.
async fn repository(folder: &Path) {
    for words in [
        &["init", "--quiet"][..],
        &["commit", "--quiet", "--allow-empty", "--message", "the only commit"],
    ] {
        let mut git = Command::new("git");
        git.args(words)
            .current_dir(folder)
            .stdin(Stdio::null())
            .env("GIT_CONFIG_GLOBAL", "/dev/null");
        for who in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{who}_NAME"), "it")
                .env(format!("GIT_{who}_EMAIL"), "it@example.com");
            git.env(format!("GIT_{who}_DATE"), "2026-01-01T00:00:00Z");
        }
        let output = git.output().await.expect("git runs");
        assert!(
            output.status.success(),
            "git {words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
