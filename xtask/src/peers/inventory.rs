//! What is there and what is missing, for people and for the tests.
//!
//! The tests read `target/peers/peers.json`:
//!
//! ```json
//! {
//!   "format": 1,
//!   "complete": false,
//!   "node_modules": "/…/node/node_modules",
//!   "parts": {"py": {"folder": "/…/py", "lock": "af63bd4c8601b7df"}},
//!   "programs": {"mcp-server-time": {"package": "mcp-server-time", "command": ["/…/py/bin/mcp-server-time"]}},
//!   "missing": {"conformance": {"package": "@modelcontextprotocol/conformance", "why": "npm is not on PATH; …"}}
//! }
//! ```
//!
//! `command` is what to start, its own arguments follow; for a module it is the interpreter that can import it. A script for
//! Node finds the modules when a link named `node_modules` to the folder of that name lies beside it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::node;
use super::part::{Found, Tried};

/// What became of every part.
pub(crate) struct Inventory {
    parts: Vec<Found>,
}

impl Inventory {
    pub(crate) fn new(parts: Vec<Found>) -> Self {
        Self { parts }
    }

    /// Whether nothing is missing.
    pub(crate) fn complete(&self) -> bool {
        self.missing().next().is_none()
    }

    /// The programs that can be used.
    pub(crate) fn present(&self) -> impl Iterator<Item = &Tried> {
        self.tried().filter(|program| program.command.is_ok())
    }

    /// The programs that cannot be used, each with the reason.
    pub(crate) fn missing(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tried()
            .filter_map(|program| Some((program.name, program.command.as_ref().err()?.as_str())))
    }

    fn tried(&self) -> impl Iterator<Item = &Tried> {
        self.parts.iter().flat_map(|part| &part.programs)
    }

    /// The list for people.
    pub(crate) fn print(&self) {
        for program in self.tried() {
            match &program.command {
                Ok(_) => println!("  there    {:24} {}", program.name, program.package),
                Err(why) => println!("  MISSING  {:24} {}: {why}", program.name, program.package),
            }
        }
    }

    /// The text of the file for the tests.
    pub(crate) fn to_json(&self) -> String {
        let mut parts = Map::new();
        let (mut programs, mut missing) = (Map::new(), Map::new());
        let mut modules = Value::Null;
        for part in &self.parts {
            parts.insert(part.name.into(), json!({"folder": part.folder, "lock": part.hash}));
            if node::modules(&part.folder).is_dir() {
                modules = json!(node::modules(&part.folder));
            }
            for program in &part.programs {
                match &program.command {
                    Ok(command) => programs.insert(
                        program.name.into(),
                        json!({"package": program.package, "command": command}),
                    ),
                    Err(why) => missing.insert(program.name.into(), json!({"package": program.package, "why": why})),
                };
            }
        }
        let all = json!({
            "format": 1,
            "complete": self.complete(),
            "node_modules": modules,
            "parts": parts,
            "programs": programs,
            "missing": missing,
        });
        format!("{all:#}")
    }

    /// Writes the file for the tests.
    ///
    /// # Errors
    /// When that is not possible.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        // In one go: a test that reads meanwhile sees the old file or the new one.
        let new = path.with_extension("json.new");
        fs::write(&new, self.to_json()).with_context(|| format!("cannot write {}", new.display()))?;
        fs::rename(&new, path).with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_its_reason() {
        let inventory = Inventory::new(vec![Found {
            name: "py",
            folder: "/p/py".into(),
            hash: "0".into(),
            programs: vec![
                Tried {
                    name: "here",
                    package: "here-package",
                    command: Ok(vec!["/p/py/bin/here".into()]),
                },
                Tried {
                    name: "gone",
                    package: "gone-package",
                    command: Err("no network".into()),
                },
            ],
        }]);
        assert!(!inventory.complete());
        assert_eq!(inventory.missing().collect::<Vec<_>>(), [("gone", "no network")]);
        let json: Value = serde_json::from_str(&inventory.to_json()).expect("it is JSON");
        assert_eq!(json["programs"]["here"]["command"][0], "/p/py/bin/here");
        assert_eq!(json["missing"]["gone"]["why"], "no network");
        assert_eq!(json["complete"], false);
        assert_eq!(json["node_modules"], Value::Null);
    }
}
