//! [`RawJson`]: one valid JSON value that stays the text it came as.

use std::borrow::Cow;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::edits::Edits;
use super::error::ScanError;
use super::scan::{Scanner, Span};

/// One valid JSON value, kept as a slice of the buffer it arrived in.
///
/// Unknown members, key order and the text of numbers survive because nothing decodes them. Cloning copies a pointer.
/// Two values are equal when their text is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RawJson(Bytes);

impl RawJson {
    /// Checks that `text` is exactly one JSON value.
    ///
    /// # Errors
    /// Text that is no JSON, no UTF-8, or nested too deep.
    pub fn parse(text: impl Into<Bytes>) -> Result<Self, ScanError> {
        let text = text.into();
        let mut scanner = Scanner::new(&text)?;
        let span = scanner.value(0)?;
        scanner.finish()?;
        Ok(Self(text.slice(span.range())))
    }

    /// Takes text that the caller has just scanned or written.
    pub(crate) fn trusted(text: Bytes) -> Self {
        debug_assert!(
            serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok(),
            "not JSON: {text:?}"
        );
        Self(text)
    }

    /// Takes text of a constant of the program.
    ///
    /// # Panics
    /// In debug builds, when the constant is no JSON.
    pub fn from_static(text: &'static str) -> Self {
        Self::trusted(Bytes::from_static(text.as_bytes()))
    }

    /// Writes a value as JSON text.
    ///
    /// # Panics
    /// Only for values that JSON cannot hold (maps with keys that are no strings); the types we own hold none.
    pub fn encode<T: serde::Serialize + ?Sized>(value: &T) -> Self {
        Self(
            serde_json::to_vec(value)
                .expect("the types we encode have string keys")
                .into(),
        )
    }

    /// Decodes the value.
    ///
    /// # Errors
    /// When the text does not have the shape of `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// The text.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The text as a string slice.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("scanned text is UTF-8")
    }

    /// The string this value is, or `None` when it is no string.
    pub fn string(&self) -> Option<Cow<'_, str>> {
        decode_string(&self.0)
    }

    /// True for `{…}`.
    pub fn is_object(&self) -> bool {
        self.0.first() == Some(&b'{')
    }

    /// The members of an object in the order they were sent; empty for anything else.
    pub fn members(&self) -> Vec<(String, RawJson)> {
        let mut members = Vec::new();
        if self.is_object() {
            self.walk(|scanner| {
                scanner.object(0, |scanner, key, depth| {
                    let span = scanner.value(depth)?;
                    let name = key.with(|key| String::from_utf8_lossy(key).into_owned());
                    members.push((name, Self(self.0.slice(span.range()))));
                    Ok(())
                })
            });
        }
        members
    }

    /// The member `name` of an object; the last one when it is there twice, as most decoders have it.
    pub fn get(&self, name: &str) -> Option<RawJson> {
        self.span_of(name).map(|span| Self(self.0.slice(span.range())))
    }

    /// Where the values of several members stand, found by one walk; nothing for each that is not there.
    pub fn spans<const N: usize>(&self, names: [&str; N]) -> [Option<Span>; N] {
        let mut found = [None; N];
        if self.is_object() {
            self.walk(|scanner| {
                scanner.object(0, |scanner, key, depth| {
                    let span = scanner.value(depth)?;
                    let place = key.with(|key| names.iter().position(|name| name.as_bytes() == key));
                    if let Some(place) = place {
                        found[place] = Some(span);
                    }
                    Ok(())
                })
            });
        }
        found
    }

    /// The value at a place that [`spans`](Self::spans) has found in this text.
    ///
    /// # Panics
    /// For a place in another text.
    pub fn at(&self, span: Span) -> Self {
        Self::trusted(self.0.slice(span.range()))
    }

    /// Where the value of the member `name` stands.
    pub(crate) fn span_of(&self, name: &str) -> Option<Span> {
        let mut found = None;
        if self.is_object() {
            self.walk(|scanner| {
                scanner.object(0, |scanner, key, depth| {
                    let span = scanner.value(depth)?;
                    if key.with(|key| key == name.as_bytes()) {
                        found = Some(span);
                    }
                    Ok(())
                })
            });
        }
        found
    }

    /// An object with the member `key` set to `value`: replaced where it stood, else first. Every other byte stays.
    /// Anything that is no object is returned as it is.
    #[must_use]
    pub fn with(&self, key: &str, value: &RawJson) -> Self {
        if !self.is_object() {
            return self.clone();
        }
        let mut edits = Edits::default();
        match self.span_of(key) {
            Some(span) => edits.replace(span, value.0.clone()),
            None => {
                let mut text = Vec::with_capacity(key.len() + value.0.len() + 4);
                write_string(&mut text, key);
                text.push(b':');
                text.extend_from_slice(&value.0);
                if self.0[1..].trim_ascii_start() != b"}" {
                    text.push(b',');
                }
                edits.replace(Span { start: 1, end: 1 }, text.into());
            }
        }
        Self(edits.apply(&self.0))
    }

    /// An object without the members `keys`; every other member stays as it was written. The same value when none of
    /// them is there.
    #[must_use]
    pub fn without(&self, keys: &[&str]) -> Self {
        let members = self.members();
        if !members.iter().any(|(key, _)| keys.contains(&key.as_str())) {
            return self.clone();
        }
        let mut text = vec![b'{'];
        for (key, value) in members.iter().filter(|(key, _)| !keys.contains(&key.as_str())) {
            if text.len() > 1 {
                text.push(b',');
            }
            write_string(&mut text, key);
            text.push(b':');
            text.extend_from_slice(&value.0);
        }
        text.push(b'}');
        Self(text.into())
    }

    /// The elements of an array; empty for anything else.
    pub fn elements(&self) -> Vec<RawJson> {
        let mut elements = Vec::new();
        if self.0.first() == Some(&b'[') {
            self.walk(|scanner| {
                scanner.array(0, |scanner, depth| {
                    let span = scanner.value(depth)?;
                    elements.push(Self(self.0.slice(span.range())));
                    Ok(())
                })
            });
        }
        elements
    }

    /// A copy in a buffer of its own. For small values that are kept: a slice would keep its whole message alive.
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    fn walk(&self, f: impl FnOnce(&mut Scanner<'_>) -> Result<(), ScanError>) {
        // The text was valid when this value was made, so a second walk finds no fault.
        let walked = Scanner::new(&self.0).and_then(|mut scanner| f(&mut scanner));
        debug_assert!(walked.is_ok(), "a validated value failed its second walk");
    }
}

impl std::fmt::Debug for RawJson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for RawJson {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &serde_json::value::RawValue =
            serde_json::from_str(self.as_str()).map_err(<S::Error as serde::ser::Error>::custom)?;
        raw.serialize(serializer)
    }
}

/// The string that `text` (a JSON value) encodes; borrowed unless it holds escapes.
pub(crate) fn decode_string(text: &[u8]) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', inner).is_none() {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice(text).ok().map(Cow::Owned)
}

/// Appends `value` as a JSON string.
pub(crate) fn write_string(into: &mut Vec<u8>, value: &str) {
    serde_json::to_writer(into, value).expect("writing a string into memory cannot fail");
}
