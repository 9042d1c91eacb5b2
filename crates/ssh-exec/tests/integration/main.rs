//! Tests against a real shell, real git and a real OpenSSH server.
#![expect(clippy::unwrap_used, reason = "tests")]

mod frame;
mod guard;
mod support;

#[cfg(feature = "russh")]
mod commands;
#[cfg(feature = "russh")]
mod hanging;
#[cfg(feature = "russh")]
mod host;
#[cfg(feature = "russh")]
mod host_keys;
#[cfg(feature = "russh")]
mod jump;
#[cfg(feature = "russh")]
mod known_hosts;
#[cfg(feature = "russh")]
mod sign_in;
#[cfg(feature = "russh")]
mod strangers;
