//! The revisions of MCP that the proxy speaks.

use std::fmt;

/// A protocol revision. Ordered by date.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ProtocolVersion {
    /// The first release.
    V2024_11_05,
    /// Streamable HTTP; what a client speaks that names no version.
    #[default]
    V2025_03_26,
    /// Structured output; the version header.
    V2025_06_18,
    /// Tasks, URL elicitation.
    V2025_11_25,
}

impl ProtocolVersion {
    /// The newest revision with sessions.
    pub const LATEST: Self = Self::V2025_11_25;

    /// All, oldest first.
    pub const ALL: [Self; 4] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
    ];

    /// Reads a revision; `None` for one we do not speak.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// The date by which the protocol names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
        }
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
