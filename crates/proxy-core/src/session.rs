//! [`Session`]: what the rest of the proxy may know of a client's session.

use std::sync::Arc;

use crate::{Declared, ProtocolVersion};

/// A number that names one downstream session within this process, never reused. The session's wire id is a secret that
/// stays in the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub u64);

/// One client's session, from its `initialize` to its end. Immutable: what a client declares is fixed at the start.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its name within this process.
    pub key: SessionKey,
    /// The revision this client speaks.
    pub version: ProtocolVersion,
    /// What the client said of itself.
    pub declared: Arc<Declared>,
}
