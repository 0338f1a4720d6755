//! Whatever a file holds, reading it ends in a configuration or in errors that name places inside the text.

use mcp_proxy::config::{Format, Place};
use mcp_proxy::plan::Plan;
use proptest::prelude::*;

use super::loader;

fn read(text: &str, format: Format) {
    let result = loader(&[("A", "1")])
        .parse(text, format)
        .and_then(|config| Plan::from_config(&config));
    let Err(errors) = result else { return };
    assert!(!errors.to_string().is_empty());
    for problem in errors.problems() {
        assert!(!problem.message.is_empty());
        if let Some(place @ Place::Text { source, span }) = &problem.place {
            assert!(span.start <= span.end && span.end <= source.text.len(), "{problem:?}");
            assert!(place.line_and_column().is_some());
        }
    }
}

/// Pieces of configurations, which random text hardly ever meets.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("[proxy]\n"),
        Just("[[backends]]\n"),
        Just("[backends]\n"),
        Just("name = \"a\"\n"),
        Just("name = 1\n"),
        Just("transport = \"stdio\"\n"),
        Just("transport = \"http\"\n"),
        Just("url = \"http://ü/${A}\"\n"),
        Just("proxy:\n"),
        Just("  name: x\n"),
        Just("backends:\n"),
        Just("  - name: é\n"),
        Just("    transport: [stdio, &a {b: *a}]\n"),
        Just("listen.port = 99999\n"),
        Just("listen = { port = -1, path = 'x' }\n"),
        Just("\"${\" = \"${A:-}\"\n"),
        Just("env = { \"a.b\" = 1, c = \"$${\" }\n"),
        Just("x = [[[{}]]]\n"),
        Just("{"),
        Just("\t"),
        Just("\r\n"),
        Just("'''"),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        read(&text, Format::Toml);
        read(&text, Format::Yaml);
    }

    #[test]
    fn any_mixture(text in pieces()) {
        read(&text, Format::Toml);
        read(&text, Format::Yaml);
    }

    #[test]
    fn any_servers(text in "[\\{\\}\\[\\]\":,a1\\\\ ]{0,60}") {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), format!("{{\"mcpServers\":{{{text}}}}}")).expect("written");
        let _ = loader(&[]).load_mcp_json(file.path());
        std::fs::write(file.path(), text).expect("written");
        let _ = loader(&[]).load_mcp_json(file.path());
    }
}

#[test]
fn depth_is_bounded() {
    for text in [
        format!("x = {}", "[".repeat(100_000)),
        format!("{} = 1", vec!["a"; 20_000].join(".")),
        format!("[{}]", vec!["a"; 20_000].join(".")),
        format!("x = {}1{}", "{a=".repeat(50_000), "}".repeat(50_000)),
    ] {
        assert!(loader(&[]).parse(&text, Format::Toml).is_err());
    }
    for text in [
        "- ".repeat(50_000),
        "[".repeat(50_000),
        "? ".repeat(50_000),
        "{a: ".repeat(50_000),
    ] {
        assert!(loader(&[]).parse(&text, Format::Yaml).is_err());
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    for text in ["[".repeat(200_000), "{\"mcpServers\":".repeat(50_000)] {
        std::fs::write(file.path(), text).expect("written");
        assert!(loader(&[]).load_mcp_json(file.path()).is_err());
    }
}

#[test]
#[cfg(feature = "yaml")]
fn aliases_cannot_fill_the_memory() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let alias = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(", "));
    }
    let errors = loader(&[]).parse(&text, Format::Yaml).expect_err("too much");
    assert!(errors.to_string().contains("aliases"), "{errors}");
}
