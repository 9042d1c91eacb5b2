//! What the fleet is and what happens to it, durable.
//!
//! The inventory, rollouts with their frozen plans, attempts under leases, connection slots, and the feed of events. Each
//! change and the event that tells of it are one transaction, and a call returns once that is on disk. Any number of
//! processes may have the same store open; the database decides between them: one active rollout, one owner for a host,
//! one at a time for a machine.
//!
//! ```
//! use fleet_store::{Actor, DieselStore, Feed, HostSpec, Inventory, ManualClock, NewHost};
//! use fleet_types::Seq;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let spec: HostSpec = serde_json::from_value(serde_json::json!({
//!     "address": "10.0.0.7", "port": 22, "user": "deploy", "key": null, "jump": [],
//!     "app": {
//!         "repo": "/srv/app", "remote": "origin", "branch": "main", "install": "bun install", "service": "app",
//!         "verify": null, "generated": ["bun.lock"], "min_free_mib": 200, "timeouts": {},
//!     },
//! }))?;
//! let host = NewHost { name: "customer-7".parse()?, spec, labels: [].into(), owner: None };
//!
//! let store = DieselStore::in_memory(ManualClock::new()); // else DieselStore::open("sqlite://fleet.db", options)
//! let anna = Actor::local("anna");
//! store.host_add(vec![host.clone()], &anna).await?;
//! let twice = store.host_add(vec![host], &anna).await;
//! assert_eq!(twice.unwrap_err().to_string(), "there is a host customer-7 already");
//!
//! let events = store.events_after(Seq(0), None, 100).await?;
//! assert_eq!(events.len(), 1);
//! assert_eq!(events[0].actor.as_deref(), Some("anna"));
//! # Ok(())
//! # }
//! ```
//!
//! Where to read next: [`Store`] and the traits it is made of for what is promised, [`DieselStore`] for the store on
//! SQLite and PostgreSQL, [`Clock`] and [`Mode`] for simulations. A crate that needs only the traits depends on this one
//! without default features.

mod api;
#[cfg(feature = "diesel")]
mod clock;
#[cfg(feature = "crash-points")]
mod crash_points;
#[cfg(feature = "diesel")]
mod diesel_store;
mod error;
#[cfg(feature = "testing")]
mod passing;
#[cfg(feature = "diesel")]
mod process;
mod records;
#[cfg(feature = "testing")]
mod testing;

pub use api::{
    Access, AdminStore, Attempts, Audit, Claim, Feed, Health, Idle, Inventory, Lists, Outputs,
    Rollouts, Store, Workers, sign_in_delay,
};
#[cfg(feature = "testing")]
pub use clock::ManualClock;
#[cfg(feature = "diesel")]
pub use clock::{Clock, LeaseMoment, SystemClock};
#[cfg(feature = "crash-points")]
pub use crash_points::{CallFault, CallMoment, CallWatch, know_more_migrations, watch_calls};
#[cfg(feature = "testing")]
pub use diesel_store::protection;
#[cfg(feature = "diesel")]
pub use diesel_store::{CallKind, DieselStore, Mode, Password, StoreOptions, Timings};
pub use error::{
    AccessError, HostError, LeaseError, MoveError, StoreError, TriggerError, VerbError,
};
#[cfg(feature = "testing")]
pub use process::ManualProcesses;
#[cfg(feature = "diesel")]
pub use process::{Processes, SystemProcesses};
pub use records::*;
#[cfg(feature = "testing")]
pub use testing::sample_host;
