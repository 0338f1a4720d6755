//! Public names: how a backend's names appear behind one endpoint.
//!
//! A tool `read` of the backend `files` is `files/read` to clients (the separator is configurable), a resource
//! `file:///x` is `files+file:///x`. Names are resolved by exact lookup in the catalogue, never by splitting. Resource
//! URIs can also come from templates and tool results, so they are read back by their prefix: `+` cannot occur in a
//! backend's name, so the first one ends it. A backend with an empty namespace keeps its own names.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

/// The part that a backend's public names begin with; may be empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespace {
    name: Box<str>,
    separator: Box<str>,
}

/// Longest public name, in bytes: the specification's limit for tool names.
pub const MAX_NAME_BYTES: usize = 128;

/// Above this many bytes some clients refuse a name (they prefix it once more and cut at 64).
pub const COMFORTABLE_NAME_BYTES: usize = 60;

impl Namespace {
    /// The namespace `name`, joined to tool and prompt names by `separator`.
    pub fn new(name: impl Into<Box<str>>, separator: impl Into<Box<str>>) -> Self {
        Self {
            name: name.into(),
            separator: separator.into(),
        }
    }

    /// True when public names are the backend's own.
    pub fn is_empty(&self) -> bool {
        self.name.is_empty()
    }

    /// The namespace's name.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The public name of a tool or prompt.
    ///
    /// Over [`MAX_NAME_BYTES`] the name is cut and ends in a digest of the whole, so that it stays unique and the same
    /// from run to run.
    pub fn name<'a>(&self, local: &'a str) -> Cow<'a, str> {
        if self.is_empty() {
            return Cow::Borrowed(local);
        }
        let full = format!("{}{}{local}", self.name, self.separator);
        if full.len() <= MAX_NAME_BYTES {
            return Cow::Owned(full);
        }
        let digest = Sha256::digest(full.as_bytes());
        let tail: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
        let mut cut = MAX_NAME_BYTES - tail.len() - 1;
        while !full.is_char_boundary(cut) {
            cut -= 1;
        }
        Cow::Owned(format!("{}_{tail}", &full[..cut]))
    }

    /// The public form of a resource URI or URI template.
    pub fn uri<'a>(&self, local: &'a str) -> Cow<'a, str> {
        if self.is_empty() {
            return Cow::Borrowed(local);
        }
        Cow::Owned(format!("{}+{local}", self.name))
    }

    /// The backend's own URI behind a public one; `None` when it is not of this namespace. For an empty namespace every
    /// URI is its own.
    pub fn local_uri<'a>(&self, public: &'a str) -> Option<&'a str> {
        if self.is_empty() {
            return Some(public);
        }
        public.strip_prefix(&*self.name)?.strip_prefix('+')
    }
}

/// Whether a name could mislead a reader: control, bidirectional-override or zero-width characters.
pub fn is_deceptive(name: &str) -> bool {
    name.chars().any(|char| {
        char.is_control()
            || matches!(char, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    })
}
