//! The orchestrator on a real store in memory and simulated hosts, under tokio's paused clock.

#![expect(clippy::unwrap_used, reason = "tests")]

mod course;
mod process;
mod world;
