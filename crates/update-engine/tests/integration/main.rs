//! Attempts on hosts that are simulated, on real git with a real shell, and over real SSH.

#![expect(clippy::unwrap_used, reason = "tests")]

mod faults;
mod real_ssh;
mod scripted;
mod shell;
mod support;
mod takeover;
