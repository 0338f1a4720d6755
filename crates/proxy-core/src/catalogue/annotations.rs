//! A tool's own hints about what it does.

use serde::Deserialize;

use crate::json::RawJson;

/// Hints of a tool about itself, with the specification's defaults where one is missing: not read-only, destructive, not
/// idempotent, open to the world. The specification calls them untrusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Annotations {
    /// It changes nothing.
    pub read_only: bool,
    /// It may destroy something; never true of a read-only tool.
    pub destructive: bool,
    /// Running it twice is the same as once.
    pub idempotent: bool,
    /// It reaches beyond the backend.
    pub open_world: bool,
}

impl Default for Annotations {
    fn default() -> Self {
        Self {
            read_only: false,
            destructive: true,
            idempotent: false,
            open_world: true,
        }
    }
}

impl Annotations {
    /// Reads the `annotations` of a definition; hints of the wrong type count as missing.
    pub(crate) fn of(definition: &RawJson) -> Self {
        #[derive(Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Hints {
            read_only_hint: Option<serde_json::Value>,
            destructive_hint: Option<serde_json::Value>,
            idempotent_hint: Option<serde_json::Value>,
            open_world_hint: Option<serde_json::Value>,
        }
        let Some(hints) = definition.get("annotations").and_then(|raw| raw.decode::<Hints>().ok()) else {
            return Self::default();
        };
        let flag = |hint: Option<serde_json::Value>, default| hint.and_then(|hint| hint.as_bool()).unwrap_or(default);
        let read_only = flag(hints.read_only_hint, false);
        Self {
            read_only,
            destructive: !read_only && flag(hints.destructive_hint, true),
            idempotent: flag(hints.idempotent_hint, false),
            open_world: flag(hints.open_world_hint, true),
        }
    }
}
