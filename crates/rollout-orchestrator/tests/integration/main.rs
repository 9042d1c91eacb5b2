//! The orchestrator on a real store in memory and simulated hosts, under tokio's paused clock.

#![expect(clippy::unwrap_used, reason = "tests")]

mod again;
mod course;
mod crash;
mod faults;
mod gate;
mod process;
mod sharing;
mod target;
mod verbs;
mod world;
