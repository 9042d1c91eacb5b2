//! Tests against a real shell, real git and a real OpenSSH server.
#![expect(clippy::unwrap_used, reason = "tests")]

mod frame;
mod guard;
mod support;
