//! The built program, as people and scripts meet it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod access;
mod bad_databases;
mod bad_input;
mod crashes;
mod db;
mod demo;
mod full_disk;
mod health;
mod inventory;
#[path = "../../../rollout-server/tests/integration/line.rs"]
mod line;
mod overlaps;
mod questions;
mod retention;
mod screens;
mod server;
mod signals;
mod silence;
mod support;
mod updates;
