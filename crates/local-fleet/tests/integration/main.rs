//! The fleet as a client sees it.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod client;
mod commands;
mod hosts;
mod network;
mod programs;
mod reopen;
mod repositories;

use std::time::{Duration, Instant};

use local_fleet::{FleetBuilder, LocalFleet};
use tempfile::TempDir;

/// A fleet in a folder that goes when the test ends.
async fn fleet(hosts: usize) -> (TempDir, LocalFleet) {
    start(LocalFleet::builder().hosts(hosts)).await
}

async fn start(builder: FleetBuilder) -> (TempDir, LocalFleet) {
    let folder = tempfile::tempdir().unwrap();
    let fleet = builder
        .root(folder.path().join("fleet"))
        .start()
        .await
        .unwrap();
    (folder, fleet)
}

/// Waits for something that other tasks or processes bring about.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
