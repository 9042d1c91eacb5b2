//! What the fleet is and what happens to it, durable.

mod api;
#[cfg(feature = "diesel")]
mod clock;
#[cfg(feature = "diesel")]
mod diesel_store;
mod error;
#[cfg(feature = "diesel")]
mod process;
mod records;

pub use api::{Attempts, Claim, Feed, Idle, Inventory, Rollouts, Store, Workers};
#[cfg(feature = "testing")]
pub use clock::ManualClock;
#[cfg(feature = "diesel")]
pub use clock::{Clock, LeaseMoment, SystemClock};
#[cfg(feature = "diesel")]
pub use diesel_store::{DieselStore, Mode, StoreOptions};
pub use error::{HostError, LeaseError, StoreError, TriggerError, VerbError};
#[cfg(feature = "testing")]
pub use process::ManualProcesses;
#[cfg(feature = "diesel")]
pub use process::{Processes, SystemProcesses};
pub use records::*;
