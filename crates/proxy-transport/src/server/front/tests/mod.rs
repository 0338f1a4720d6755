//! The front without sockets: requests go straight into [`Front::handle`].

mod asking;
mod calls;
mod conversation;
mod guard;
mod intake;
mod listening;
mod protocol;
mod resume;
mod rounds;
mod sessionless;
mod sessions;
mod support;
mod telling;
