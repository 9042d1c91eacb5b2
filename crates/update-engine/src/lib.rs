//! One attempt on one host: inspect, update, roll back, prove. No database, no fleet.
//!
//! Link this crate, give [`run_attempt`] a transport, one host and a journal, and get an [`Outcome`](fleet_types::Outcome):
//!
//! ```
//! # use std::time::Duration;
//! use update_engine::testing::{MemoryJournal, SimFleet, SimHost, SimOrigin, SimRelease};
//! use update_engine::{AttemptSpec, Goal, GuardSpec, run_attempt};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut origin = SimOrigin::default();
//! let old = origin.push("main", SimRelease::Good);
//! let host = SimHost::on(&old, &origin);
//! let new = origin.push("main", SimRelease::CrashLoops);
//! let fleet = SimFleet::new(origin);
//! fleet.add("web-1", host);
//!
//! let mut journal = MemoryJournal::default();
//! let spec = AttemptSpec {
//!     endpoint: SimFleet::endpoint("web-1"),
//!     app: SimFleet::app(),
//!     goal: Goal::Update { target: new, branch: None },
//!     settle: Duration::from_secs(5),
//!     guard: GuardSpec { store: "my-service".into(), epoch: 1 },
//!     progress: Default::default(), // nothing is on record yet
//!     left_behind: false,
//! };
//! let outcome = run_attempt(spec, &fleet.transport(), &mut journal).await?;
//! assert_eq!((outcome.status.as_str(), outcome.reason.as_str()), ("rolled_back", "crash_loop"));
//! assert!(fleet.host("web-1").is_some_and(|host| host.is_wholly_on(&old)));
//! # Ok(())
//! # }
//! ```
//!
//! With `ssh-exec`'s `RusshTransport` in place of the simulated fleet's, the same lines update a real host.
//!
//! # What is promised
//!
//! - `success` and `rolled_back` are proofs, taken after the last change: HEAD, tracked tree, service active, and the same
//!   life of it across the settle window. Everything else is `failed`, and says whether it was touched.
//! - The previous version, and the intent of each step, are in the [`Journal`] before the step's command is sent. So
//!   whoever is handed the folded journal (as [`AttemptSpec::progress`]) can finish what another worker began.
//! - A lost connection is no result: the host is asked again, under its own lock, and every command can run twice.
//! - One connection before the settle wait and one after it, one in all when there is no wait; five commands.
//!
//! Start reading at [`run_attempt`], which tells the story from top to bottom; the scripts are in `src/scripts`.

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
pub use steps::longest_silence;
