//! Rollouts: which hosts, in which stages, by whom, and what happens when a process dies half-way.
//!
//! A rollout is planned ([`Orchestrator::plan`]), frozen ([`Orchestrator::trigger`]) and worked on by any number of
//! [`Worker`]s, in this process and others, until it is over. Nothing about it is kept in memory alone: whatever dies,
//! the next worker takes over the hosts that were in flight, asks them, and finishes.

mod again;
mod attempt;
mod current;
mod decide;
mod desk;
mod endpoint;
mod journal;
mod lease;
mod orchestrator;
mod places;
mod planning;
mod resolve;
mod settings;
mod slots;
mod standing;
mod trigger;
mod work_loop;
mod worker;

pub use again::AgainRequest;
pub use endpoint::{EndpointError, endpoint};
pub use orchestrator::Orchestrator;
pub use planning::{Plan, PlanError, PlanRequest, PlannedStage};
pub use settings::{OrchestratorSettings, SshDefaults};
pub use slots::SlotTransport;
pub use standing::{SettleError, Standing};
pub use trigger::{AgainError, TriggerRefusal};
pub use worker::{Finished, WorkError, WorkMode, Worker, WorkerStatus};
