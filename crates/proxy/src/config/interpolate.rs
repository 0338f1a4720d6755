//! `${…}` inside strings: variables of the environment and files with secrets.
//!
//! | Written | Means |
//! |---|---|
//! | `${NAME}`, `${env:NAME}` | the variable; an error when it is not set |
//! | `${NAME:-text}` | the variable, or the text when it is not set or empty |
//! | `${file:PATH}` | what the file says, without the line end; relative to the configuration's folder |
//! | `$${` | the characters `${` |

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::load::Environment;

/// Largest file that `${file:…}` reads, in bytes. Keys and tokens are far smaller.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Why a text cannot be completed: what is wrong, and how to mend it.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) remedy: String,
}

/// The text with everything filled in; `None` when there was nothing to fill in.
///
/// # Errors
/// The first reference that leads nowhere.
pub(crate) fn interpolate(text: &str, environment: &Environment, folder: &Path) -> Result<Option<String>, Refusal> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, reference) = rest.split_at(at);
        let reference = &reference[2..];
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = reference;
            continue;
        }
        out.push_str(before);
        let Some((inside, after)) = reference.split_once('}') else {
            return Err(refusal(
                "`${` is never closed",
                "add `}`, or write `$${` for the characters themselves",
            ));
        };
        out.push_str(&resolve(inside, environment, folder)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(Some(out))
}

fn resolve(inside: &str, environment: &Environment, folder: &Path) -> Result<String, Refusal> {
    if let Some(path) = inside.strip_prefix("file:") {
        return read(&folder.join(path), path);
    }
    // How some clients write it in their `.mcp.json`.
    let inside = inside.strip_prefix("env:").unwrap_or(inside);
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let valid = !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !valid {
        return Err(refusal(
            format!("`${{{inside}}}` does not name an environment variable"),
            "write `${NAME}`, `${NAME:-default}`, `${file:PATH}`, or `$${` for the characters themselves",
        ));
    }
    match (environment.get(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(refusal(
            format!("the environment variable `{name}` is not set"),
            format!("set {name}, or write `${{{name}:-default}}`"),
        )),
    }
}

fn read(path: &Path, written: &str) -> Result<String, Refusal> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(refusal(
            format!("cannot read the file `{written}`: {}", reason(&error)),
            "name a readable text file; the path is relative to the folder of this file",
        )),
        Ok(read) if read as u64 > MAX_FILE_BYTES => Err(refusal(
            format!("the file `{written}` is larger than {MAX_FILE_BYTES} bytes"),
            "name a file that holds only the secret",
        )),
        Ok(_) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
    }
}

/// What the system said, in words that are the same on every system.
pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "it does not exist".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::IsADirectory => "it is a folder".into(),
        std::io::ErrorKind::InvalidData => "it is not UTF-8 text".into(),
        _ => error.to_string(),
    }
}

fn refusal(message: impl Into<String>, remedy: impl Into<String>) -> Refusal {
    Refusal {
        message: message.into(),
        remedy: remedy.into(),
    }
}
