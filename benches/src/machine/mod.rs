//! What the bench needs from the operating system: cores, processes, and their accounts of time and memory.
//!
//! All of it is Linux (`/proc`); elsewhere the bench builds and says that it cannot measure.

pub(crate) mod account;
pub(crate) mod child;
pub(crate) mod launch;
pub(crate) mod place;
