//! Processes that only look, and processes that leave.

use std::time::Duration;

use fleet_types::*;
use rollout_orchestrator::*;
use tokio::time::sleep;

use crate::world::*;

/// A plan or a check needs a lease for its connections. It must not touch what a dead process left behind.
#[tokio::test(start_paused = true)]
async fn who_only_looks_takes_nothing_over() {
    let world = World::new(4).await;
    world.takes("install", Duration::from_secs(3));
    let (dying, first) = world.process();
    let (id, worker) = begin(&first, in_one_go()).await;
    until(async || dying.commands() >= 8).await;
    dying.kill();
    drop(worker);
    sleep(Duration::from_secs(120)).await;

    let (looking, second) = world.process();
    let looker = Worker::start(&second, who("looker"), WorkMode::Nothing)
        .await
        .unwrap();
    sleep(Duration::from_secs(120)).await;
    assert_eq!(looking.commands(), 0);
    let attempts = world.attempts(id).await;
    assert!(attempts.iter().all(|attempt| attempt.takeovers == 0));
    drop(looker);

    let (_, third) = world.process();
    let record = third.drive(id, who("third")).await.unwrap();
    assert_eq!(record.state, RolloutState::Completed);
    world.check_truth(id).await;
}

/// Nobody else may be there to close the stage and the rollout.
#[tokio::test(start_paused = true)]
async fn who_leaves_closes_what_its_last_hosts_ended() {
    let world = World::new(4).await;
    world.takes("install", Duration::from_secs(3));
    let (process, orchestrator) = world.process();
    let (id, mut worker) = begin(&orchestrator, in_one_go()).await;
    until(async || process.commands() >= 8).await;
    worker.stop(Duration::from_secs(600));
    worker.finished().await.unwrap();
    assert_eq!(world.record(id).await.state, RolloutState::Completed);
    world.check_truth(id).await;
}

/// Connections to the hosts that are asked for the target are closed in the background; nobody else may have their slots
/// before that.
#[tokio::test(start_paused = true)]
async fn who_leaves_while_asking_for_the_target_keeps_its_slots_until_its_connections_are_closed() {
    let world = World::new(6).await;
    world.takes("resolve", Duration::from_secs(60));
    let (process, orchestrator) = world.process();
    process.closes_in(Duration::from_secs(2));
    let (id, mut worker) = begin(&orchestrator, at_once(3)).await;
    until(async || process.commands() == 3).await;
    worker.abandon();
    worker.finished().await.unwrap();
    let record = world.orchestrator().drive(id, who("next")).await.unwrap();
    assert_eq!(record.state, RolloutState::Completed);
    assert_eq!(world.network.most_open(), 3);
}
