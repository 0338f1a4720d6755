//! The command line, run as a user would: exit codes, what stands on stdout and what on stderr.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{Config, ProxyUnderTest, binary, fixture_command};

/// What a finished command left.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Said {
    /// Stdout as one JSON value.
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in {:?}, {}", self.stdout, self.stderr))
    }

    fn expect(&self, code: i32) -> &Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }
}

/// Runs the binary in a folder.
async fn run(folder: &Path, words: &[&str]) -> Said {
    let command = binary().args(words).current_dir(folder).stdin(Stdio::null()).output();
    let output = tokio::time::timeout(Duration::from_secs(60), command).await;
    let output = output
        .unwrap_or_else(|_| panic!("{words:?} ends"))
        .expect("mcp-proxy starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Said {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("a file is written");
    }
    folder
}

const DEMO: &str = "[proxy]\nname = \"demo\"\n\n[[backends]]\nname = \"demo\"\ntransport = \"builtin\"\n";

#[tokio::test]
async fn help_version_and_mistakes_in_usage() {
    let folder = folder(&[]);
    let version = run(folder.path(), &["--version"]).await;
    assert_eq!(
        version.expect(0).stdout.trim(),
        format!("mcp-proxy {}", env!("CARGO_PKG_VERSION"))
    );
    let help = run(folder.path(), &["--help"]).await;
    for word in [
        "--config",
        "--check",
        "--from-mcp-json",
        "--import-mcp-json",
        "serve",
        "stdio",
        "check",
        "list",
        "call",
        "schema",
        "completions",
        "init",
    ] {
        assert!(help.expect(0).stdout.contains(word), "{word} in {}", help.stdout);
    }
    for words in [
        &["--nonsense"][..],
        &["nonsense"],
        &["call"],
        &["completions", "nonsense"],
    ] {
        let said = run(folder.path(), words).await;
        assert!(!said.expect(2).stderr.is_empty(), "{words:?}");
    }
    let completions = run(folder.path(), &["completions", "bash"]).await;
    assert!(completions.expect(0).stdout.contains("mcp-proxy"));
}

#[tokio::test]
async fn a_good_file_is_checked_without_connecting_anywhere() {
    let unreachable =
        format!("{DEMO}\n[[backends]]\nname = \"far\"\ntransport = \"http\"\nurl = \"http://127.0.0.1:1/mcp\"\n");
    let folder = folder(&[("proxy.toml", &unreachable)]);
    // `proxy.toml` is the default.
    for words in [
        &["check"][..],
        &["--check"],
        &["--check", "--config", "proxy.toml"],
        &["--config", "proxy.toml", "check"],
    ] {
        run(folder.path(), words).await.expect(0);
    }
    let said = run(folder.path(), &["check", "--json"]).await;
    assert!(said.expect(0).json().is_object(), "{}", said.stdout);
}

#[tokio::test]
async fn a_bad_file_is_explained_whole_and_nothing_starts() {
    let bad = "[proxy]\nname = \"x\"\nseperator = \"__\"\n\n[proxy.listen]\nport = \"high\"\n\n[[backends]]\nname = \"a\"\ntransport = \"stdio\"\n\n\
               [[backends]]\nname = \"a\"\ntransport = \"http\"\nurl = \"${UNSET_FOR_THIS_TEST}\"\n";
    let folder = folder(&[("proxy.toml", bad)]);
    for words in [&["check"][..], &["--check"], &["serve"], &[]] {
        let said = run(folder.path(), words).await;
        said.expect(1);
        for part in [
            "proxy.toml",
            "seperator",
            "separator",
            "port",
            "command",
            "UNSET_FOR_THIS_TEST",
        ] {
            assert!(said.stderr.contains(part), "{words:?}: {part} in {}", said.stderr);
        }
        assert!(
            said.stderr.contains(":3") || said.stderr.contains("line 3"),
            "a line in {}",
            said.stderr
        );
    }
    let missing = run(folder.path(), &["--config", "nowhere.toml"]).await;
    assert!(missing.expect(1).stderr.contains("nowhere.toml"));
}

#[tokio::test]
async fn the_schema_is_printed() {
    let said = run(folder(&[]).path(), &["schema"]).await;
    let schema = said.expect(0).json();
    for section in ["proxy", "backends"] {
        assert!(schema["properties"].get(section).is_some(), "{section}");
    }
}

#[tokio::test]
async fn the_first_file_of_a_user_passes_the_check_and_runs() {
    let folder = folder(&[]);
    let file = folder.path().join("proxy.toml");
    run(folder.path(), &["init"]).await.expect(0);
    run(folder.path(), &["check"]).await.expect(0);
    // What is there is not overwritten unasked.
    let before = std::fs::read_to_string(&file).expect("a file");
    run(folder.path(), &["init", "--name", "other"]).await.expect(1);
    assert_eq!(before, std::fs::read_to_string(&file).expect("a file"));

    let fixture = format!("fixture={}", fixture_command("init").await.join(" "));
    run(
        folder.path(),
        &["init", "--force", "--name", "mine", "--stdio", &fixture],
    )
    .await
    .expect(0);
    let proxy = start(folder, &["serve"]).await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    assert_eq!(proxy.session().await.welcome["serverInfo"]["name"], "mine");
}

#[tokio::test]
async fn the_quick_start_runs_with_nothing_else_installed() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/quickstart.toml");
    let proxy = start(
        tempfile::tempdir().expect("a folder"),
        &["--config", example.to_str().expect("UTF-8")],
    )
    .await;
    // Any tool will do.
    proxy.wait_for_tools_of(&[""]).await;
    let session = proxy.session().await;
    let tools = session.list("tools/list", "tools").await.expect("a list");

    let here = tempfile::tempdir().expect("a folder");
    let listed = run(here.path(), &["list", &proxy.url(), "--json"]).await;
    let listed = listed.expect(0).json();
    let names = |list: &Value| -> Vec<String> {
        let list = list.as_array().cloned().unwrap_or_default();
        list.iter()
            .filter_map(|tool| tool["name"].as_str().map(str::to_owned))
            .collect()
    };
    assert_eq!(names(&listed["tools"]), names(&json!(tools)), "{listed}");
    let said = run(here.path(), &["list", &proxy.url()]).await;
    assert!(
        said.expect(0).stdout.contains(&names(&listed["tools"])[0]),
        "{}",
        said.stdout
    );
}

#[tokio::test]
async fn tools_are_called_through_a_proxy_and_straight() {
    let proxy = Config::new()
        .stdio("fixture", &fixture_command("fixture").await, &[], "")
        .start()
        .await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let here = tempfile::tempdir().expect("a folder");
    let url = proxy.url();
    let args = r#"{"text":"grüße","n":3}"#;
    let said = run(here.path(), &["call", &url, "fixture__echo", "--args", args, "--json"]).await;
    let result = said.expect(0).json();
    assert_eq!(
        result["structuredContent"],
        json!({ "text": "grüße", "n": 3 }),
        "{result}"
    );
    let said = run(here.path(), &["call", &url, "fixture__echo", "text=hello"]).await;
    assert!(said.expect(0).stdout.contains("hello"), "{}", said.stdout);
    // A tool that says no, an unknown one, and nobody there: all are failures.
    for words in [
        &["call", &url, "fixture__test_error_handling"][..],
        &["call", &url, "fixture__nowhere"],
        &["call", "http://127.0.0.1:1/mcp", "echo"],
        &["list", "http://127.0.0.1:1/mcp"],
    ] {
        let said = run(here.path(), words).await;
        assert!(
            !said.expect(1).stderr.is_empty() || !said.stdout.is_empty(),
            "{words:?}"
        );
    }
}

#[tokio::test]
async fn a_file_of_another_client_is_enough() {
    let fixture = fixture_command("imported").await;
    let (command, args) = fixture.split_first().expect("a program");
    let servers = json!({ "mcpServers": {
        "fixture": { "command": command, "args": args },
        "off": { "command": "/nonexistent/program", "disabled": true },
    } });
    let folder = folder(&[(".mcp.json", &servers.to_string()), ("proxy.toml", DEMO)]);
    let name = folder
        .path()
        .file_name()
        .and_then(|name| name.to_str())
        .map(str::to_owned);
    let proxy = start(folder, &["--from-mcp-json", ".mcp.json"]).await;
    proxy.wait_for_tools_of(&["fixture__"]).await;
    let session = proxy.session().await;
    session.call("fixture__echo", json!({})).await.expect("an answer");
    assert_eq!(session.welcome["serverInfo"]["name"].as_str(), name.as_deref());
}

#[tokio::test]
async fn servers_of_another_client_are_added_to_a_file() {
    let fixture = fixture_command("imported").await;
    let (command, args) = fixture.split_first().expect("a program");
    let servers = json!({ "servers": { "fixture": { "command": command, "args": args, "type": "stdio" } } });
    let folder = folder(&[("other.json", &servers.to_string()), ("proxy.toml", DEMO)]);
    let proxy = start(folder, &["--import-mcp-json", "other.json"]).await;
    proxy.wait_for_tools_of(&["fixture/", "demo/"]).await;
}

/// Starts a proxy with words of one's own; port and log format come from the environment, which wins over files.
async fn start(folder: tempfile::TempDir, words: &[&str]) -> ProxyUnderTest {
    let words: Vec<PathBuf> = words.iter().map(PathBuf::from).collect();
    let words: Vec<&Path> = words.iter().map(PathBuf::as_path).collect();
    ProxyUnderTest::start(folder, &words, Config::new().mark()).await
}
