//! One attempt on one host: inspect, update, roll back, prove. No database, no fleet.

mod attempt;
mod journal;

pub use attempt::{AttemptSpec, Goal, GuardSpec, run_attempt};
pub use journal::{Journal, Stopped};
