//! [`Store`]: a small key-value store with expiry, the one place where cache, sessions, limits and replay logs keep things.
//!
//! Which engine runs behind it (memory, SQLite, Redis) is known to nobody but the facade. A store that fails is a miss,
//! never an error to a client, so every method says plainly what went wrong and leaves the judgement to its user.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

/// The future of a store operation.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A store that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("the {engine} store failed: {message}")]
pub struct StoreError {
    /// Which engine.
    pub engine: &'static str,
    /// What happened, for logs.
    pub message: String,
}

/// What an atomic rate-limit take found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The call is within the limit.
    Granted,
    /// It is not; the earliest time to come back.
    Refused {
        /// How long until the next one is granted.
        retry_after: Duration,
    },
}

/// A bounded key-value store with expiry.
///
/// Keys are namespaced by their users (`cache/…`, `limit/…`), at most 512 bytes. Every value expires. Values that come
/// back are untrusted input: whoever reads one checks it.
pub trait Store: Send + Sync {
    /// The value, unless it is absent or expired.
    fn load<'a>(&'a self, key: &'a str) -> StoreFuture<'a, Option<Bytes>>;

    /// Sets the value for `ttl`.
    fn put<'a>(&'a self, key: &'a str, value: Bytes, ttl: Duration) -> StoreFuture<'a, ()>;

    /// Sets the value for `ttl` if the present one is `expected` (`None`: if there is none); true if it was set.
    fn compare_and_set<'a>(
        &'a self,
        key: &'a str,
        expected: Option<Bytes>,
        value: Bytes,
        ttl: Duration,
    ) -> StoreFuture<'a, bool>;

    /// Removes the value; true if there was one.
    fn delete<'a>(&'a self, key: &'a str) -> StoreFuture<'a, bool>;

    /// At most `limit` keys that begin with `prefix`.
    fn scan<'a>(&'a self, prefix: &'a str, limit: usize) -> StoreFuture<'a, Vec<String>>;

    /// Takes one from a limit of one per `interval` with bursts up to `burst`, by the generic cell rate algorithm
    /// (ITU-T I.371), atomically over everyone who shares the store.
    fn take<'a>(&'a self, key: &'a str, interval: Duration, burst: u32) -> StoreFuture<'a, Take>;
}
