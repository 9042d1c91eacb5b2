//! A deterministic simulation of the real orchestrator, engine and store.
//!
//! One seed gives one schedule: processes on one store, hosts with git, lock, service and disk, people, and everything
//! that goes wrong between them. Time is tokio's paused clock, the store is the real one in memory with its calls made
//! inline, and the hosts are the engine's simulated ones, which keep the truth. After every effect on the store and every
//! command on a host it is checked that what must always hold does hold. The same seed gives the same run, to the last
//! line of its trace.

mod checker;
mod course;
mod coverage;
mod dice;
mod gate;
mod host;
mod network;
mod people;
mod process;
mod run;
mod schedule;
mod store;
mod trace;
mod watch;
mod world;

pub use coverage::{Cell, Coverage};
pub use run::{Options, Report, count_panics, run};
