//! Calls that wait for each other's rows. Only a server with locks on rows has them: SQLite has one writer at a time.

use std::sync::Arc;
use std::time::Duration;

use fleet_store::*;
use fleet_types::{AttemptStatus, Reason};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::fleet::*;
use crate::place::{Place, Version, assert_consistent};

/// It asks whether a rollout is active, finds none, and waits for the host's row, which a rollout that begins has locked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_taken_out_while_a_rollout_begins_is_skipped() {
    let Some(place) = Place::postgres().await else {
        return;
    };
    let (beginning, leaving) = (place.store().await, place.store().await);
    let hosts = add_hosts(&beginning, 2).await;
    let driver = worker(false);
    let worker = driver.id;
    let hold = place.hold_hosts().await;
    let begins = async {
        let begun = beginning.rollout_create(one_stage(&hosts), Some(driver));
        begun.await.unwrap()
    };
    let leaves = async {
        place.until_waiting(1).await;
        leaving.host_remove(&hosts[0].name, &actor()).await.unwrap();
    };
    let opens = async {
        place.until_waiting(2).await;
        hold.release().await;
    };
    let (id, (), ()) = tokio::join!(begins, leaves, opens);
    let attempts = beginning.attempt_list(id).await.unwrap();
    let of = |host: &HostRecord| {
        let attempt = attempts.iter().find(|attempt| attempt.host == host.id);
        attempt.map(|attempt| (attempt.status, attempt.reason))
    };
    let removed = (AttemptStatus::Skipped, Some(Reason::Removed));
    assert_eq!(of(&hosts[0]), Some(removed));
    update(&beginning, &claim(&beginning, id, worker).await.lease).await;
    assert_eq!(idle(&beginning, id, worker).await, Idle::StageTaken);
    assert_consistent(&beginning).await;
}

/// A dump reads every table for as long as it takes; whoever changes a table waits for it, and all others behind that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_grows_beside_a_long_dump_keeps_nobody_waiting_for_long() {
    let Some(place) = Place::postgres().await else {
        return;
    };
    let store = place.store().await;
    let dump = place.hold_readers().await;
    let version = Version::expands();
    let grows = place.store_of(&version);
    let others = async {
        place.until_waiting(1).await;
        // Fails after 5 s of waiting.
        add_hosts(&store, 1).await;
        dump.release().await;
    };
    let (newer, ()) = tokio::join!(grows, others);
    assert_eq!(newer.unwrap().schema().1, Version::SCHEMA);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_renewed_while_all_else_waits() {
    let Some(place) = Place::postgres().await else {
        return;
    };
    let store = Arc::new(place.store().await);
    let me = store.worker_register(worker(true)).await.unwrap();
    let hold = place.hold_writers().await;
    let mut waiting = JoinSet::new();
    // More than write at once, and more than share a commit.
    for number in 0..80 {
        let store = Arc::clone(&store);
        let new = vec![host(&format!("web-{number}"))];
        waiting.spawn(async move { store.host_add(new, &actor()).await });
    }
    place.until_waiting(4).await;
    let renewed = timeout(Duration::from_secs(2), store.worker_renew(me)).await;
    hold.release().await;
    renewed.expect("it waited with the others").unwrap();
    for added in waiting.join_all().await {
        added.unwrap();
    }
}
