//! What the fleet is and what happens to it, durable.

mod api;
mod error;
mod records;

pub use api::{Attempts, Claim, Feed, Idle, Inventory, Rollouts, Store, Workers};
pub use error::{HostError, LeaseError, StoreError, TriggerError, VerbError};
pub use records::*;
