//! Whether two JSON values say the same, and where they first differ.

use serde_json::Value;

/// How much of what it receives a client hands on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fidelity {
    /// All of it.
    Exact,
    /// All that its models know; members may be missing, but what is there must be right.
    KnownMembers,
}

/// The path of the first difference and both sides of it, or `None`. Numbers compare by value: 1 is 1.0.
pub(crate) fn difference(got: &Value, want: &Value, fidelity: Fidelity) -> Option<String> {
    differ(got, want, fidelity, &mut String::from("$"))
}

fn differ(got: &Value, want: &Value, fidelity: Fidelity, path: &mut String) -> Option<String> {
    let length = path.len();
    match (got, want) {
        (Value::Object(g), Value::Object(w)) => {
            for key in g.keys().chain(w.keys()) {
                path.push('.');
                path.push_str(key);
                let found = match (g.get(key), w.get(key)) {
                    (Some(g), Some(w)) => differ(g, w, fidelity, path),
                    (None, Some(_)) if fidelity == Fidelity::KnownMembers => None,
                    (None, Some(w)) => Some(format!("{path}: missing, want {}", short(w))),
                    (Some(g), _) => Some(format!("{path}: got {}, want nothing", short(g))),
                    (None, None) => None,
                };
                if found.is_some() {
                    return found;
                }
                path.truncate(length);
            }
            None
        }
        (Value::Array(g), Value::Array(w)) => {
            if g.len() != w.len() {
                let names = |list: &[Value]| list.iter().map(short).collect::<Vec<_>>().join(" ");
                return Some(format!(
                    "{path}: {} items, want {}: {}, want {}",
                    g.len(),
                    w.len(),
                    names(g),
                    names(w)
                ));
            }
            for (index, (g, w)) in g.iter().zip(w).enumerate() {
                path.push_str(&format!("[{index}]"));
                let found = differ(g, w, fidelity, path);
                if found.is_some() {
                    return found;
                }
                path.truncate(length);
            }
            None
        }
        (Value::Number(g), Value::Number(w)) if g.as_f64() == w.as_f64() => None,
        _ if got == want => None,
        _ => Some(format!("{path}: got {}, want {}", short(got), short(want))),
    }
}

/// A value for a message: its name if it has one, else its text, cut.
fn short(value: &Value) -> String {
    let name = value.get("name").or_else(|| value.get("uri"));
    name.unwrap_or(value).to_string().chars().take(120).collect()
}
