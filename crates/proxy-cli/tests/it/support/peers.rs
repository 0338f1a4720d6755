//! Where the real clients and servers are, and what to say when they are not.
//!
//! `cargo xtask peers` installs them and writes down what there is in `target/peers/peers.json`: for each program the words
//! that start it, and the folder of what came from npm.

use std::env;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// One thing that can be installed, or fail to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    /// What comes from npm.
    Node,
    /// Python with the SDK 2.x and the Python servers.
    Python,
    /// Python with the SDK 1.x.
    PythonV1,
}

/// The installed peers.
#[derive(Clone)]
pub(crate) struct Peers {
    inventory: Value,
}

impl Peers {
    /// The peers, if these parts are all there.
    ///
    /// `None` means that the caller must return: the test run knows that some peers could not be got, and says so at its end.
    ///
    /// # Panics
    /// When a part is missing and nobody has said that this is known.
    pub(crate) fn with(parts: &[Part]) -> Option<Self> {
        let file = super::fixture::target().join("peers/peers.json");
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let peers = Self {
            inventory: serde_json::from_str(&text).unwrap_or_default(),
        };
        let missing: Vec<Part> = parts.iter().copied().filter(|part| !peers.has(*part)).collect();
        if missing.is_empty() {
            return Some(peers);
        }
        let file = file.display();
        assert!(
            env::var_os("MCP_PROXY_PEERS_MISSING_OK").is_some_and(|value| value == "1"),
            "this test needs {missing:?}, of which {file} says nothing: run `cargo xtask peers`"
        );
        eprintln!("skipped: {missing:?} is not in {file}");
        None
    }

    /// The words that start a program, with these arguments.
    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Vec<String> {
        let words = self.words(program);
        assert!(!words.is_empty(), "{program} is not installed: run `cargo xtask peers`");
        words
            .into_iter()
            .chain(args.iter().map(|arg| (*arg).to_owned()))
            .collect()
    }

    /// `server-everything`, speaking what `mode` names.
    pub(crate) fn everything(&self, mode: &str) -> Vec<String> {
        self.command("mcp-server-everything", &[mode])
    }

    /// The interpreter of one part: Node or Python.
    pub(crate) fn interpreter(&self, part: Part) -> PathBuf {
        self.command(part.interpreter(), &[]).swap_remove(0).into()
    }

    /// The folder in which `node_modules` lies.
    pub(crate) fn node_folder(&self) -> PathBuf {
        let modules = Path::new(self.inventory["node_modules"].as_str().unwrap_or_default());
        modules.parent().map(Path::to_owned).unwrap_or_default()
    }

    fn words(&self, program: &str) -> Vec<String> {
        let words = self.inventory["programs"][program]["command"].as_array();
        words
            .into_iter()
            .flatten()
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect()
    }

    /// Whether the interpreter of a part is really there: an inventory may be older than what it lists.
    fn has(&self, part: Part) -> bool {
        self.words(part.interpreter())
            .first()
            .is_some_and(|word| Path::new(word).exists())
    }
}

impl Part {
    fn interpreter(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Python => "python",
            Self::PythonV1 => "python-v1",
        }
    }
}
