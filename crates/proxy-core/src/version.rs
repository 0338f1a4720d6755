//! The revisions of MCP that the proxy speaks.

use std::fmt;

/// A protocol revision. Ordered by date.
///
/// Two eras: until 2025-11-25 a client opens a session by `initialize`; since 2026-07-28 there are no sessions, and each
/// request says for itself what its client is and can do.
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
    /// No sessions; requests that are complete in themselves.
    V2026_07_28,
}

impl ProtocolVersion {
    /// The newest revision with sessions.
    pub const LATEST_SESSION: Self = Self::V2025_11_25;

    /// The newest revision without sessions.
    pub const LATEST_SESSIONLESS: Self = Self::V2026_07_28;

    /// Those with sessions, oldest first.
    pub const SESSION: [Self; 4] = [
        Self::V2024_11_05,
        Self::V2025_03_26,
        Self::V2025_06_18,
        Self::V2025_11_25,
    ];

    /// Those without, oldest first.
    pub const SESSIONLESS: [Self; 1] = [Self::V2026_07_28];

    /// Reads a revision of either era; `None` for one we do not speak.
    pub fn parse(text: &str) -> Option<Self> {
        Self::SESSION
            .into_iter()
            .chain(Self::SESSIONLESS)
            .find(|version| version.as_str() == text)
    }

    /// Reads a revision with sessions.
    pub fn parse_session(text: &str) -> Option<Self> {
        Self::parse(text).filter(|version| !version.is_sessionless())
    }

    /// Whether the revision has no sessions.
    pub fn is_sessionless(self) -> bool {
        self >= Self::V2026_07_28
    }

    /// The date by which the protocol names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
