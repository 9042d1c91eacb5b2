//! The words of the product as types, and the rules over them.
//!
//! Nothing here does I/O, reads a clock or knows a runtime: the same input always gives the same answer, so the gate, the
//! stage sizes and the life of an attempt are tested by themselves and mean the same to the store, the engine, the
//! command line and the API.
//!
//! ```
//! use fleet_types::{GateCounts, Percent, StagePercents, Verdict};
//!
//! let stages: StagePercents = "10,50,100".parse()?;
//! assert_eq!(stages.sizes(11), [2, 4, 5]);
//!
//! let threshold: Percent = "30%".parse()?;
//! let mut gate = GateCounts { size: 10, bad: 3, good: 7, ..GateCounts::default() };
//! assert_eq!(gate.verdict(threshold), Verdict::Pass); // exactly 30 % goes on
//! gate = GateCounts { bad: 4, good: 0, ..gate };
//! assert_eq!(gate.verdict(threshold), Verdict::Halt); // certain now, whatever the rest does
//! # Ok::<(), fleet_types::Invalid>(())
//! ```
//!
//! Where to read next: [`AttemptStatus`] and [`Reason`] for outcomes, [`GateCounts`] for the gate, [`Progress`] for what
//! is remembered of an attempt under way, [`view`] for the JSON that people and programs see.

mod app;
mod cell;
mod event;
mod gate;
mod ids;
mod names;
mod planted;
mod policy;
mod printable;
mod progress;
#[cfg(feature = "schema")]
mod schema;
mod selector;
mod status;
mod time;
pub mod view;

pub use app::{AppSettings, StepTimeouts};
pub use cell::{harmless_cell, text_of_cell};
pub use event::{Event, EventKind};
pub use gate::{GateCounts, StagePercents, Verdict};
pub use ids::{Epoch, HostId, RolloutId, Seq, StoreId, TokenId, WorkerId};
pub use names::{
    Address, BranchName, CommitHash, HostName, Invalid, Label, LoginName, RemoteName, RepoPath,
    ServiceName, TargetRef, UserName,
};
#[cfg(feature = "planted")]
pub use planted::plant;
pub use planted::{Planted, planted};
pub use policy::{HostOrder, Percent, Policy};
pub use printable::printable;
pub use progress::{HostEvent, IllegalEvent, Phase, Previous, Progress, StepOutput};
pub use selector::{Selection, Selector, Wanted, glob_matches};
pub use status::{
    AttemptStatus, AuditResult, HealthState, Outcome, Reason, Right, Role, RolloutKind,
    RolloutState, StageState, StepId, Verb,
};
pub use time::Timestamp;
