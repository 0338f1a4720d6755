//! Tasks: which tools' calls can be one, and the public form of a task's id.
//!
//! Requests about a task name nothing but its id, so the id says whose it is: `<backend>.<the backend's own id>`. A
//! backend's name holds no dot.

use crate::json::RawJson;

/// What a tool says of being called as a task (2025-11-25, `execution.taskSupport`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskSupport {
    /// Never as a task.
    Forbidden,
    /// Either way.
    Optional,
    /// Only as a task.
    Required,
}

impl TaskSupport {
    /// Reads a definition; `None` when it is silent. A word that is none of the three forbids.
    pub(super) fn of(definition: &RawJson) -> Option<Self> {
        let word = definition.get("execution")?.get("taskSupport")?;
        Some(match word.string().as_deref() {
            Some("optional") => Self::Optional,
            Some("required") => Self::Required,
            _ => Self::Forbidden,
        })
    }
}

/// The public form of a backend's task id.
pub fn public_task_id(backend: &str, local: &str) -> String {
    format!("{backend}.{local}")
}

/// The backend's name and its own id behind a public one.
pub(super) fn split(public: &str) -> Option<(&str, &str)> {
    public.split_once('.')
}
