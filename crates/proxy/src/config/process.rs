//! `[performance]` and `[observability]`: what concerns the process rather than what it serves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the process uses the machine.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PerformanceSection {
    /// Threads that carry calls. Default: one for each core. Threads that the load does not need make calls dearer.
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<usize>,
}

/// What the process tells of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ObservabilitySection {
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace` or `off`, also for parts, as in
    /// `info,mcp_proxy_transport=debug`. The environment variable `RUST_LOG` wins.
    pub log_level: String,
    /// Whether each log line is a JSON object.
    pub json_logs: bool,
}

impl Default for ObservabilitySection {
    fn default() -> Self {
        Self {
            log_level: "info".into(),
            json_logs: false,
        }
    }
}
