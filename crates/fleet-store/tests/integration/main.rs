//! The store's promises, on every database that it runs on.
#![allow(clippy::unwrap_used, reason = "tests")]

mod contract;
mod crash;
mod cut;
mod files;
mod fleet;
mod place;
mod postgres;
mod schema;
