//! Placeholder page; replaced by the first real content.
