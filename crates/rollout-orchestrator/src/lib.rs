//! Rollouts: which hosts, in which stages, by whom, and what happens when a process dies half-way.
//!
//! A rollout is planned ([`Orchestrator::plan`]), frozen ([`Orchestrator::trigger`]) and worked on by any number of
//! [`Worker`]s, in this process and others, until it is over. Nothing about it is kept in memory alone: whatever dies,
//! the next worker takes over the hosts that were in flight, asks them how far they came, and finishes.
//!
//! # What is promised
//!
//! - A host is worked on by one worker at a time, under a lease. A worker that could not renew it lately enough sends no
//!   further command; one that lost it lets go of everything and comes back under a new name.
//! - A takeover goes on where the host stands. The death of a process never makes a host bad.
//! - No more connections than allowed are open at once, over all processes on the store. A settling host holds none.
//! - Every host of a rollout ends on the one commit that its target was resolved to before the first host was touched.
//! - While the store does not answer, no step is begun that could not be put on record; when it is back, all goes on.
//!
//! ```
//! use std::sync::Arc;
//!
//! use fleet_store::{Actor, DieselStore, Inventory, ManualClock, NewWorker};
//! use fleet_types::{Policy, RolloutState, Selection, WorkerId};
//! use rollout_orchestrator::{Orchestrator, OrchestratorSettings, PlanRequest, SshDefaults};
//! # use update_engine::testing::{SimFleet, SimHost, SimOrigin, SimRelease};
//!
//! # async fn example(transport: Arc<dyn ssh_exec::Transport>, hosts: Vec<fleet_store::NewHost>) -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(DieselStore::in_memory(ManualClock::new()));
//! store.host_add(hosts, &Actor::local("ann")).await?;
//! let identity = Some(ssh_exec::Identity::File("/home/ann/.ssh/id_ed25519".into()));
//! let ssh = SshDefaults { identity, ..SshDefaults::default() };
//! let settings = OrchestratorSettings { ssh, ..OrchestratorSettings::default() };
//! let orchestrator = Orchestrator::new(store, transport, settings);
//!
//! let plan = orchestrator.plan(&PlanRequest {
//!     selection: Selection::All,
//!     to: None, // the branch that the hosts follow
//!     policy: Policy::default(),
//!     message: Some("fix the login page".into()),
//!     actor: Actor::local("ann"),
//!     force: false,
//! }).await?;
//! let rollout = orchestrator.trigger(&plan, None).await?;
//! # let id = WorkerId(uuid::Uuid::now_v7());
//! let me = NewWorker { id, label: "example".into(), serves: false, process: None };
//! let record = orchestrator.drive(rollout, me).await?;
//! assert_eq!(record.state, RolloutState::Completed);
//! # Ok(())
//! # }
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut origin = SimOrigin::default();
//! # let old = origin.push("main", SimRelease::Good);
//! # origin.push("main", SimRelease::Good);
//! # let fleet = SimFleet::new(origin.clone());
//! # let mut hosts = Vec::new();
//! # for name in ["web-1", "web-2", "web-3"] {
//! #     fleet.add(name, SimHost::on(&old, &origin));
//! #     hosts.push(fleet_store::sample_host(name));
//! # }
//! # example(Arc::new(fleet.transport()), hosts).await
//! # }
//! ```
//!
//! Where to read next, in the order in which things happen: `trigger` (from a request to a frozen plan; the plan itself is
//! made in `planning` and `again`), `work_loop` (what a worker does all day; what next is decided in `decide`),
//! `work_loop::hosts` (claims and takeovers), `resolve` (which commit), `attempt` (one host, with its `journal` and its
//! `slots`), `lease` (what a worker may still do), `standing` (who works on what),
//! `health` (services that are down between rollouts), `retention` (what steps printed long ago).

mod again;
mod attempt;
#[cfg(feature = "crash-points")]
pub mod crash_points;
mod current;
mod decide;
mod desk;
mod endpoint;
mod find;
mod health;
mod journal;
mod lease;
mod looking;
mod orchestrator;
mod outage;
mod places;
mod planning;
mod resolve;
mod retention;
mod settings;
mod slots;
mod standing;
mod trigger;
mod unusable;
mod work_loop;
mod worker;

pub use again::AgainRequest;
pub use endpoint::{EndpointError, endpoint};
pub use find::{FindError, find_rollout};
pub use health::{CheckDone, Checked, HealthSweeper, SweepError, SweepSettings};
pub use looking::{KeysError, TargetAnswer, ask_target, check_host, host_keys};
pub use orchestrator::Orchestrator;
pub use planning::{Plan, PlanError, PlanRequest, PlannedStage};
pub use retention::Retention;
pub use settings::{OrchestratorSettings, SshDefaults};
pub use slots::SlotTransport;
pub use standing::{SettleError, Standing};
pub use trigger::{AgainError, TriggerRefusal};
pub use worker::{Finished, WorkError, WorkMode, Worker, WorkerStatus};
