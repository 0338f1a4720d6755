//! TOML into a tree with places. The parser recovers, so all slips of a file are found in one run.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::document::{Data, Key, MAX_DEPTH, Node};
use super::slip::Slip;

/// Reads a document.
///
/// # Errors
/// Every place where the text is not TOML.
pub(crate) fn read(text: &str) -> Result<Node, Vec<Slip>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut slips: Vec<Slip> = errors
        .iter()
        .map(|error| {
            let message = error.message().trim().replace('\n', ", ");
            let remedy = match message.as_str() {
                "duplicate key" => "delete one of the two",
                _ if text.trim_start().starts_with('{') => {
                    "write TOML; for the `.mcp.json` of a client there is `--from-mcp-json`"
                }
                _ => "write `key = value`: a text in quotes, a number, `true`, `false`, a [list] or a { table }",
            };
            Slip::new(error.span().unwrap_or(0..0), message, remedy)
        })
        .collect();
    let span = document.span();
    let node = table(document.get_ref(), span, 0, &mut slips);
    if slips.is_empty() { Ok(node) } else { Err(slips) }
}

/// Reads a single value, as an environment variable may hold.
pub(crate) fn read_value(text: &str) -> Option<Node> {
    let parsed = DeValue::parse(text).ok()?;
    let mut slips = Vec::new();
    let node = value(parsed.get_ref(), parsed.span(), 0, &mut slips);
    slips.is_empty().then_some(node)
}

fn table(table: &DeTable<'_>, span: Range<usize>, depth: usize, slips: &mut Vec<Slip>) -> Node {
    let mut members: Vec<_> = table
        .iter()
        .map(|(key, member)| {
            let name = Key {
                name: key.get_ref().to_string(),
                span: key.span(),
            };
            (name, value(member.get_ref(), member.span(), depth + 1, slips))
        })
        .collect();
    members.sort_by_key(|(key, _)| key.span.start);
    Node {
        data: Data::Table(members),
        span,
    }
}

fn value(given: &DeValue<'_>, span: Range<usize>, depth: usize, slips: &mut Vec<Slip>) -> Node {
    if depth > MAX_DEPTH {
        slips.push(Slip::too_deep(span.clone()));
        return Node { data: Data::Null, span };
    }
    let data = match given {
        DeValue::String(text) => Data::Text(text.to_string()),
        DeValue::Boolean(value) => Data::Bool(*value),
        DeValue::Integer(number) => match i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()) {
            Ok(number) => Data::Integer(number),
            Err(_) => {
                slips.push(Slip::new(
                    span.clone(),
                    "this number is too large",
                    "use at most 64 bits",
                ));
                Data::Null
            }
        },
        DeValue::Float(number) => Data::Float(number.as_str().replace('_', "").parse().unwrap_or(f64::NAN)),
        DeValue::Datetime(time) => Data::Text(time.to_string()),
        DeValue::Array(items) => Data::List(
            items
                .iter()
                .map(|item| value(item.get_ref(), item.span(), depth + 1, slips))
                .collect(),
        ),
        DeValue::Table(members) => return table(members, span, depth, slips),
    };
    Node { data, span }
}
