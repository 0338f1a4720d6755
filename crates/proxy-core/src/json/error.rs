//! Why a message was refused before anyone looked at what it asks for.

use super::RequestId;

/// A message that is no valid JSON, or no valid JSON-RPC message.
///
/// Carries the request id when it could be read before the fault, so that the refusal can be matched by its sender.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind} (at byte {offset})")]
pub struct ScanError {
    kind: ScanErrorKind,
    offset: usize,
    id: Option<RequestId>,
}

/// What was wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScanErrorKind {
    /// Not JSON after RFC 8259.
    #[error("the message is not valid JSON: {0}")]
    Syntax(&'static str),
    /// Not UTF-8.
    #[error("the message is not UTF-8")]
    NotUtf8,
    /// Nested deeper than [`MAX_DEPTH`](super::MAX_DEPTH).
    #[error("the message is nested deeper than 128 levels")]
    TooDeep,
    /// Text of 4 GiB or more.
    #[error("the message is larger than 4 GiB")]
    TooLarge,
    /// A member that decides about routing stands twice; whoever reads first and last would disagree.
    #[error("the member `{0}` appears more than once")]
    DuplicateKey(&'static str),
    /// A JSON array where one message was expected.
    #[error("batches are not part of this protocol version")]
    Batch,
    /// Valid JSON, but no JSON-RPC message.
    #[error("the message is no JSON-RPC 2.0 message: {0}")]
    NotRpc(&'static str),
}

impl ScanErrorKind {
    pub(crate) fn at(self, offset: usize) -> ScanError {
        ScanError {
            kind: self,
            offset,
            id: None,
        }
    }
}

impl ScanError {
    /// What was wrong.
    pub fn kind(&self) -> &ScanErrorKind {
        &self.kind
    }

    /// The id of the refused request, when it was readable.
    pub fn id(&self) -> Option<&RequestId> {
        self.id.as_ref()
    }

    /// The JSON-RPC code for it: -32700 for text that is no JSON, -32600 for everything else.
    pub fn code(&self) -> i64 {
        match self.kind {
            ScanErrorKind::Syntax(_) | ScanErrorKind::NotUtf8 => crate::codes::PARSE_ERROR,
            _ => crate::codes::INVALID_REQUEST,
        }
    }

    pub(crate) fn with_id(mut self, id: Option<RequestId>) -> Self {
        self.id = self.id.or(id);
        self
    }
}
