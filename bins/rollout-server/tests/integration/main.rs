//! The built server as a process of its own, with real SSH hosts and a real database, over HTTP.
#![expect(clippy::unwrap_used, reason = "tests")]

mod crash;
mod demo;
mod health;
mod limits;
mod manager;
mod readiness;
mod refusals;
mod several;
mod stop;
mod support;
