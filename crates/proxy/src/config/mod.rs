//! The configuration: what was written, by whom and where.
//!
//! ```text
//!   TOML ─┐
//!   YAML ─┼─ text ─► tree with places ─┐
//!   JSON ─┘                            ├─ layered (figment) ─► `${…}` filled in ─► imports added
//!   environment, command line ─────────┘                                               │
//!                                         ProxyConfig ◄─ read ◄─ checked against the schema
//! ```
//!
//! A [`ProxyConfig`] is what was written, with the place of every value; [`Plan`](crate::plan::Plan) is what will run. All
//! problems of a file come out together, as data ([`ConfigErrors`]). Each section is a type beside its documentation, and
//! schema, reference page and checks are generated from these types.

mod backend;
mod check;
pub(crate) mod document;
mod interpolate;
mod json_text;
mod load;
mod mcp_json;
mod problem;
mod process;
mod proxy;
mod schema;
mod slip;
mod toml_text;
#[cfg(feature = "yaml")]
mod yaml_text;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use backend::{BackendSection, BackendTlsSection, Sharing, Transport};
pub(crate) use check::{list, nearest, shortened};
pub use load::{Environment, Loader};
pub(crate) use problem::sort;
pub use problem::{ConfigErrors, Place, Problem, SourceText};
pub use process::{ObservabilitySection, PerformanceSection};
pub use proxy::{ListenSection, ListenTlsSection, ProxySection, SessionSection};
pub use schema::{reference, schema};

/// A configuration as it was written.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["proxy"]))]
pub struct ProxyConfig {
    /// The proxy itself.
    pub proxy: ProxySection,
    /// The MCP servers behind it, in the order in which clients see them.
    pub backends: Vec<BackendSection>,
    /// How the process uses the machine.
    pub performance: PerformanceSection,
    /// What the process tells of itself.
    pub observability: ObservabilitySection,
    /// Where everything was written; nothing for a configuration that was built in code.
    #[serde(skip)]
    pub(crate) origin: Origin,
}

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) places: Arc<document::Places>,
    /// The folder in which relative paths start.
    pub(crate) folder: PathBuf,
    pub(crate) warnings: Vec<Problem>,
}

impl ProxyConfig {
    /// Reads a TOML or YAML file, `MCP_PROXY__…` variables on top.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        Loader::new().load(path)
    }

    /// Reads a text, `MCP_PROXY__…` variables on top.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, format: Format) -> Result<Self, ConfigErrors> {
        Loader::new().parse(text, format)
    }

    /// Reads a `.mcp.json` as the whole configuration: named after its folder, on `127.0.0.1:8080`, with the separator `__`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_mcp_json(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        Loader::new().load_mcp_json(path)
    }
}

/// How a configuration is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// TOML.
    Toml,
    /// YAML; needs the feature `yaml`.
    Yaml,
}

impl Format {
    /// The format of a file, by the ending of its name: YAML for `.yaml` and `.yml`, otherwise TOML.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some(ending) if ending.eq_ignore_ascii_case("yaml") || ending.eq_ignore_ascii_case("yml") => Self::Yaml,
            _ => Self::Toml,
        }
    }
}
