//! `.mcp.json`: the servers of MCP clients become backends.

use mcp_proxy::config::ConfigErrors;
use mcp_proxy::plan::{LinkPlan, Plan};
use tempfile::TempDir;

use super::loader;

fn folder(text: &str) -> TempDir {
    let folder = tempfile::Builder::new().prefix("project").tempdir().expect("a folder");
    std::fs::write(folder.path().join(".mcp.json"), text).expect("written");
    folder
}

fn plan(text: &str) -> Result<Plan, ConfigErrors> {
    let folder = folder(text);
    let config = loader(&[("KEY", "k")]).load_mcp_json(folder.path().join(".mcp.json"))?;
    Plan::from_config(&config)
}

#[test]
#[cfg(feature = "websocket")]
fn other_transports_are_known_by_their_type_or_their_url() {
    let text = r#"{ "mcpServers": {
        "a": { "type": "sse", "url": "https://a.example/sse" },
        "b": { "type": "ws", "url": "ws://127.0.0.1:1/mcp" },
        "c": { "url": "wss://c.example/mcp" }
    } }"#;
    let plan = plan(text).expect("good");
    let transports: Vec<_> = plan.backends.iter().map(|one| one.link.transport().as_str()).collect();
    assert_eq!(transports, ["sse", "websocket", "websocket"]);
}

#[test]
fn servers_become_backends() {
    let text = r#"{
        "mcpServers": {
            "files": { "command": "npx", "args": ["-y", "server", "."], "env": { "KEY": "${KEY}" } },
            "remote": { "type": "http", "url": "https://r.example/mcp", "headers": { "Authorization": "Bearer ${KEY}" } }
        },
        "servers": { "off": { "type": "stdio", "command": "x", "disabled": true } }
    }"#;
    let plan = plan(text).expect("good");
    assert!(
        plan.name.starts_with("project"),
        "named after its folder: {}",
        plan.name
    );
    assert_eq!(&*plan.separator, "__");
    assert_eq!(plan.listen.address, Some(("127.0.0.1".into(), 8080)));
    let names: Vec<_> = plan
        .backends
        .iter()
        .map(|backend| (&*backend.name, backend.enabled))
        .collect();
    assert_eq!(names, [("files", true), ("remote", true), ("off", false)]);
    let LinkPlan::Stdio(files) = &plan.backends[0].link else {
        panic!("a process");
    };
    assert_eq!((files.command.as_str(), files.args.len()), ("npx", 3));
    assert_eq!(files.env[0].1.expose(), "k");
    let LinkPlan::Http(remote) = &plan.backends[1].link else {
        panic!("a URL");
    };
    assert_eq!(remote.headers[0].1, "Bearer k");
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
}

#[test]
fn names_and_unknown_members_are_mended_with_a_warning() {
    let text = r#"{ "inputs": [], "mcpServers": { "my server": { "command": "x", "timeout": 5 }, "proxy": { "url": "http://localhost/" } } }"#;
    let plan = plan(text).expect("good");
    let names: Vec<_> = plan.backends.iter().map(|backend| &*backend.name).collect();
    assert_eq!(names, ["my_server", "proxy_server"]);
    let messages: Vec<_> = plan.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(messages.len(), 4, "{messages:?}");
    assert!(messages[0].contains("`inputs` is ignored"));
    assert!(messages[2].contains("`timeout` is ignored"));
}

#[test]
fn the_importing_file_wins() {
    let folder =
        folder(r#"{ "mcpServers": { "a": { "command": "theirs" }, "b": { "command": "./b.sh", "cwd": "." } } }"#);
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).expect("a folder");
    std::fs::write(folder.path().join("b.sh"), "").expect("written");
    let text = "[proxy]\nname = \"x\"\nimport_backends = \"../.mcp.json\"\n[[backends]]\nname = \"a\"\ntransport = \"stdio\"\ncommand = \"ours\"\n";
    std::fs::write(inner.join("proxy.toml"), text).expect("written");
    let config = loader(&[]).load(inner.join("proxy.toml")).expect("good");
    let plan = Plan::from_config(&config).expect("good");
    let links: Vec<_> = plan.backends.iter().map(|backend| &backend.link).collect();
    let [LinkPlan::Stdio(ours), LinkPlan::Stdio(b)] = links[..] else {
        panic!("two processes: {links:?}");
    };
    assert_eq!(ours.command, "ours");
    let resolved = std::path::Path::new(&b.command)
        .canonicalize()
        .expect("the program exists");
    assert_eq!(resolved, folder.path().join("b.sh").canonicalize().expect("it exists"));
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
}
