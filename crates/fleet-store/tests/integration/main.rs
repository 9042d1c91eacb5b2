//! The store's promises, on every database that it runs on.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod contract;
mod crash;
#[path = "../../src/diesel_store/crew.rs"]
mod crew;
mod cut;
mod files;
mod fleet;
mod machine;
mod moving;
mod parting;
mod place;
mod plans;
mod postgres;
mod schema;
mod tls;
mod waits;
#[cfg(feature = "crash-points")]
mod watched;
