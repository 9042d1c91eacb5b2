//! One attempt on one host: inspect, update, roll back, prove. No database, no fleet.

mod attempt;
mod driver;
mod facts;
mod failure;
mod journal;
mod judge;
mod link;
mod look;
mod outcome;
mod resolve;
mod spec;
mod steps;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use attempt::run_attempt;
pub use journal::{Journal, Stopped};
pub use look::{HostLook, LookError, Problem, look};
pub use resolve::{ResolveError, resolve_target};
pub use spec::{AttemptSpec, Goal, GuardSpec};
