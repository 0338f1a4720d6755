//! A plan at work: backends, catalogue, front and listener, started together and stopped together.

mod app;
mod downstream;
mod hub;
mod merge;
mod proxy;
mod router;
mod start_error;

pub use proxy::Proxy;
pub use router::SessionHandle;
pub use start_error::StartError;
