//! What people read: the help texts and the rendered mistakes.

use clap::CommandFactory;
use mcp_proxy::config::{Environment, Format, Loader};
use mcp_proxy::plan::Plan;

use crate::args::Cli;
use crate::report::{Weight, errors, problems};

fn snapshot(name: &str, text: &str) {
    insta::assert_snapshot!(name, text);
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn help() {
    let mut command = Cli::command().term_width(100);
    snapshot("help", &command.render_help().to_string());
    command.build();
    for name in ["check", "list", "call", "init"] {
        let inner = command.find_subcommand_mut(name).expect("a subcommand");
        let text = inner.clone().term_width(100).render_help().to_string();
        snapshot(&format!("help-{name}"), &text);
    }
}

#[test]
fn mistakes_are_shown_with_their_lines() {
    let text = r#"
[proxy]
name = "p"
seperator = "__"

[[backends]]
name = "a"
transport = "http"
url = "ftp://example.com/?key=s3cr3t"
headers = { Host = "s3cr3t" }
bearer_tokn = "s3cr3t"
tls = { "ça" = "s3cr3t", retries = 3, lazy = true, x = 's3cr3t==' }
"#;
    let loader = Loader::new().environment(Environment::Fixed(Default::default()));
    let found = loader.parse(text, Format::Toml).expect_err("mistakes");
    assert_eq!(found.problems().len(), 8, "{found}");
    let shown = errors(&found, false);
    assert!(!shown.contains("s3cr3t"), "{shown}");
    snapshot("mistakes", &shown);
}

#[test]
fn doubts_are_shown_with_their_lines() {
    let text = "[proxy]\nname = \"p\"\nlisten.host = \"0.0.0.0\"\n";
    let loader = Loader::new().environment(Environment::Fixed(Default::default()));
    let config = loader.parse(text, Format::Toml).expect("good");
    let plan = Plan::from_config(&config).expect("good");
    snapshot("doubts", &problems(&plan.warnings, Weight::Warning, false));
}

#[test]
fn what_a_server_says_cannot_steer_the_terminal() {
    use crate::output::{clean, first_line};
    assert_eq!(clean("a\x1b[2Jb\u{202e}c\n\td"), "a\u{fffd}[2Jb\u{fffd}c\n\td");
    assert_eq!(first_line("  one\ntwo"), "one");
    assert_eq!(first_line(&"ü".repeat(200)).chars().count(), 101);
}
