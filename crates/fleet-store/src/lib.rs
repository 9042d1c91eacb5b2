//! Placeholder while the shape is written down.
