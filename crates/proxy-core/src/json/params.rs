//! [`Params`]: the parameters of a call, with the routing members found and everything else left alone.

use std::borrow::Cow;

use bytes::Bytes;

use super::edits::Edits;
use super::error::{ScanError, ScanErrorKind};
use super::raw::{RawJson, decode_string, write_string};
use super::scan::{Scanner, Span};

/// A member of `params` that the proxy itself reads or replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Slot {
    /// `name`: of a tool or prompt.
    Name,
    /// `uri`: of a resource.
    Uri,
    /// `arguments`.
    Arguments,
    /// `_meta`.
    Meta,
    /// `_meta.progressToken`.
    ProgressToken,
    /// `cursor` of a list.
    Cursor,
    /// `ref` of a completion.
    Ref,
    /// `ref.name`: the prompt a completion is about.
    RefName,
    /// `ref.uri`: the resource template a completion is about.
    RefUri,
    /// `requestId` of a cancellation.
    RequestId,
    /// `level` of `logging/setLevel`.
    Level,
    /// `inputResponses`: answers of the client to what a backend asked (2026-07-28).
    InputResponses,
    /// `requestState`: a backend's own state that the client hands back (2026-07-28).
    RequestState,
    /// `taskId` of a request about a task.
    TaskId,
    /// `task`: the call is to be one (2025-11-25).
    Task,
}

impl Slot {
    const COUNT: usize = Self::Task as usize + 1;

    /// Where the member stands: its key and the slot of the object around it.
    fn place(self) -> (&'static str, Option<Slot>) {
        match self {
            Self::Name => ("name", None),
            Self::Uri => ("uri", None),
            Self::Arguments => ("arguments", None),
            Self::Meta => ("_meta", None),
            Self::ProgressToken => ("progressToken", Some(Self::Meta)),
            Self::Cursor => ("cursor", None),
            Self::Ref => ("ref", None),
            Self::RefName => ("name", Some(Self::Ref)),
            Self::RefUri => ("uri", Some(Self::Ref)),
            Self::RequestId => ("requestId", None),
            Self::Level => ("level", None),
            Self::InputResponses => ("inputResponses", None),
            Self::RequestState => ("requestState", None),
            Self::TaskId => ("taskId", None),
            Self::Task => ("task", None),
        }
    }

    fn of_params(key: &[u8]) -> Option<Self> {
        Some(match key {
            b"name" => Self::Name,
            b"uri" => Self::Uri,
            b"arguments" => Self::Arguments,
            b"_meta" => Self::Meta,
            b"cursor" => Self::Cursor,
            b"ref" => Self::Ref,
            b"requestId" => Self::RequestId,
            b"level" => Self::Level,
            b"inputResponses" => Self::InputResponses,
            b"requestState" => Self::RequestState,
            b"taskId" => Self::TaskId,
            b"task" => Self::Task,
            _ => return None,
        })
    }
}

/// The `params` of a request or notification: its text, where the routing members stand in it, and pending edits.
///
/// Reading looks through the edits. Writing copies the text once, with the edits spliced in. Absent params stay absent
/// unless something is set.
#[derive(Clone, Default)]
pub struct Params {
    raw: Bytes,
    spans: [Option<Span>; Slot::COUNT],
    edits: Edits,
}

impl Params {
    /// No `params` member at all.
    pub fn absent() -> Self {
        Self::default()
    }

    /// Scans an object's text.
    ///
    /// # Errors
    /// Invalid JSON, something other than an object, or a routing member that appears twice.
    pub fn parse(text: impl Into<Bytes>) -> Result<Self, ScanError> {
        let raw: Bytes = text.into();
        let mut scanner = Scanner::new(&raw)?;
        let mut params = Self::default();
        if scanner.peek() != Some(b'{') {
            return Err(ScanErrorKind::NotRpc("`params` must be an object").at(0));
        }
        params.scan(&mut scanner, 0)?;
        scanner.finish()?;
        params.raw = raw;
        Ok(params)
    }

    /// Scans the object that `scanner` stands before, noting slots with offsets of the scanner's own text.
    pub(crate) fn scan(&mut self, scanner: &mut Scanner<'_>, depth: usize) -> Result<(), ScanError> {
        scanner.object(depth, |scanner, key, depth| {
            let slot = key.with(Slot::of_params);
            let nested = match slot {
                Some(slot @ (Slot::Meta | Slot::Ref)) if scanner.peek() == Some(b'{') => Some(slot),
                _ => None,
            };
            let span = match nested {
                Some(parent) => self.scan_nested(scanner, parent, depth)?,
                None => scanner.value(depth)?,
            };
            match slot {
                Some(slot) => self.note(slot, span, key.at()),
                None => Ok(()),
            }
        })
    }

    fn scan_nested(&mut self, scanner: &mut Scanner<'_>, parent: Slot, depth: usize) -> Result<Span, ScanError> {
        scanner.spanned(|scanner| {
            scanner.object(depth, |scanner, key, depth| {
                let span = scanner.value(depth)?;
                let slot = key.with(|key| match (parent, key) {
                    (Slot::Meta, b"progressToken") => Some(Slot::ProgressToken),
                    (Slot::Ref, b"name") => Some(Slot::RefName),
                    (Slot::Ref, b"uri") => Some(Slot::RefUri),
                    _ => None,
                });
                match slot {
                    Some(slot) => self.note(slot, span, key.at()),
                    None => Ok(()),
                }
            })
        })
    }

    fn note(&mut self, slot: Slot, span: Span, at: usize) -> Result<(), ScanError> {
        if self.spans[slot as usize].replace(span).is_some() {
            return Err(ScanErrorKind::DuplicateKey(slot.place().0).at(at));
        }
        Ok(())
    }

    /// Gives the params the text they were scanned in; spans move by `start`.
    pub(crate) fn settle(&mut self, message: &Bytes, whole: Span) {
        self.raw = message.slice(whole.range());
        for span in self.spans.iter_mut().flatten() {
            span.start -= whole.start;
            span.end -= whole.start;
        }
    }

    /// True when there is no `params` member.
    pub fn is_absent(&self) -> bool {
        self.raw.is_empty()
    }

    /// The JSON text of a member as it stands now. Of `_meta` and `ref`, edits of their own members are not in it; see
    /// [`value`](Self::value).
    pub fn text(&self, slot: Slot) -> Option<&[u8]> {
        let span = self.spans[slot as usize]?;
        match self.edits.text(span) {
            Some(text) => Some(text),
            None => Some(&self.raw[span.range()]),
        }
    }

    /// A member as a value of its own, as it stands now.
    pub fn value(&self, slot: Slot) -> Option<RawJson> {
        let span = self.spans[slot as usize]?;
        Some(RawJson::trusted(match self.edits.text(span) {
            Some(text) => text.clone(),
            None => self.edits.apply_within(&self.raw, span),
        }))
    }

    /// The string a member holds; `None` when it is absent or no string.
    pub fn string(&self, slot: Slot) -> Option<Cow<'_, str>> {
        self.text(slot).and_then(decode_string)
    }

    /// A member of `_meta`, as it was sent.
    pub fn meta(&self, key: &str) -> Option<RawJson> {
        let span = self.spans[Slot::Meta as usize]?;
        RawJson::trusted(self.raw.slice(span.range())).get(key)
    }

    /// Adds members to `_meta`, creating it if need be; those of the same names are replaced. For several at once, and
    /// before anything else is set: the text is written anew.
    pub fn add_meta(&mut self, members: &[(&str, &RawJson)]) {
        let mut meta = self
            .value(Slot::Meta)
            .filter(RawJson::is_object)
            .unwrap_or_else(|| RawJson::from_static("{}"));
        for (key, value) in members {
            meta = meta.with(key, value);
        }
        self.set(Slot::Meta, &meta);
    }

    /// Takes members out of the params, if they are there.
    pub fn remove(&mut self, keys: &[&str]) {
        if let Some(text) = self.to_raw() {
            let without = text.without(keys);
            if without != text {
                *self = Self::parse(without.as_bytes().clone()).unwrap_or_default();
            }
        }
    }

    /// Sets a member, replacing it where it stands, or adding it at the front of its object.
    ///
    /// Setting a member inside an absent `_meta` or `ref` creates that object; one inside a `_meta` that is no object
    /// replaces it.
    pub fn set(&mut self, slot: Slot, value: &RawJson) {
        match self.spans[slot as usize] {
            // Whose own members are slots must be scanned anew.
            Some(span) if !matches!(slot, Slot::Meta | Slot::Ref) => {
                self.edits.replace(span, value.as_bytes().clone());
            }
            _ => self.rewrite(slot, value),
        }
    }

    /// Sets a member to a string.
    pub fn set_string(&mut self, slot: Slot, value: &str) {
        let mut text = Vec::with_capacity(value.len() + 2);
        write_string(&mut text, value);
        self.set(slot, &RawJson::trusted(text.into()));
    }

    /// The params as one value, edits applied; `None` when there are none.
    pub fn to_raw(&self) -> Option<RawJson> {
        (!self.is_absent()).then(|| RawJson::trusted(self.to_bytes()))
    }

    /// The text of the params with the edits applied; empty when there are none.
    pub fn to_bytes(&self) -> Bytes {
        self.edits.apply(&self.raw)
    }

    /// How long the text is with the edits applied.
    pub fn len(&self) -> usize {
        self.edits.new_len(&self.raw)
    }

    /// Whether there is no text: the same as [`is_absent`](Self::is_absent).
    pub fn is_empty(&self) -> bool {
        self.is_absent()
    }

    /// Appends the text with the edits applied.
    pub fn write(&self, into: &mut Vec<u8>) {
        self.edits.write(&self.raw, into);
    }

    /// The rare path: writes a new text with the member in it and scans that.
    fn rewrite(&mut self, slot: Slot, value: &RawJson) {
        let (key, parent) = slot.place();
        if let Some(parent) = parent {
            let object = self.value(parent).filter(RawJson::is_object);
            let object = object.unwrap_or_else(|| RawJson::from_static("{}"));
            return self.rewrite(parent, &object.with(key, value));
        }
        let object = self.to_raw().unwrap_or_else(|| RawJson::from_static("{}"));
        *self = Self::parse(object.with(key, value).as_bytes().clone()).unwrap_or_default();
        debug_assert!(
            !self.is_absent(),
            "a rewritten object is an object without new duplicates"
        );
    }
}

impl std::fmt::Debug for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Arguments may hold anything a user typed, so not even debug output shows them.
        f.debug_struct("Params")
            .field("bytes", &self.len())
            .finish_non_exhaustive()
    }
}
