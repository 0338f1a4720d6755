//! JSON-RPC request ids.

use bytes::Bytes;

/// The id of a JSON-RPC request: a string or a number, kept as the text it was sent as.
///
/// MCP forbids `null`. Keeping the text preserves the type (`7` is not `"7"`) and every digit of large numbers.
/// Two ids are equal when their text is; peers echo ids, they do not re-spell them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Bytes);

/// Longest id we accept, in bytes. Ids are kept while their call runs, so they must not be a way to fill memory.
const MAX_BYTES: usize = 1024;

impl RequestId {
    /// Takes scanned text that is a string or a number of acceptable length; `None` for anything else.
    pub(crate) fn from_scanned(text: Bytes) -> Option<Self> {
        let first = *text.first()?;
        (text.len() <= MAX_BYTES && matches!(first, b'"' | b'-' | b'0'..=b'9')).then_some(Self(text))
    }

    /// The JSON text of the id.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The id as a number, when it is one of ours (ids we mint are unsigned integers).
    pub fn as_u64(&self) -> Option<u64> {
        std::str::from_utf8(&self.0).ok()?.parse().ok()
    }

    /// A copy in a buffer of its own, for keeping.
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

impl From<u64> for RequestId {
    fn from(id: u64) -> Self {
        Self(id.to_string().into())
    }
}

impl From<&str> for RequestId {
    fn from(id: &str) -> Self {
        let mut text = Vec::with_capacity(id.len() + 2);
        super::write_string(&mut text, id);
        Self(text.into())
    }
}

impl std::fmt::Debug for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}
