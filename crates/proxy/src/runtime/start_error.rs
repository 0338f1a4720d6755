//! Why a proxy did not start.

use std::io;

use crate::config::ConfigErrors;

/// Why a proxy did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration has problems; all of them are in here.
    #[error("the configuration has problems")]
    Config(#[from] ConfigErrors),
    /// The listener could not be opened; the error says where and why.
    #[error(transparent)]
    Listen(#[from] io::Error),
    /// There is no tokio runtime to run on.
    #[error("a proxy needs a tokio runtime: start it inside one")]
    NoRuntime,
}
