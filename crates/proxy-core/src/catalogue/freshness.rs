//! [`Freshness`]: how long a result holds, and for whom (2026-07-28, `ttlMs` and `cacheScope`).

use crate::json::RawJson;

/// How long a result may be served again, and whether to anyone. The default promises nothing: no time, nobody else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// `ttlMs`, in milliseconds.
    pub ttl_ms: u64,
    /// `cacheScope` is `public`.
    pub public: bool,
}

impl Freshness {
    /// What holds for ever and for everyone: nothing, merged with it, changes.
    pub const ENDLESS: Self = Self {
        ttl_ms: u64::MAX,
        public: true,
    };

    /// Reads the hints of a result. What is absent or makes no sense promises nothing.
    pub fn of(result: &RawJson) -> Self {
        let scope = result.get("cacheScope");
        Self {
            ttl_ms: result.get("ttlMs").and_then(|ttl| ttl.decode().ok()).unwrap_or(0),
            public: scope.is_some_and(|scope| scope.string().as_deref() == Some("public")),
        }
    }

    /// What holds for two results together: the shorter time, and everyone only where both say so.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            ttl_ms: self.ttl_ms.min(other.ttl_ms),
            public: self.public && other.public,
        }
    }

    /// `cacheScope`.
    pub fn scope(self) -> &'static str {
        if self.public { "public" } else { "private" }
    }
}
