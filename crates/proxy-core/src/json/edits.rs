//! Changing a few values of a JSON text without touching the rest.

use bytes::Bytes;
use smallvec::SmallVec;

use super::scan::Span;

/// A set of replacements over one text, applied in one copy when the text is written out.
///
/// Spans must not overlap; a second replacement of the same span wins. This is how definitions and results get new names
/// and URIs while every other byte stays as the backend sent it.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// Sorted by start. Almost always one or two: a name and a progress token.
    list: SmallVec<[(Span, Bytes); 2]>,
}

impl Edits {
    /// Replaces the text at `span`; an empty span inserts.
    pub(crate) fn replace(&mut self, span: Span, text: Bytes) {
        match self.list.binary_search_by_key(&span.start, |(span, _)| span.start) {
            Ok(at) => self.list[at] = (span, text),
            Err(at) => self.list.insert(at, (span, text)),
        }
    }

    /// What stands at `span` after the edits, if it was edited.
    pub(crate) fn text(&self, span: Span) -> Option<&Bytes> {
        let at = self
            .list
            .binary_search_by_key(&span.start, |(span, _)| span.start)
            .ok()?;
        Some(&self.list[at].1)
    }

    /// True when nothing changes.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The length of `raw` after the edits.
    pub(crate) fn new_len(&self, raw: &[u8]) -> usize {
        self.list
            .iter()
            .fold(raw.len(), |len, (span, text)| len + text.len() - span.range().len())
    }

    /// Appends `raw` with the edits applied.
    pub(crate) fn write(&self, raw: &[u8], into: &mut Vec<u8>) {
        let mut from = 0;
        for (span, text) in &self.list {
            into.extend_from_slice(&raw[from..span.start as usize]);
            into.extend_from_slice(text);
            from = span.end as usize;
        }
        into.extend_from_slice(&raw[from..]);
    }

    /// The part of `raw` at `span` with the edits inside it applied.
    pub(crate) fn apply_within(&self, raw: &Bytes, span: Span) -> Bytes {
        let inside = |edit: &Span| edit.start >= span.start && edit.end <= span.end;
        let list = self.list.iter().filter(|(edit, _)| inside(edit));
        let moved = list.map(|(edit, text)| {
            let edit = Span {
                start: edit.start - span.start,
                end: edit.end - span.start,
            };
            (edit, text.clone())
        });
        let within = Self { list: moved.collect() };
        within.apply(&raw.slice(span.range()))
    }

    /// `raw` with the edits applied; `raw` itself when there are none.
    pub(crate) fn apply(&self, raw: &Bytes) -> Bytes {
        if self.is_empty() {
            return raw.clone();
        }
        let mut text = Vec::with_capacity(self.new_len(raw));
        self.write(raw, &mut text);
        text.into()
    }
}
