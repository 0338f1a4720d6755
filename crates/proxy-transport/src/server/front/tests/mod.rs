//! The front without sockets: requests go straight into [`Front::handle`].

mod calls;
mod guard;
mod protocol;
mod sessions;
mod support;
