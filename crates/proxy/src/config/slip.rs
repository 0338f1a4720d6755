//! A slip: a place where a text is not of its format. It becomes a [`Problem`] once the source is known.

use std::ops::Range;
use std::sync::Arc;

use super::problem::{Place, Problem, SourceText};

/// What is wrong, where, and how to mend it.
#[derive(Debug)]
pub(crate) struct Slip {
    span: Range<usize>,
    message: String,
    remedy: String,
}

impl Slip {
    pub(crate) fn new(span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    pub(crate) fn too_deep(span: Range<usize>) -> Self {
        Self::new(span, "this is nested too deeply", "no key needs more than a few levels")
    }

    pub(crate) fn into_problem(self, source: &Arc<SourceText>) -> Problem {
        Problem {
            key: String::new(),
            place: Some(Place::Text {
                source: Arc::clone(source),
                span: self.span,
            }),
            message: self.message,
            remedy: Some(self.remedy).filter(|remedy| !remedy.is_empty()),
            secret: false,
        }
    }
}
