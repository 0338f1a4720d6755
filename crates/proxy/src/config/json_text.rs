//! JSON into a tree with places: each level is read as names and raw texts, and a raw text's address within the whole is
//! its place.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::document::{Data, Key, MAX_DEPTH, Node};
use super::slip::Slip;

/// Reads a document.
///
/// # Errors
/// Where the text is not JSON, and each key that stands twice in its object.
pub(crate) fn read(text: &str) -> Result<Node, Vec<Slip>> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let raw: &RawValue = serde_json::from_str(body).map_err(|error| vec![syntax(text, &error)])?;
    let mut slips = Vec::new();
    let node = Reader {
        text,
        slips: &mut slips,
    }
    .node(raw, 0);
    if slips.is_empty() { Ok(node) } else { Err(slips) }
}

struct Reader<'r> {
    text: &'r str,
    slips: &'r mut Vec<Slip>,
}

impl Reader<'_> {
    fn node(&mut self, raw: &RawValue, depth: usize) -> Node {
        let span = self.span(raw.get());
        if depth > MAX_DEPTH {
            self.slips.push(Slip::too_deep(span.clone()));
            return Node { data: Data::Null, span };
        }
        let data = match raw.get().as_bytes().first() {
            Some(b'{') => self.table(raw, depth),
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
                Data::List(items.into_iter().map(|item| self.node(item, depth + 1)).collect())
            }
            Some(b'"') => match serde_json::from_str(raw.get()) {
                Ok(text) => Data::Text(text),
                Err(_) => self.refuse(&span, "this text is not valid Unicode"),
            },
            Some(b't') => Data::Bool(true),
            Some(b'f') => Data::Bool(false),
            Some(b'n') => Data::Null,
            _ => match (raw.get().parse(), raw.get().parse()) {
                (Ok(number), _) => Data::Integer(number),
                (_, Ok(number)) => Data::Float(number),
                _ => self.refuse(&span, "this is not a number"),
            },
        };
        Node { data, span }
    }

    fn table(&mut self, raw: &RawValue, depth: usize) -> Data {
        let Members(given) = match serde_json::from_str(raw.get()) {
            Ok(members) => members,
            Err(_) => return self.refuse(&self.span(raw.get()), "a name in here is not valid Unicode"),
        };
        let mut members: Vec<(Key, Node)> = Vec::with_capacity(given.len());
        for (name, raw) in given {
            let span = self.key_span(self.span(raw.get()).start);
            if members.iter().any(|(key, _)| key.name == name) {
                let message = format!("the key `{name}` stands here a second time");
                self.slips.push(Slip::new(span, message, "delete one of the two"));
                continue;
            }
            let node = self.node(raw, depth + 1);
            members.push((Key { name, span }, node));
        }
        Data::Table(members)
    }

    fn refuse(&mut self, span: &Range<usize>, message: &str) -> Data {
        self.slips
            .push(Slip::new(span.clone(), message, "write it as JSON demands"));
        Data::Null
    }

    /// Where a slice of the text lies in it.
    fn span(&self, part: &str) -> Range<usize> {
        let start = (part.as_ptr().addr()).saturating_sub(self.text.as_ptr().addr());
        start..start + part.len()
    }

    /// The key before a value: back over the colon to the quotes around it.
    fn key_span(&self, value: usize) -> Range<usize> {
        let before = self.text.get(..value).unwrap_or_default().trim_end();
        let before = before.strip_suffix(':').unwrap_or(before).trim_end();
        let inner = before.strip_suffix('"').unwrap_or(before);
        let opening = inner.rmatch_indices('"').map(|(at, _)| at).find(|at| {
            let escapes = inner.as_bytes()[..*at].iter().rev().take_while(|byte| **byte == b'\\');
            escapes.count() % 2 == 0
        });
        opening.unwrap_or(value)..before.len()
    }
}

/// The members of an object in their order, repetitions included.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'de: 't, 't> Deserialize<'de> for Members<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(InOrder).map(Members)
    }
}

fn syntax(text: &str, error: &serde_json::Error) -> Slip {
    let mut at = 0;
    for line in text.split_inclusive('\n').take(error.line().saturating_sub(1)) {
        at += line.len();
    }
    at = (at + error.column().saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default().to_owned();
    let remedy = match message.as_str() {
        "trailing comma" => "delete the comma",
        "key must be a string" => "quote the key, or delete the comma before it",
        _ => "check quotes, commas and brackets",
    };
    Slip::new(at..at, message, remedy)
}
