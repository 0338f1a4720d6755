//! What a backend of this era announces.
