//! Calls that wait for each other's rows. Only a server with locks on rows has them: SQLite has one writer at a time.

use fleet_store::*;
use fleet_types::{AttemptStatus, Reason};

use crate::fleet::*;
use crate::place::{Place, assert_consistent};

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
