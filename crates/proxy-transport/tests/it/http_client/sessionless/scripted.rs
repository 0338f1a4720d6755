//! What no honest server does.
