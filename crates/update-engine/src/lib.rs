//! One attempt on one host: inspect, update, roll back, prove. No database, no fleet.

mod attempt;
mod driver;
mod facts;
mod failure;
mod journal;
mod judge;
mod link;
mod outcome;
mod steps;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use attempt::{AttemptSpec, Goal, GuardSpec, run_attempt};
pub use journal::{Journal, Stopped};
