//! Every file in `examples/` loads and is worth running.

use std::path::Path;

use mcp_proxy::plan::Plan;

use super::loader;

/// The files of the folder; a file that is not in this list fails the test.
const EXAMPLES: &[&str] = &[
    "desktop.toml",
    "developer-local.toml",
    "gateway.toml",
    "quickstart.toml",
];

#[test]
fn every_example_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut found: Vec<String> = std::fs::read_dir(&folder)
        .expect("the folder of examples")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| [".toml", ".yaml", ".json"].iter().any(|ending| name.ends_with(ending)))
        .collect();
    found.sort();
    assert_eq!(found, EXAMPLES, "name each example in this test");
    for name in EXAMPLES {
        let config = loader(&[])
            .load(folder.join(name))
            .unwrap_or_else(|errors| panic!("{errors}"));
        let plan = Plan::from_config(&config).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(!plan.backends.is_empty(), "{name} has backends");
        assert_eq!(plan.warnings, [], "{name} raises no doubts");
    }
}
