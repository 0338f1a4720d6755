//! Replacing strings at known places: names and URIs inside definitions and results.

use bytes::Bytes;

use super::edits::Edits;
use super::error::ScanError;
use super::raw::{RawJson, decode_string, write_string};
use super::scan::{Scanner, Span};

/// The way to a value: object keys, and `*` for every element of an array.
pub type Path = [&'static str];

impl RawJson {
    /// Replaces the strings at `paths` by what `map` makes of them; `None` leaves one as it is. Every other byte stays.
    ///
    /// ```
    /// use mcp_proxy_core::json::RawJson;
    ///
    /// let result = RawJson::parse(r#"{"contents":[{"uri":"a:1","n":1.0}]}"#)?;
    /// let mapped = result.map_strings(&[&["contents", "*", "uri"]], |uri| Some(format!("files+{uri}")));
    /// assert_eq!(mapped.as_str(), r#"{"contents":[{"uri":"files+a:1","n":1.0}]}"#);
    /// # Ok::<(), mcp_proxy_core::json::ScanError>(())
    /// ```
    pub fn map_strings(&self, paths: &[&Path], mut map: impl FnMut(&str) -> Option<String>) -> Self {
        let mut spans = Vec::new();
        let walked = Scanner::new(self.as_bytes()).and_then(|mut scanner| {
            let positions: Vec<&Path> = paths.to_vec();
            visit(&mut scanner, 0, &positions, &mut spans)
        });
        debug_assert!(walked.is_ok(), "a validated value failed its second walk");
        let mut edits = Edits::default();
        for span in spans {
            let Some(string) = decode_string(&self.as_bytes()[span.range()]) else {
                continue;
            };
            if let Some(mapped) = map(&string) {
                let mut text = Vec::with_capacity(mapped.len() + 2);
                write_string(&mut text, &mapped);
                edits.replace(span, Bytes::from(text));
            }
        }
        Self::trusted(edits.apply(self.as_bytes()))
    }
}

/// Takes the next value; `rest` holds what is left of each path that leads here.
fn visit(scanner: &mut Scanner<'_>, depth: usize, rest: &[&Path], found: &mut Vec<Span>) -> Result<(), ScanError> {
    match scanner.peek() {
        Some(b'{') if rest.iter().any(|path| !path.is_empty()) => scanner.object(depth, |scanner, key, depth| {
            let next: Vec<&Path> = key.with(|key| {
                rest.iter()
                    .filter(|path| path.first().is_some_and(|step| step.as_bytes() == key))
                    .map(|path| &path[1..])
                    .collect()
            });
            step(scanner, depth, &next, found)
        }),
        Some(b'[') if rest.iter().any(|path| path.first() == Some(&"*")) => {
            let next: Vec<&Path> = rest
                .iter()
                .filter(|path| path.first() == Some(&"*"))
                .map(|path| &path[1..])
                .collect();
            scanner.array(depth, |scanner, depth| step(scanner, depth, &next, found))
        }
        _ => {
            let span = scanner.value(depth)?;
            if rest.iter().any(|path| path.is_empty()) {
                found.push(span);
            }
            Ok(())
        }
    }
}

fn step(scanner: &mut Scanner<'_>, depth: usize, next: &[&Path], found: &mut Vec<Span>) -> Result<(), ScanError> {
    if next.is_empty() {
        scanner.value(depth).map(drop)
    } else {
        visit(scanner, depth, next, found)
    }
}
