//! Tasks: which tools' calls can be one, and the public form of a task's id.
//!
//! Requests about a task name nothing but its id, so the id says whose it is: `<backend>.<the backend's own id>`. A
//! backend's name holds no dot.

use crate::Method;
use crate::json::{Params, Path, RawJson, Slot};

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

/// A result with the task ids in it made public. `method` is that of the call, which is about a task or may have become
/// one.
pub fn localise_task_result(method: &Method, result: RawJson, backend: &str) -> RawJson {
    const RELATED: &Path = &["_meta", RELATED_TASK, "taskId"];
    let paths: &[&Path] = match method {
        // Until 2025-11-25 a member of its own, then the result itself.
        Method::ToolsCall if is_task(&result) => &[&["taskId"], RELATED],
        Method::ToolsCall => &[&["task", "taskId"], RELATED],
        Method::TasksGet | Method::TasksCancel | Method::TasksUpdate => &[&["taskId"], RELATED],
        Method::TasksResult => &[RELATED],
        _ => return result,
    };
    result.map_strings(paths, |id| Some(public_task_id(backend, id)))
}

/// The backend's own id of the task that a call has become (2025-11-25).
pub fn created_task(result: &RawJson) -> Option<String> {
    let id = result.get("task")?.get("taskId")?;
    id.string().map(Into::into)
}

/// Makes the task id of a notification about a task public; gives the backend's own.
pub fn localise_task_status(params: &mut Params, backend: &str) -> Option<String> {
    let id = params.string(Slot::TaskId)?.into_owned();
    params.set_string(Slot::TaskId, &public_task_id(backend, &id));
    localise_related_task(params, backend);
    Some(id)
}

/// Makes the id of the task that a message says it belongs to public (2025-11-25).
pub fn localise_related_task(params: &mut Params, backend: &str) {
    if let Some(related) = params.meta(RELATED_TASK)
        && let Some(id) = related
            .get("taskId")
            .and_then(|id| id.string().map(Into::<String>::into))
    {
        let public = RawJson::encode(&public_task_id(backend, &id));
        params.add_meta(&[(RELATED_TASK, &related.with("taskId", &public))]);
    }
}

/// A result without the mention of the task that it comes from.
#[must_use]
pub fn without_related_task(result: &RawJson) -> RawJson {
    match result.get("_meta") {
        None => result.clone(),
        Some(meta) => {
            let rest = meta.without(&[RELATED_TASK]);
            if rest == meta {
                result.clone()
            } else if rest.members().is_empty() {
                result.without(&["_meta"])
            } else {
                result.with("_meta", &rest)
            }
        }
    }
}

fn is_task(result: &RawJson) -> bool {
    result
        .get("resultType")
        .is_some_and(|kind| kind.string().as_deref() == Some("task"))
}

/// The member of `_meta` that names a message's task.
const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";

/// The backend's name and its own id behind a public one.
pub(super) fn split(public: &str) -> Option<(&str, &str)> {
    public.split_once('.')
}
