//! What the manifests of the members must say: lints and package data are inherited, and the version of a dependency stands
//! in the root manifest and nowhere else.

use toml::{Table, Value};

use super::{Finding, Text};

/// The package data that every member inherits.
const INHERITED: &[&str] = &[
    "version",
    "edition",
    "rust-version",
    "license",
    "categories",
    "keywords",
];

/// Not a member of the workspace, since cargo-fuzz needs flags of its own.
const OUTSIDE: &str = "fuzz/Cargo.toml";

/// Looks at every `Cargo.toml` but the root's.
pub(super) fn check(texts: &[Text]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for text in texts {
        if text.path.ends_with("/Cargo.toml") && text.path != OUTSIDE {
            check_one(text, &mut findings);
        }
    }
    findings
}

fn check_one(text: &Text, findings: &mut Vec<Finding>) {
    let mut find = |what: String, mend| {
        findings.push(Finding {
            at: text.path.clone(),
            what,
            mend,
        });
    };
    let manifest: Table = match text.body.parse() {
        Ok(manifest) => manifest,
        Err(error) => return find(format!("is not TOML: {}", error.message()), "cargo check says where"),
    };
    let package = table(&manifest, "package");
    if package.is_some() && !inherits(table(&manifest, "lints")) {
        find(
            "does not take the lints of the workspace".into(),
            "add the lines `[lints]` and `workspace = true`",
        );
    }
    for key in INHERITED {
        if let Some(package) = package
            && !inherits(package.get(*key).and_then(Value::as_table))
        {
            find(
                format!("says its own `{key}`, or none"),
                "write `KEY.workspace = true`; the value stands once, in the root manifest",
            );
        }
    }
    for (name, dependency) in dependencies(&manifest) {
        let own_path = dependency.get("path").is_some() && dependency.get("version").is_none();
        if !inherits(dependency.as_table()) && !own_path {
            find(
                format!("gives the dependency `{name}` a version of its own"),
                "put the version into [workspace.dependencies] of the root and write `NAME.workspace = true` here",
            );
        }
    }
}

/// All dependencies of a manifest, those for one platform included.
fn dependencies(manifest: &Table) -> Vec<(&String, &Value)> {
    const KINDS: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];
    let platforms = table(manifest, "target")
        .into_iter()
        .flat_map(|targets| targets.values().filter_map(Value::as_table));
    std::iter::once(manifest)
        .chain(platforms)
        .flat_map(|section| KINDS.iter().filter_map(|kind| table(section, kind)))
        .flatten()
        .collect()
}

fn table<'a>(table: &'a Table, key: &str) -> Option<&'a Table> {
    table.get(key)?.as_table()
}

fn inherits(table: Option<&Table>) -> bool {
    table.is_some_and(|table| table.get("workspace") == Some(&Value::Boolean(true)))
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::*;

    fn findings(rest: &str) -> Vec<String> {
        let package: String = INHERITED
            .iter()
            .map(|key| format!("{key}.workspace = true\n"))
            .collect();
        let body = format!("[package]\nname = 'p'\n{package}{rest}");
        check(&[text("crates/p/Cargo.toml", &body)])
            .into_iter()
            .map(|finding| finding.what)
            .collect()
    }

    #[test]
    fn a_good_manifest_passes() {
        let rest = "[lints]\nworkspace = true\n[dependencies]\na.workspace = true\nb = { workspace = true, features = ['c'] }\n\
                    [dev-dependencies]\nd = { path = '../d' }\n[target.'cfg(unix)'.dependencies]\ne.workspace = true";
        assert_eq!(findings(rest), Vec::<String>::new());
    }

    #[test]
    fn a_version_belongs_into_the_root() {
        for place in [
            "dependencies",
            "dev-dependencies",
            "target.'cfg(unix)'.build-dependencies",
        ] {
            for value in [
                "'1'",
                "{ version = '1' }",
                "{ path = '../a', version = '1' }",
                "{ git = 'g' }",
            ] {
                let found = findings(&format!("[lints]\nworkspace = true\n[{place}]\na = {value}"));
                assert!(
                    found.iter().any(|what| what.contains("`a`")),
                    "{place} {value}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn lints_and_package_data_are_inherited() {
        assert!(findings("")[0].contains("lints"));
        let found = check(&[text("xtask/Cargo.toml", "[package]\nname = 'x'\nversion = '1.0.0'\n")]);
        assert_eq!(found.len(), 1 + INHERITED.len());
    }

    #[test]
    fn a_manifest_that_does_not_parse_is_found_and_no_panic() {
        assert!(
            check(&[text("crates/p/Cargo.toml", "[package")])[0]
                .what
                .contains("is not TOML")
        );
    }
}
