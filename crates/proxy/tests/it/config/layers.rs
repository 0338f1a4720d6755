//! Defaults, file, environment, command line: later ones win; and `${…}` inside strings.

use std::time::Duration;

use mcp_proxy::config::{Format, ProxyConfig};
use mcp_proxy::plan::{LinkPlan, Plan};

use super::{loader, parse, plan};

const DEMO: &str = "[proxy]\nname = \"demo\"\n[[backends]]\nname = \"demo\"\ntransport = \"builtin\"\n";

#[test]
fn defaults_are_those_of_the_reference() {
    let plan = plan(DEMO).expect("a good configuration");
    assert_eq!(plan.listen.address, Some(("127.0.0.1".into(), 8080)));
    assert_eq!(plan.front.path, "/mcp");
    assert_eq!(plan.front.body_bytes, 4 * 1024 * 1024);
    assert_eq!(plan.front.keep_alive, Duration::from_secs(15));
    assert_eq!(plan.front.session.idle, Duration::from_secs(1800));
    assert_eq!(plan.front.session.max, 10_000);
    assert!(plan.front.session.required);
    assert_eq!(plan.shutdown_timeout, Duration::from_secs(30));
    assert_eq!(&*plan.separator, "/");
    assert_eq!(plan.log.filter, "info");
    assert_eq!(plan.backends[0].namespace.name("echo"), "demo/echo");
    assert!(plan.warnings.is_empty());
}

#[test]
fn later_sources_win() {
    let text = format!("{DEMO}[observability]\nlog_level = \"warn\"\n").replace("[[", "[proxy.listen]\nport = 1\n[[");
    let port = |config: &ProxyConfig| config.proxy.listen.port;
    assert_eq!(port(&parse(&text).expect("good")), Some(1));
    let loader = loader(&[
        ("MCP_PROXY__PROXY__LISTEN__PORT", "2"),
        ("MCP_PROXY__PROXY__SESSION__REQUIRED", "false"),
        (
            "MCP_PROXY__PROXY__LISTEN__ALLOWED_HOSTS",
            "[\"a.example\", \"b.example\"]",
        ),
        ("MCP_PROXY__PROXY__VERSION", "17"),
        ("MCP_PROXY_OTHER", "not ours"),
    ]);
    let config = loader.parse(&text, Format::Toml).expect("good");
    assert_eq!(port(&config), Some(2));
    assert!(!config.proxy.session.required);
    assert_eq!(config.proxy.listen.allowed_hosts, ["a.example", "b.example"]);
    assert_eq!(config.proxy.version.as_deref(), Some("17"), "text stays text");
    assert_eq!(
        config.observability.log_level, "warn",
        "what no later source sets stays"
    );
    let config = loader
        .set("proxy.listen.port", "3", "--port")
        .parse(&text, Format::Toml);
    assert_eq!(port(&config.expect("good")), Some(3));
}

#[test]
fn references_are_filled_in_anywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("token"), "s3cr3t\n").expect("written");
    let file = folder.path().join("proxy.toml");
    let text = "[proxy]\nname = \"${NAME} $${NAME} $5\"\nlisten.port = \"${PORT:-9001}\"\n\
                [[backends]]\nname = \"a\"\ntransport = \"http\"\nurl = \"https://${HOST:-h.example}/${EMPTY:-x}\"\n\
                bearer_token = \"${file:token}\"\nheaders = { x-a = \"${env:NAME}-${NAME}\" }\n";
    std::fs::write(&file, text).expect("written");
    let loader = loader(&[("NAME", "${PORT}"), ("EMPTY", "")]);
    let config = loader.load(&file).expect("good");
    assert_eq!(
        config.proxy.name, "${PORT} ${NAME} $5",
        "what is filled in is not read again"
    );
    assert_eq!(config.proxy.listen.port, Some(9001));
    let plan = Plan::from_config(&config).expect("good");
    let LinkPlan::Http(options) = &plan.backends[0].link else {
        panic!("an http backend");
    };
    assert_eq!(options.url.as_str(), "https://h.example/x");
    assert_eq!(options.bearer.as_ref().map(|token| token.expose()), Some("s3cr3t"));
    assert_eq!(options.headers[0].1, "${PORT}-${PORT}");
    assert!(options.headers[0].1.is_sensitive());
    let shown = format!("{config:?}{plan:?}");
    assert!(!shown.contains("s3cr3t"), "{shown}");
}

#[test]
#[cfg(feature = "yaml")]
fn yaml_says_the_same_as_toml() {
    let yaml = "proxy:\n  name: demo\n  listen: {port: 0, allowed_hosts: [a.example]}\n\
                backends:\n  - name: a\n    transport: stdio\n    command: cat\n    args: ['-u', \"x\\ty\", &x plain, *x]\n    env:\n      A: '1'\n";
    let config = loader(&[]).parse(yaml, Format::Yaml).expect("good");
    assert_eq!(config.proxy.listen.port, Some(0));
    assert_eq!(config.proxy.listen.allowed_hosts, ["a.example"]);
    let args = config.backends[0].args.as_deref().expect("arguments");
    assert_eq!(args, ["-u", "x\ty", "plain", "plain"]);
    assert!(Plan::from_config(&config).is_ok());
}

#[test]
fn a_unix_socket_takes_the_place_of_tcp_unless_a_port_is_written() {
    let unix = |more: &str| {
        let text = DEMO.replace("[[", &format!("[proxy.listen]\nunix = \"proxy.sock\"\n{more}\n[["));
        plan(&text).expect("good").listen
    };
    assert_eq!(unix("").address, None);
    assert_eq!(unix("port = 9000").address, Some(("127.0.0.1".into(), 9000)));
}
