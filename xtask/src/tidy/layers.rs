//! Dependencies point down only, and siblings never know each other.
//!
//! ```text
//!    proxy-cli                                                        xtask, benches: free
//!        │
//!    proxy
//!        │
//!    proxy-transport  proxy-middleware  proxy-auth  proxy-discovery  proxy-admin  proxy-store
//!        │
//!    proxy-core                                                       proxy-test: for tests only
//! ```
//!
//! The compiler refuses circles but not a layer that reaches sideways; this does, while it is one line to take back.

use super::Finding;
use crate::workspace::{Internal, Package};

/// The height of a crate; a dependency must be lower.
fn height(folder: &str) -> Option<u8> {
    Some(match folder {
        "crates/proxy-core" => 0,
        // On its own line: it may know the core, and whoever uses it does so for tests.
        TEST => 1,
        "crates/proxy-transport"
        | "crates/proxy-middleware"
        | "crates/proxy-auth"
        | "crates/proxy-discovery"
        | "crates/proxy-admin"
        | "crates/proxy-store" => 2,
        "crates/proxy" => 3,
        "crates/proxy-cli" => 4,
        _ => return None,
    })
}

const TEST: &str = "crates/proxy-test";
const FREE: &[&str] = &["benches", "fuzz", "xtask"];

/// Looks at what each member takes from the others.
pub(super) fn check(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages
        .iter()
        .filter(|package| !FREE.contains(&package.folder.as_str()))
    {
        let at = format!("{}/Cargo.toml", package.folder);
        let Some(height) = height(&package.folder) else {
            findings.push(Finding {
                at,
                what: format!("nothing says where `{}` stands among the crates", package.name),
                mend: "give it a height in xtask/src/tidy/layers.rs and a place in ARCHITECTURE.md",
            });
            continue;
        };
        for internal in &package.internal {
            if let Some((what, mend)) = judge(height, internal) {
                findings.push(Finding {
                    at: at.clone(),
                    what: format!("`{}` {what} `{}`", package.name, internal.folder),
                    mend,
                });
            }
        }
    }
    findings
}

fn judge(from: u8, internal: &Internal) -> Option<(&'static str, &'static str)> {
    if internal.folder == TEST {
        return (!internal.dev).then_some((
            "ships with",
            "move it to [dev-dependencies]: what helps tests has no place in a release",
        ));
    }
    match height(&internal.folder) {
        Some(to) if to < from => None,
        Some(to) if to == from => Some((
            "reaches sideways to",
            "move what both need down into proxy-core, or let the facade bring the two together",
        )),
        Some(_) => Some((
            "reaches up to",
            "turn it round: take a trait of proxy-core that the upper crate implements",
        )),
        None => Some(("depends on", "crates know crates only, never xtask, benches or fuzz")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_one(from: &str, to: &str, dev: bool, expected: Option<&str>) {
        let package = Package {
            name: "p".into(),
            folder: from.into(),
            features: vec![],
            binaries: vec![],
            internal: vec![Internal { folder: to.into(), dev }],
        };
        let findings = check(&[package]);
        match expected {
            None => assert_eq!(findings, []),
            Some(words) => assert!(findings[0].what.contains(words), "{findings:?}"),
        }
    }

    #[test]
    fn down_is_fine() {
        check_one("crates/proxy-cli", "crates/proxy", false, None);
        check_one("crates/proxy-cli", "crates/proxy-core", false, None);
        check_one("crates/proxy", "crates/proxy-auth", false, None);
        check_one("crates/proxy-auth", "crates/proxy-core", false, None);
        check_one("crates/proxy-test", "crates/proxy-core", false, None);
    }

    #[test]
    fn up_and_sideways_are_not() {
        check_one("crates/proxy-core", "crates/proxy", false, Some("reaches up"));
        check_one("crates/proxy-auth", "crates/proxy-store", false, Some("sideways"));
        check_one("crates/proxy-auth", "crates/proxy-store", true, Some("sideways"));
        check_one("crates/proxy", "xtask", true, Some("depends on"));
    }

    #[test]
    fn test_support_is_for_tests() {
        check_one("crates/proxy-core", "crates/proxy-test", true, None);
        check_one("crates/proxy-cli", "crates/proxy-test", true, None);
        check_one("crates/proxy-cli", "crates/proxy-test", false, Some("ships with"));
        check_one("benches", "crates/proxy-test", false, None);
    }

    #[test]
    fn a_new_crate_needs_a_place() {
        check_one(
            "crates/proxy-new",
            "crates/proxy-core",
            false,
            Some("nothing says where"),
        );
    }
}
