//! The router as a client sees it, on a store in memory and a simulated fleet.

#![expect(clippy::unwrap_used, reason = "tests")]

mod acts;
mod bounds;
mod documents;
mod embedding;
mod events;
mod forms;
mod guards;
mod hosts;
mod imports;
mod lists;
mod looks;
mod nonsense;
mod overview;
mod pages;
mod people;
mod rights;
mod sessions;
mod sign_in;
mod updates;
mod world;
