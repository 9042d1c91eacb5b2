//! Looks and restarts: scripted, and on hosts with a real shell.
#![expect(clippy::unwrap_used, reason = "tests")]

mod real;
mod scripted;
