//! Keeps services up, and out of the way of updates.
