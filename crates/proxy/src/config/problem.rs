//! What can be wrong with a configuration, as data: where, which key, what, and how to mend it.
//!
//! Nothing here is printed by the library. [`ConfigErrors`] shows itself as plain text; the command renders the same data
//! with the lines of the file.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A text that was read, kept so that problems can show its lines.
#[derive(PartialEq, Eq)]
pub struct SourceText {
    /// Its path as it was given, or another name for a text that is no file.
    pub name: String,
    /// What it says.
    pub text: String,
}

impl fmt::Debug for SourceText {
    // The text may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SourceText").field(&self.name).finish()
    }
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a text.
    Text {
        /// Which.
        source: Arc<SourceText>,
        /// The bytes of the key or value.
        span: Range<usize>,
    },
    /// In an environment variable of this name.
    Variable(String),
    /// In this option of the command line.
    Argument(String),
}

impl Place {
    /// Line and column, counted from 1, in characters; `None` outside a text.
    pub fn line_and_column(&self) -> Option<(usize, usize)> {
        let Self::Text { source, span } = self else {
            return None;
        };
        let before = source.text.get(..span.start).unwrap_or(&source.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Some((line, before[line_start..].chars().count() + 1))
    }

    /// What problems are sorted by: texts first, each from top to bottom.
    fn order(&self) -> (u8, &str, usize) {
        match self {
            Self::Text { source, span } => (0, &source.name, span.start),
            Self::Variable(name) => (1, name, 0),
            Self::Argument(name) => (2, name, 0),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { source, .. } => {
                let (line, column) = self.line_and_column().unwrap_or((1, 1));
                write!(f, "{}:{line}:{column}", source.name)
            }
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Argument(name) => write!(f, "argument {name}"),
        }
    }
}

/// One thing that is wrong, or doubtful when it is among warnings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path of the key, such as `backends.files.url`; empty when the problem is the whole file's.
    pub key: String,
    /// Where it was written, if it was.
    pub place: Option<Place>,
    /// What is wrong: one sentence without a full stop. Never holds a secret.
    pub message: String,
    /// How to mend it.
    pub remedy: Option<String>,
    /// Whether the line may hold a secret, so that nobody should print it.
    pub secret: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        match (&self.place, self.key.as_str()) {
            (Some(place), "") => write!(f, "\n  --> {place}")?,
            (Some(place), key) => write!(f, "\n  --> {place}   {key}")?,
            (None, "") => {}
            (None, key) => write!(f, "\n  --> {key}")?,
        }
        if let Some(remedy) = &self.remedy {
            write!(f, "\nhelp: {remedy}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration, sorted by place; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<Problem>);

impl ConfigErrors {
    /// The problems, sorted by place.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }

    pub(crate) fn new(mut problems: Vec<Problem>) -> Self {
        sort(&mut problems);
        Self(problems)
    }

    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "error: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Sorts by place, problems without one first, and drops repetitions.
pub(crate) fn sort(problems: &mut Vec<Problem>) {
    problems.sort_by(|left, right| {
        let order = |problem: &Problem| {
            problem
                .place
                .as_ref()
                .map(Place::order)
                .map(|(kind, name, at)| (kind, name.to_owned(), at))
        };
        order(left).cmp(&order(right))
    });
    problems.dedup();
}
