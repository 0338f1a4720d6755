//! What is said of mistakes: file, line, column, key, message and help, all mistakes of a file in one run.
//!
//! Each case is a configuration and what it says; `cargo insta review`, or `INSTA_UPDATE=always`, takes over a new wording.

use std::fmt::Write as _;

use mcp_proxy::config::{ConfigErrors, Format, ProxyConfig};
use mcp_proxy::plan::Plan;

use super::loader;

/// The text of a configuration and everything that is said of it.
fn told(title: &str, text: &str, config: Result<ProxyConfig, ConfigErrors>) -> String {
    let said = match config.and_then(|config| Plan::from_config(&config)) {
        Err(errors) => {
            for problem in errors.problems() {
                assert!(
                    problem.remedy.is_some(),
                    "{title}: every problem says how to mend it: {problem}"
                );
            }
            errors.to_string()
        }
        Ok(plan) => {
            let warnings: Vec<_> = plan
                .warnings
                .iter()
                .map(|warning| format!("warning: {warning}"))
                .collect();
            assert!(!warnings.is_empty(), "{title} is no mistake");
            warnings.join("\n\n")
        }
    };
    let numbered = text.lines().zip(1..).fold(String::new(), |mut out, (line, number)| {
        let _ = writeln!(out, "{number:3} | {line}");
        out
    });
    format!("=== {title}\n{numbered}\n{said}\n\n")
}

fn snapshot(name: &str, said: impl AsRef<str>) {
    let said = said.as_ref();
    insta::assert_snapshot!(name, said);
}

fn check(cases: &[(&str, &str)]) -> String {
    let each = cases
        .iter()
        .map(|(title, text)| told(title, text, loader(&[]).parse(text, Format::Toml)));
    each.collect()
}

/// Cases that are one line of a section below a sound beginning.
fn lines(section: &str, cases: &[&str]) -> String {
    let beginning = match section.starts_with("[proxy") {
        true => "[proxy]\nname = \"p\"\n",
        false => "proxy.name = \"p\"\n",
    };
    let heading = if section == "[proxy]" {
        String::new()
    } else {
        format!("{section}\n")
    };
    let each = cases.iter().map(|line| {
        let demo = if section.starts_with("[[backends") {
            ""
        } else {
            "[[backends]]\nname = \"d\"\ntransport = \"builtin\"\n"
        };
        let text = format!("{beginning}{heading}{line}\n{demo}");
        told(
            line.lines().last().unwrap_or_default(),
            &text,
            loader(&[]).parse(&text, Format::Toml),
        )
    });
    each.collect()
}

#[test]
fn of_the_proxy() {
    snapshot(
        "proxy",
        lines(
            "[proxy]",
            &[
                "seperator = \"__\"",
                "retries = 3",
                "version = 2",
                "separator = \"\"",
                "separator = \" :: \"",
                "shutdown_timeout_seconds = \"30\"",
                "shutdown_timeout_seconds = 1.5",
                "shutdown_timeout_seconds = -1",
                "import_backends = \"nowhere/.mcp.json\"",
                "instructions = [\"a\"]",
            ],
        ),
    );
}

#[test]
fn of_listening() {
    snapshot(
        "listen",
        lines(
            "[proxy.listen]",
            &[
                "port = 70000",
                "port = \"8080\"",
                "prot = 8080",
                "host = \"http://localhost\"",
                "host = \"127.0.0.1:9000\"",
                "host = \"0.0.0.0\"",
                "path = \"mcp\"",
                "path = \"/health\"",
                "body_bytes = 0",
                "keep_alive_seconds = 0",
                "allowed_hosts = \"example.com\"",
                "allowed_hosts = [\"*\"]",
                "allowed_hosts = [\"a.example\", 7]",
                "allowed_origins = [\"https://example.com/app\"]",
                "tls = true",
                "tls = { cert = \"cert.pem\" }",
                "tls = { cert = \"missing.pem\", key = \"src\" }",
                "unix = \"no/such/folder/proxy.sock\"",
            ],
        ),
    );
}

#[test]
fn of_sessions_and_the_process() {
    let sessions = lines(
        "[proxy.session]",
        &["idle_seconds = 0", "max = 0", "required = \"yes\"", "ttl = 5"],
    );
    let process = lines("[performance]", &["workers = 0", "workers = 5000", "threads = 2"]);
    let logs = lines(
        "[observability]",
        &[
            "log_level = \"verbose\"",
            "log_level = \"info,mcp_proxy=debgu\"",
            "json_logs = 1",
        ],
    );
    snapshot("process", sessions + &process + &logs);
}

#[test]
fn of_backends() {
    snapshot(
        "backends",
        lines(
            "[[backends]]",
            &[
                "transport = \"stdio\"\ncommand = \"cat\"",
                "name = \"files\"\ncommand = \"cat\"",
                "name = \"my files\"\ntransport = \"builtin\"",
                "name = \"proxy\"\ntransport = \"builtin\"",
                "name = \"a\"\ntransport = \"htttp\"\nurl = \"http://localhost/\"",
                "name = \"a\"\ntransport = \"builtin\"\nnamespace = \"a/b\"",
                "name = \"a\"\ntransport = \"builtin\"\nenabled = \"no\"",
                "name = \"a\"\ntransport = \"builtin\"\nretry = { max_retries = 3 }",
                "name = \"a\"\ntransport = \"builtin\"\nsession = \"shared\"",
                "name = \"a\"\ntransport = \"builtin\"\n[[backends]]\nname = \"a\"\ntransport = \"builtin\"",
                "name = \"a\"\ntransport = \"builtin\"\n[[backends]]\nname = \"b\"\ntransport = \"builtin\"\nnamespace = \"a\"",
                "name = \"a\"\ntransport = \"builtin\"\nnamespace = \"\"\n[[backends]]\nname = \"b\"\ntransport = \"builtin\"\nnamespace = \"\"",
            ],
        ),
    );
}

#[test]
fn of_processes() {
    let stdio = "[[backends]]\nname = \"a\"\ntransport = \"stdio\"";
    snapshot(
        "stdio",
        lines(
            stdio,
            &[
                "args = [\"-y\"]",
                "command = \"\"",
                "command = \"npx -y server\"",
                "command = \"./no/such/program\"",
                "command = [\"npx\", \"-y\"]",
                "command = \"cat\"\nargs = \"-u\"",
                "command = \"cat\"\ncwd = \"no/such/folder\"",
                "command = \"cat\"\nenv = { \"A=B\" = \"1\" }",
                "command = \"cat\"\nenv = { PORT = 8080 }",
                "command = \"cat\"\ninherit_env = [\"\"]",
                "command = \"cat\"\nidle_stop_seconds = 0",
                "command = \"cat\"\nsession = \"per-client\"",
                "command = \"cat\"\nheaders = { a = \"b\" }",
                "command = \"cat\"\nurl = \"http://localhost/\"",
            ],
        ),
    );
}

#[test]
fn of_other_urls() {
    let backend = |transport: &str| format!("[[backends]]\nname = \"a\"\ntransport = \"{transport}\"");
    let websocket = lines(
        &backend("websocket"),
        &[
            "lazy = true",
            "url = \"https://example.com/mcp\"",
            "url = \"mcp.example.com\"",
            "url = \"ws://example.com/mcp\"\nbearer_token = \"t\"",
            "url = \"ws://example.com/mcp\"\ntls = { ca = \"src/lib.rs\" }",
            "url = \"wss://example.com/mcp\"\nsession = \"shared\"",
            "url = \"wss://example.com/mcp\"\nheaders = { Sec-WebSocket-Protocol = \"mcp\" }",
        ],
    );
    let sse = lines(
        &backend("sse"),
        &[
            "lazy = true",
            "url = \"wss://example.com/sse\"",
            "url = \"https://example.com/sse\"\ncommand = \"cat\"",
        ],
    );
    snapshot("other_urls", websocket + &sse);
}

#[test]
fn of_urls() {
    let http = "[[backends]]\nname = \"a\"\ntransport = \"http\"";
    snapshot(
        "http",
        lines(
            http,
            &[
                "lazy = true",
                "url = \"mcp.example.com\"",
                "url = \"ftp://example.com/\"",
                "url = \"https://user:word@example.com/\"",
                "url = \"https://example.com/#part\"",
                "url = \"https://example.com/\"\ncommand = \"cat\"",
                "url = \"https://example.com/\"\nbearer_token = \"\"",
                "url = \"https://example.com/\"\nbearer_token = \"two words\"",
                "url = \"http://example.com/\"\nbearer_token = \"t\"",
                "url = \"https://example.com/\"\nheaders = { \"a b\" = \"c\" }",
                "url = \"https://example.com/\"\nheaders = { Host = \"c\" }",
                "url = \"https://example.com/\"\nheaders = { a = \"line\\nline\" }",
                "url = \"https://example.com/\"\nbearer_token = \"t\"\nheaders = { Authorization = \"Basic x\" }",
                "url = \"http://localhost/\"\ntls = { ca = \"src/lib.rs\" }",
                "url = \"https://example.com/\"\ntls = { cert = \"src/lib.rs\" }",
            ],
        ),
    );
}

#[test]
fn of_references() {
    snapshot(
        "references",
        lines(
            "[proxy]",
            &[
                "version = \"${UNSET_VARIABLE}\"",
                "version = \"${UNSET\"",
                "version = \"${a b}\"",
                "version = \"${file:no/such/file}\"",
                "shutdown_timeout_seconds = \"${A:-soon}\"",
            ],
        ),
    );
}

#[test]
fn of_whole_files() {
    snapshot(
        "files",
        check(&[
            ("nothing", ""),
            ("no backends", "[proxy]\nname = \"p\"\n"),
            ("no proxy", "[[backends]]\nname = \"d\"\ntransport = \"builtin\"\n"),
            (
                "no name",
                "[proxy]\nseparator = \"/\"\n[[backends]]\nname = \"d\"\ntransport = \"builtin\"\n",
            ),
            (
                "one pair of brackets",
                "[proxy]\nname = \"p\"\n[backends]\nname = \"d\"\n",
            ),
            (
                "another section",
                "[proxy]\nname = \"p\"\n[auth]\ntype = \"bearer\"\n[[backend]]\nname = \"d\"\n",
            ),
            ("twice the same key", "[proxy]\nname = \"p\"\nname = \"q\"\n"),
            (
                "no TOML",
                "[proxy\nname = p\n[[backends]]\nname = \"d\"\nargs = [1,,]\n",
            ),
            ("JSON", "{ \"mcpServers\": {} }\n"),
        ]),
    );
}

/// What is wrong here and there is reported in one run, and nothing is reported twice.
#[test]
fn of_many_kinds_at_once() {
    let text = "\
[proxy]
nmae = \"gateway\"
separator = \"\"

[proxy.listen]
port = 99999
hosts = [\"a\"]

[[backends]]
name = \"files\"
transport = \"stdio\"
comand = \"npx\"
headers = { a = \"b\" }

[[backends]]
name = \"files\"
transport = \"http\"
url = \"${WIKI_URL}\"
bearer_token = 17

[[backends]]
name = \"ünïcödé\"; transport = \"http\"
";
    let good = text.replace("; transport", "\ntransport");
    snapshot("many", check(&[("before it is TOML", text), ("after", &good)]));
}

#[test]
#[cfg(feature = "yaml")]
fn of_yaml() {
    let cases = [
        (
            "an unknown key",
            "proxy:\n  name: p\n  listen:\n    prot: 1\nbackends: []\n",
        ),
        (
            "types",
            "proxy:\n  name: 7\n  listen: {port: many}\nbackends:\n  name: a\n",
        ),
        ("nothing where a value belongs", "proxy:\n  name:\nbackends:\n"),
        ("a key twice", "proxy:\n  name: a\n  name: b\n"),
        ("two documents", "proxy: {name: a}\n---\nproxy: {name: b}\n"),
        ("no YAML", "proxy: {name: a\nbackends: [\n"),
        ("tabs", "proxy:\n\tname: a\n"),
        (
            "meaning",
            "proxy: {name: é}\nbackends:\n- name: ü\n  transport: builtin\n- {name: a, transport: http, url: 'ws://é'}\n",
        ),
    ];
    let each = cases
        .iter()
        .map(|(title, text)| told(title, text, loader(&[]).parse(text, Format::Yaml)));
    snapshot("yaml", each.collect::<String>());
}

#[test]
fn of_the_environment_and_the_command_line() {
    let text = "[proxy]\nname = \"p\"\n[[backends]]\nname = \"d\"\ntransport = \"builtin\"\n";
    let cases = [
        ("MCP_PROXY__PROXY__LISTEN__PORT", "http"),
        ("MCP_PROXY__PROXY__LISTEN__PROT", "1"),
        ("MCP_PROXY__PROXY__SESSION__REQUIRED", "maybe"),
        ("MCP_PROXY__PROXY__LISTEN__ALLOWED_HOSTS", "a.example"),
        ("MCP_PROXY__PROXY__SEPARATOR", ""),
        ("MCP_PROXY__BACKENDS__D__ENABLED", "false"),
        ("MCP_PROXY____NAME", "x"),
    ];
    let mut all: String = cases
        .iter()
        .map(|(name, value)| {
            told(
                &format!("{name}={value}"),
                "",
                loader(&[(name, value)]).parse(text, Format::Toml),
            )
        })
        .collect();
    let given = loader(&[]).set("proxy.listen.port", "eighty", "--port");
    all += &told("--port eighty", "", given.parse(text, Format::Toml));
    snapshot("environment", all);
}

#[test]
fn of_mcp_json() {
    let cases = [
        ("a list", "[]"),
        ("no servers", "{ \"mcpServer\": {} }"),
        ("servers as a list", "{ \"servers\": [] }"),
        ("a server as text", "{ \"mcpServers\": { \"a\": \"npx\" } }"),
        (
            "neither command nor url",
            "{ \"mcpServers\": { \"a\": { \"args\": [] } } }",
        ),
        (
            "a URL of another transport",
            "{ \"mcpServers\": { \"a\": { \"type\": \"ws\", \"url\": \"https://e.example/mcp\" } } }",
        ),
        (
            "an unknown type",
            "{ \"mcpServers\": { \"a\": { \"type\": \"carrier-pigeon\", \"url\": \"https://e.example/\" } } }",
        ),
        (
            "types",
            "{ \"mcpServers\": { \"a\": { \"command\": 7, \"disabled\": \"no\" } } }",
        ),
        (
            "keys of another transport",
            "{ \"mcpServers\": {\n  \"a\": { \"command\": \"x\", \"headers\": {} } } }",
        ),
        (
            "an unset variable",
            "{ \"mcpServers\": {\n  \"a\": { \"command\": \"x\",\n    \"env\": { \"K\": \"${UNSET_VARIABLE}\" } } } }",
        ),
        (
            "a key twice",
            "{ \"mcpServers\": { \"a\": { \"command\": \"x\", \"command\": \"y\" } } }",
        ),
        (
            "a comma too many",
            "{ \"mcpServers\": { \"a\": { \"command\": \"x\", } } }",
        ),
        (
            "doubts",
            "{ \"mcpServers\": { \"a b\": { \"command\": \"x\", \"enviroment\": {} } } }",
        ),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join(".mcp.json");
    let each = cases.iter().map(|(title, text)| {
        std::fs::write(&file, text).expect("written");
        told(title, text, loader(&[]).load_mcp_json(&file))
    });
    let all = each.collect::<String>();
    snapshot("mcp_json", all.replace(&folder.path().display().to_string(), "FOLDER"));
}
