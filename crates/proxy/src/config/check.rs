//! Holds a merged configuration against the schema of its own types, and reports everything that does not fit.
//!
//! What does not fit is taken out, so that the rest can be read and judged too: all problems are found in one run. The
//! schema is generated from the types that are read afterwards, hence nothing is said twice.

use figment::value::{Num, Tag, Value};
use serde_json::Value as Json;

use super::document::{Places, join};
use super::problem::Problem;

/// Checks `value` against `schema`, takes out what does not fit, and gives a problem for each.
pub(crate) fn check(value: &mut Value, schema: &Json, places: &mut Places) -> Vec<Problem> {
    let mut checker = Checker {
        places,
        problems: Vec::new(),
    };
    checker.value(value, schema, "");
    checker.problems
}

struct Checker<'c> {
    places: &'c mut Places,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    /// Whether the value fits, once what does not fit inside it is taken out.
    fn value(&mut self, value: &mut Value, schema: &Json, path: &str) -> bool {
        let choices = choices(schema);
        if !choices.is_empty() {
            return self.choice(value, &choices, path);
        }
        let wanted = schema["type"].as_str().unwrap_or_default();
        if self.places.is_loose(path) {
            loosen(value, wanted);
        }
        match (wanted, &mut *value) {
            ("object", Value::Dict(_, _)) => self.table(value, schema, path),
            ("array", Value::Array(_, items)) => {
                let mut index = 0;
                items.retain_mut(|item| {
                    let fits = self.value(item, &schema["items"], &format!("{path}[{index}]"));
                    index += 1;
                    // A backend keeps its place even when nothing of it is left, so that the others keep their numbers.
                    fits || path == "backends"
                });
                if path == "backends" {
                    for item in items.iter_mut().filter(|item| item.as_dict().is_none()) {
                        *item = Value::Dict(Tag::Default, figment::value::Dict::new());
                    }
                }
                true
            }
            ("string", Value::String(_, _)) | ("boolean", Value::Bool(_, _)) => true,
            ("integer", Value::Num(_, number)) => match number.to_i128().or_else(|| {
                let number = number.to_u128()?;
                i128::try_from(number).ok()
            }) {
                Some(number) => self.range(number, schema, path),
                None => self.refuse_type(value, wanted, path),
            },
            ("number", Value::Num(..)) => true,
            _ => self.refuse_type(value, wanted, path),
        }
    }

    fn table(&mut self, value: &mut Value, schema: &Json, path: &str) -> bool {
        let Value::Dict(_, members) = value else {
            return false;
        };
        let known = schema["properties"].as_object();
        let rest = &schema["additionalProperties"];
        members.retain(|name, member| {
            let table_path = path;
            let path = join(path, name);
            let schema = known.and_then(|known| known.get(name));
            let Some(schema) = schema.or_else(|| rest.is_object().then_some(rest)) else {
                let names = known.into_iter().flat_map(|known| known.keys().map(String::as_str));
                self.unknown(&path, table_path, name, &names.collect::<Vec<_>>());
                return false;
            };
            let fits = self.value(member, schema, &path);
            if !fits {
                self.places.spoil(&path);
            }
            fits
        });
        for name in schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
        {
            let path = join(path, name);
            if !members.contains_key(name) && !self.places.is_spoiled(&path) {
                let table = self.places.shown(path.rsplit_once('.').map_or("", |(table, _)| table));
                let example = example(&schema["properties"][name], name);
                let message = match table.as_str() {
                    "" => format!("the key `{name}` is missing"),
                    table => format!("the key `{name}` of `{table}` is missing"),
                };
                self.problems
                    .push(self.places.at_key(&path, message, format!("add `{example}`")));
                self.places.spoil(&path);
            }
        }
        true
    }

    fn unknown(&mut self, path: &str, table_path: &str, name: &str, known: &[&str]) {
        let table = self.places.shown(table_path);
        let message = match table.as_str() {
            "" => format!("unknown key `{name}`"),
            table => format!("unknown key `{name}` in `{table}`"),
        };
        let remedy = match nearest(name, known) {
            Some(nearest) => {
                // What was meant is not missing.
                self.places.spoil(&join(table_path, nearest));
                format!("did you mean `{nearest}`?")
            }
            None => format!("known here: {}", list(known)),
        };
        self.problems.push(self.places.at_key(path, message, remedy));
        self.places.spoil(path);
    }

    fn choice(&mut self, value: &mut Value, choices: &[&str], path: &str) -> bool {
        let Value::String(_, text) = &*value else {
            return self.refuse_type(value, "string", path);
        };
        if choices.contains(&text.as_str()) {
            return true;
        }
        let remedy = match nearest(text, choices) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("choose one of {}", list(choices)),
        };
        let message = format!("`{}` is none of {}", shortened(text), list(choices));
        self.problems.push(self.places.at_value(path, message, remedy));
        self.places.spoil(path);
        false
    }

    fn range(&mut self, number: i128, schema: &Json, path: &str) -> bool {
        let bound = |name: &str| {
            schema[name]
                .as_i64()
                .map(i128::from)
                .or_else(|| schema[name].as_u64().map(i128::from))
        };
        let (low, high) = limits(schema["format"].as_str().unwrap_or_default());
        let low = bound("minimum").unwrap_or(low).max(low);
        let high = bound("maximum").unwrap_or(high).min(high);
        if (low..=high).contains(&number) {
            return true;
        }
        let message = format!("{number} is out of range");
        let remedy = match number < low {
            true => format!("write {low} or more"),
            false => format!("write {high} or less"),
        };
        self.problems.push(self.places.at_value(path, message, remedy));
        self.places.spoil(path);
        false
    }

    fn refuse_type(&mut self, value: &Value, wanted: &str, path: &str) -> bool {
        let name = path.rsplit('.').next().unwrap_or(path);
        let remedy = match (wanted, value) {
            (_, Value::Empty(..)) => "write a value, or delete the key".to_owned(),
            ("integer" | "boolean", Value::String(_, text)) if fits_when_bare(text, wanted) => {
                format!("write it without quotes: {name} = {text}")
            }
            ("boolean", _) => "write `true` or `false`, without quotes".to_owned(),
            ("integer", _) => "write a whole number, without quotes".to_owned(),
            ("string", Value::Num(..) | Value::Bool(..)) => "write it in quotes".to_owned(),
            ("string", _) => "write a single text in quotes".to_owned(),
            ("array", _) if path == "backends" => {
                "write a list: `[[backends]]`, with two brackets, in TOML, `- name: …` in YAML".to_owned()
            }
            ("array", _) => format!("write a list: {name} = [\"…\"]"),
            _ => format!("write a table: `[{}]`", self.places.shown(path)),
        };
        let message = format!("`{}` needs {}, not {}", name, article(wanted), found(value));
        self.problems.push(self.places.at_value(path, message, remedy));
        self.places.spoil(path);
        false
    }
}

/// The texts that an enumeration allows; none when it is no enumeration.
pub(crate) fn choices(schema: &Json) -> Vec<&str> {
    let listed = schema["enum"].as_array().into_iter().flatten();
    let described = schema["oneOf"].as_array().into_iter().flatten();
    listed
        .chain(described.flat_map(|one| {
            one["enum"]
                .as_array()
                .map_or(std::slice::from_ref(&one["const"]), Vec::as_slice)
        }))
        .filter_map(Json::as_str)
        .collect()
}

/// The known name that was probably meant.
pub(crate) fn nearest<'n>(name: &str, known: &[&'n str]) -> Option<&'n str> {
    let lower = name.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|known| (strsim::jaro_winkler(&lower, known), *known))
        .filter(|(likeness, _)| *likeness > 0.82)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, known)| known)
}

/// Words in back quotes, with commas.
pub(crate) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// Text for a message: its first characters.
pub(crate) fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    let clean = |char: char| if char.is_control() { ' ' } else { char };
    match text.char_indices().nth(LONGEST) {
        None => text.chars().map(clean).collect(),
        Some((end, _)) => text[..end].chars().map(clean).chain("…".chars()).collect(),
    }
}

/// Outside a file everything is text: read it as what is wanted.
fn loosen(value: &mut Value, wanted: &str) {
    let Value::String(_, text) = &*value else {
        return;
    };
    let read = match wanted {
        "integer" => text
            .trim()
            .parse()
            .ok()
            .map(|number| Value::Num(Tag::Default, Num::I64(number))),
        "boolean" => text
            .trim()
            .parse()
            .ok()
            .map(|flag: bool| Value::Bool(Tag::Default, flag)),
        "array" | "object" => super::toml_text::read_value(text).map(|node| node.value()),
        _ => None,
    };
    if let Some(read) = read {
        *value = read;
    }
}

fn fits_when_bare(text: &str, wanted: &str) -> bool {
    match wanted {
        "integer" => text.parse::<i64>().is_ok(),
        _ => text.parse::<bool>().is_ok(),
    }
}

fn limits(format: &str) -> (i128, i128) {
    match format {
        "uint8" => (0, u8::MAX.into()),
        "uint16" => (0, u16::MAX.into()),
        "uint32" => (0, u32::MAX.into()),
        // What a file can say at most.
        _ => (0, i64::MAX.into()),
    }
}

fn example(schema: &Json, name: &str) -> String {
    match (choices(schema).first(), schema["type"].as_str()) {
        (Some(first), _) => format!("{name} = \"{first}\""),
        (None, Some("object")) => {
            let required = schema["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Json::as_str);
            let keys: Vec<String> = required.map(|key| example(&schema["properties"][key], key)).collect();
            format!("[{name}] {}", keys.join(" ")).trim_end().to_owned()
        }
        (None, Some("integer")) => format!("{name} = 1"),
        _ => format!("{name} = \"…\""),
    }
}

fn article(wanted: &str) -> &'static str {
    match wanted {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        _ => "a table",
    }
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::String(..) | Value::Char(..) => "text",
        Value::Bool(..) => "a truth value",
        Value::Num(_, Num::F32(_) | Num::F64(_)) => "a fraction",
        Value::Num(..) => "a number",
        Value::Empty(..) => "nothing",
        Value::Dict(..) => "a table",
        Value::Array(..) => "a list",
    }
}
