//! The orchestrator on a real store in memory and simulated hosts, under tokio's paused clock.

#![expect(clippy::unwrap_used, reason = "tests")]

mod again;
#[cfg(feature = "crash-points")]
mod calls;
mod chaos;
mod course;
mod crash;
mod faults;
mod gate;
mod health;
mod health_asked;
mod health_outages;
mod health_races;
mod health_width;
mod keys;
mod leaving;
mod process;
mod process_network;
mod process_store;
mod real_time;
mod retention;
mod sharing;
mod target;
mod verbs;
mod world;
